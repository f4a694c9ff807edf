"""All methods by name. To add one, subclass ``Method`` and list it here."""

from experiments.methods.classical import Classical
from experiments.methods.method import Batches, Method
from experiments.methods.mixing import BALANCED, LEARN2MIX, LEARN2MIX_EPOCH, LEARN2MIX_STEP

METHODS: dict[str, Method] = {
    method.name: method for method in (LEARN2MIX, Classical(), BALANCED, LEARN2MIX_STEP, LEARN2MIX_EPOCH)
}

__all__ = ["METHODS", "Batches", "Method"]
