"""Rules that decide the mix: one idea a file."""

from learn2mix.mixers.alternating import AlternatingMix
from learn2mix.mixers.annealed import AnnealedMix
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.excess_loss import ExcessLoss
from learn2mix.mixers.fading import FadingMix
from learn2mix.mixers.fixed import FixedMix
from learn2mix.mixers.group_dro import GroupDRO
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.learn2mix import Learn2Mix
from learn2mix.mixers.online_data_mixing import OnlineDataMixing
from learn2mix.mixers.staged import StagedMix

__all__ = [
    "AlternatingMix",
    "AnnealedMix",
    "ExcessLoss",
    "FadingMix",
    "FixedMix",
    "GroupDRO",
    "Learn2Mix",
    "MixInfo",
    "Mixer",
    "OnlineDataMixing",
    "StagedMix",
]
