"""All methods by name. To add one, subclass ``Method`` and list it here."""

from experiments.methods.classical import Classical
from experiments.methods.curriculum import Curriculum
from experiments.methods.focal import Focal
from experiments.methods.held import OneShot, Static
from experiments.methods.importance import Importance
from experiments.methods.ldam import LdamDrw
from experiments.methods.logit_adjustment import LogitAdjusted, LogitAdjustedLoss
from experiments.methods.method import Batches, Method
from experiments.methods.mix_adjusted import FADING, LEARN2MIX_PASSES, MIX_ADJUSTED
from experiments.methods.mixing import BALANCED, LEARN2MIX, LEARN2MIX_EPOCH, LEARN2MIX_STEP
from experiments.methods.reweighted import Reweighted
from experiments.methods.smote import Smote

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        LEARN2MIX,
        LEARN2MIX_STEP,
        LEARN2MIX_EPOCH,
        Classical(),
        BALANCED,
        Focal(),
        Smote(),
        Importance(),
        Curriculum(),
        LogitAdjusted(),
        LogitAdjustedLoss(),
        LdamDrw(),
        MIX_ADJUSTED,
        FADING,
        LEARN2MIX_PASSES,
        Static(),
        OneShot(),
        Reweighted(),
    )
}

__all__ = ["METHODS", "Batches", "Method"]
