"""Batches for ``Feedback``, and what must come of them, by plain loops."""

from dataclasses import dataclass, field

import numpy as np
import torch

from learn2mix import Mixer
from learn2mix.feedback.feedback import Feedback
from learn2mix.feedback.processes import Processes

NUM_GROUPS = 3
CUT = "the epoch ends before its last batch is observed"


class Listens(Mixer):
    """Writes down what it is updated with; the mix follows, so that processes can tell whether they agree."""

    needs_losses = True

    def __init__(self, every, min_groups=1):
        self.every, self.min_groups, self.updates = every, min_groups, []

    def due(self, num_batches, epoch_ended):
        assert num_batches > 0
        return epoch_ended if self.every == "epoch" else num_batches >= self.every

    def update(self, losses):
        self.updates.append([None if np.isnan(loss) else loss for loss in losses.tolist()])
        np.nan_to_num(losses, copy=False)  # what it is given is its own
        losses += 1.0
        self.proportions = losses / losses.sum()


@dataclass
class Batch:
    """Samples of a batch: group, loss and weight of each; ``ended``: the last of its epoch."""

    samples: list = field(default_factory=list)
    ended: bool = False
    number: int = 0


def make(every=1, min_groups=1, processes=None):
    """A feedback of three groups, and its mixer."""
    mixer = Listens(every, min_groups)
    mixer.attach([0.5, 0.3, 0.2], ["a", "b", "c"])
    return Feedback(mixer, ["a", "b", "c"], processes or Processes())


def make_batches(seed, num_epochs=5, length=4, weighted=False):
    """Batches of which some are not known, and epochs of which some are cut short."""
    random = np.random.default_rng(seed)
    batches = []
    for _ in range(num_epochs):
        for position in range(length):
            samples = [
                (int(random.integers(3)), random.integers(0, 64) / 16, random.integers(3) / 2 if weighted else 1.0)
                for _ in range(random.integers(4))
            ]
            batches.append(Batch(samples, position + 1 == length, len(batches)))
        if random.random() < 0.4:
            batches[-1] = CUT
    return batches


def observe(feedback, batch, put=lambda tensor: tensor, *, weighted=False, part=slice(None)):
    """Report a batch, or this process's part of it."""
    if batch == CUT:
        feedback.end_epoch()
        return
    samples = batch.samples[part]
    if samples:
        groups, losses, weights = map(list, zip(*samples, strict=True))
        weights = put(torch.tensor(weights, dtype=torch.float32)) if weighted else None
        groups = np.array(groups, dtype=np.int64)
        losses = put(torch.tensor(losses, dtype=torch.float32))
        feedback.add(losses, groups, batch=batch.number, weights=weights)
    feedback.step(batch.ended, lambda: {"seed": 1})


def by_hand(batches, every, min_groups=1, *, late=False, always=False):
    """The updates that were made by the time each batch has been observed.

    ``late``: an update waits for the next batch; ``always``: also after one of which no losses are known.
    """
    since, num, waiting, updates, trace = [], 0, False, [], []

    def means():
        found = []
        for group in range(NUM_GROUPS):
            total = sum(loss * weight for of, loss, weight in since if of == group)
            count = sum(weight for of, _, weight in since if of == group)
            found.append(total / count if count else None)
        return found

    def due(ended):
        return ended if every == "epoch" else num >= every

    def update():
        nonlocal since, num
        if any(mean is not None for mean in means()):
            updates.append(means())
        since, num = [], 0

    def settle(ended):
        nonlocal waiting
        if waiting and (ended or sum(mean is not None for mean in means()) >= min_groups):
            update()
        waiting = False

    for batch in batches:
        settle(batch == CUT)
        if batch == CUT:
            if num and due(True):
                update()
        else:
            since, num = since + batch.samples, num + 1
            waiting = due(batch.ended)
            if batch.ended or not late or not (always or batch.samples):
                settle(batch.ended)
        trace.append([list(update) for update in updates])
    return trace
