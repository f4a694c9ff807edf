"""Rules that decide the mix: one idea a file."""

from learn2mix.mixers.alternating import AlternatingMix
from learn2mix.mixers.annealed import AnnealedMix
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.fading import FadingMix
from learn2mix.mixers.fixed import FixedMix
from learn2mix.mixers.learn2mix import Learn2Mix

__all__ = ["AlternatingMix", "AnnealedMix", "FadingMix", "FixedMix", "Learn2Mix", "Mixer"]
