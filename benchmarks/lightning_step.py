"""What `MixingCallback` adds to a Lightning step: the same fit with it and without it, with and without a logger."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.timing import take_turns
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixingCallback, PerSampleLoss

MEASURE = "Lightning step"
BATCH_SIZE, NUM_GROUPS, NUM_SAMPLES = 100, 10, 10_000
WINDOW = 50  # steps, as many as between two logs of a Trainer
WITHOUT, WITH, ADDED = "without MixingCallback", "with MixingCallback", "added by MixingCallback"


class Nothing(Dataset):
    """Costs nothing to read, so that the step is Lightning's own overhead."""

    def __getitems__(self, indices):
        return indices

    def __len__(self):
        return NUM_SAMPLES


class Tiny(LightningModule):
    """Notes when each of its steps began."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(BATCH_SIZE))
        self.criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
        self.register_buffer("target", torch.zeros(BATCH_SIZE))
        self.began: list[float] = []

    def training_step(self, batch, batch_idx):
        self.began.append(timing.seconds())
        return self.criterion(self.weight, self.target)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def collate(indices: Any) -> torch.Tensor:
    return torch.zeros(1)


def microseconds_a_step(num_steps: int, folder: str, *, callback: bool, logger: bool) -> float:
    """From one step's begin to the next's: the least that it took on average over a while, in a fit of many whiles."""
    labels = torch.arange(NUM_SAMPLES) % NUM_GROUPS
    mixer = Learn2Mix() if callback else FixedMix()
    sampler = MixedBatchSampler(labels, mixer, batch_size=BATCH_SIZE, num_batches=num_steps)
    trainer = Trainer(
        max_epochs=1,
        callbacks=[MixingCallback()] if callback else [],
        logger=logger,
        default_root_dir=folder,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Tiny()
    trainer.fit(module, DataLoader(Nothing(), batch_sampler=sampler, collate_fn=collate))
    began = np.array(module.began)[::WINDOW]
    return float(np.diff(began).min()) / WINDOW * 1e6


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning says for each fit what hardware it found."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(before)


def measure(duration: float = 15.0, num_steps: int = 401) -> list[Row]:
    """Rows for the loop without the callback, with it, and the difference; without a logger first."""
    rows = []
    with quiet(), tempfile.TemporaryDirectory() as folder:
        turns: dict[str, Callable[[], float]] = {}
        for logger in ("no logger", "logger"):
            for name, callback in ((WITHOUT, False), (WITH, True)):
                turn = partial(microseconds_a_step, num_steps, folder, callback=callback, logger=logger == "logger")
                turns[f"{name}, {logger}"] = turn
        best = take_turns(turns, duration)
    for logger in ("no logger", "logger"):
        without, both = best[f"{WITHOUT}, {logger}"], best[f"{WITH}, {logger}"]
        for name, value in ((WITHOUT, without), (WITH, both), (ADDED, both - without)):
            sizes = (NUM_GROUPS, BATCH_SIZE, NUM_SAMPLES)
            rows.append(Row(MEASURE, f"{name}, {logger}", *sizes, value, "µs a step", value / without))
    return rows
