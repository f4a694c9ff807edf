"""Rules that decide the mix: one idea a file."""

from learn2mix.mixers.alternating import AlternatingMix as AlternatingMix
from learn2mix.mixers.annealed import AnnealedMix as AnnealedMix
from learn2mix.mixers.base import Mixer as Mixer
from learn2mix.mixers.excess_loss import ExcessLoss as ExcessLoss
from learn2mix.mixers.fading import FadingMix as FadingMix
from learn2mix.mixers.fixed import FixedMix as FixedMix
from learn2mix.mixers.group_dro import GroupDRO as GroupDRO
from learn2mix.mixers.info import MixInfo as MixInfo
from learn2mix.mixers.learn2mix import Learn2Mix as Learn2Mix
from learn2mix.mixers.online_data_mixing import OnlineDataMixing as OnlineDataMixing
from learn2mix.mixers.staged import StagedMix as StagedMix
