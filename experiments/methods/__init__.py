"""All methods by name. To add one, subclass ``Method`` and list it here."""

from experiments.methods.classical import Classical
from experiments.methods.curriculum import Curriculum
from experiments.methods.focal import Focal
from experiments.methods.held import OneShot, Static
from experiments.methods.importance import Importance
from experiments.methods.ldam import LdamDrw
from experiments.methods.logit_adjustment import LogitAdjusted, LogitAdjustedLoss
from experiments.methods.method import Method
from experiments.methods.mix_adjusted import Fading, Learn2MixPasses, MixAdjusted
from experiments.methods.mixing import Balanced, Learn2MixEpoch, Learn2MixMethod, Learn2MixStep
from experiments.methods.reweighted import Reweighted
from experiments.methods.smote import Smote

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Learn2MixMethod,
        Learn2MixStep,
        Learn2MixEpoch,
        Classical,
        Balanced,
        Focal,
        Smote,
        Importance,
        Curriculum,
        LogitAdjusted,
        LogitAdjustedLoss,
        LdamDrw,
        MixAdjusted,
        Fading,
        Learn2MixPasses,
        Static,
        OneShot,
        Reweighted,
    )
}

__all__ = ["METHODS", "Method"]
