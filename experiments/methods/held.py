"""Ablations of the mix's path: set once and held, so that it is the mix itself that counts, not its following."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.methods.mixing import Learn2MixMethod, Mixing

if TYPE_CHECKING:
    from learn2mix import Mixer


class Static(Mixing):
    """Every batch at the proportions with which learn2mix ended on the same task, seed and settings."""

    name = "static"
    summary = "every batch at the proportions that learn2mix ended with, which runs first"
    prerequisite = Learn2MixMethod.name

    def mixer(self) -> Mixer:
        """Hold the proportions of the record."""
        from learn2mix import FixedMix

        record = self.context.prerequisite
        if record is None:
            run = self.context.run
            raise UserError(f"{run} needs the record of {self.prerequisite} of the same task, seed and settings")
        return FixedMix(record["history"][-1]["proportions"])


class OneShot(Mixing):
    """The mix is set once, from the losses of the first epoch."""

    name = "one-shot"
    summary = "the mix is set to the shares of the first epoch's losses, then held"

    def mixer(self) -> Mixer:
        """Follow once."""
        from experiments.methods.one_shot_mix import OneShotMix

        return OneShotMix()
