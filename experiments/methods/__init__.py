"""All methods by name. To add one, subclass ``Method`` and list it here."""

from experiments.methods.curriculum import Curriculum
from experiments.methods.logits import Fading, Learn2MixPasses, LogitAdjusted, LogitAdjustedLoss, MixAdjusted
from experiments.methods.method import Classical, Method
from experiments.methods.mixing import Balanced, Learn2MixEpoch, Learn2MixMethod, Learn2MixStep, OneShot, Static
from experiments.methods.smote import Smote
from experiments.methods.weighing import Focal, Importance, LdamDrw, Reweighted

_ALL: tuple[type[Method], ...] = (
    Learn2MixMethod, Learn2MixStep, Learn2MixEpoch, Classical, Balanced, Focal, Smote, Importance, Curriculum,
    LogitAdjusted, LogitAdjustedLoss, LdamDrw, MixAdjusted, Fading, Learn2MixPasses, Static, OneShot, Reweighted,
)  # fmt: skip
METHODS = {method.name: method for method in _ALL}

__all__ = ["METHODS", "Method"]
