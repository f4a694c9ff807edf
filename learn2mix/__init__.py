"""learn2mix decides, while a network trains, what the next batch is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.feedback.mix_adjusted import MixAdjustedLoss
from learn2mix.feedback.per_sample import PerSampleLoss
from learn2mix.feedback.reweighting import ReweightedLoss
from learn2mix.loader.loader import MixedLoader, ZeroLagLoader
from learn2mix.mixers import (
    AlternatingMix,
    AnnealedMix,
    ExcessLoss,
    FadingMix,
    FixedMix,
    GroupDRO,
    Learn2Mix,
    Mixer,
    OnlineDataMixing,
    StagedMix,
)
from learn2mix.partition import Partition
from learn2mix.streams.stream import MixedStream
from learn2mix.version import __version__ as __version__

if TYPE_CHECKING:
    from learn2mix.feedback.meter import GroupLossMeter
    from learn2mix.lightning.callback import MixingCallback
    from learn2mix.run_page import report


__all__ = [
    "AlternatingMix",
    "AnnealedMix",
    "ExcessLoss",
    "FadingMix",
    "FixedMix",
    "GroupDRO",
    "GroupLossMeter",
    "Learn2Mix",
    "MixAdjustedLoss",
    "MixedBatchSampler",
    "MixedLoader",
    "MixedStream",
    "Mixer",
    "MixingCallback",
    "OnlineDataMixing",
    "Partition",
    "PerSampleLoss",
    "ReweightedLoss",
    "StagedMix",
    "ZeroLagLoader",
    "report",
]

_LOADED_WHEN_USED = {
    "MixingCallback": "learn2mix.lightning.callback",
    "GroupLossMeter": "learn2mix.feedback.meter",
    "report": "learn2mix.run_page",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LOADED_WHEN_USED[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "functional", "mixers"]
