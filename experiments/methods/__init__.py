"""All methods by name. To add one, subclass ``Method`` and list it here."""

from experiments.methods.data import Curriculum, Smote  # noqa: I001 (several names a line)
from experiments.methods.method import Classical, Method
from experiments.methods.mixing import (
    Balanced, Fading, Learn2MixEpoch, Learn2MixMethod, Learn2MixPasses, Learn2MixStep, MixAdjusted, OneShot, Static,
)  # fmt: skip
from experiments.methods.weighing import Focal, Importance, LdamDrw, LogitAdjusted, LogitAdjustedLoss, Reweighted

_ALL: tuple[type[Method], ...] = (
    Learn2MixMethod, Learn2MixStep, Learn2MixEpoch, Classical, Balanced, Focal, Smote, Importance, Curriculum,
    LogitAdjusted, LogitAdjustedLoss, LdamDrw, MixAdjusted, Fading, Learn2MixPasses, Static, OneShot, Reweighted,
)  # fmt: skip
METHODS = {method.name: method for method in _ALL}

__all__ = ["METHODS", "Method"]
