"""What the callback adds to a Lightning step: the same fit with it and without it. Run with `make benchmark`."""

import logging
import warnings

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixingCallback, PerSampleLoss

NUM_STEPS, BATCH_SIZE, NUM_GROUPS = 600, 100, 10


class Nothing(Dataset):
    """Costs nothing to read, so that the step is Lightning's own overhead."""

    def __getitems__(self, indices):
        return indices

    def __len__(self):
        return 10_000


class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(BATCH_SIZE))
        self.criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
        self.register_buffer("target", torch.zeros(BATCH_SIZE))

    def training_step(self, batch, batch_idx):
        return self.criterion(self.weight, self.target)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def collate(indices):
    return torch.zeros(1)


def fit(callbacks, mixer, tmp_path, logger):
    labels = torch.arange(10_000) % NUM_GROUPS
    sampler = MixedBatchSampler(labels, mixer, batch_size=BATCH_SIZE, num_batches=NUM_STEPS)
    loader = DataLoader(Nothing(), batch_sampler=sampler, collate_fn=collate)
    trainer = Trainer(
        max_epochs=1,
        callbacks=callbacks,
        logger=logger,
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Tiny(), loader)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


@pytest.mark.benchmark(group=f"a fit of {NUM_STEPS} steps, {NUM_GROUPS} groups, a batch of {BATCH_SIZE}")
@pytest.mark.parametrize("logger", [False, True], ids=["no logger", "logger"])
class TestFit:
    def test_lightning(self, benchmark, tmp_path, logger):
        benchmark.pedantic(fit, ([], FixedMix(), tmp_path, logger), rounds=7, warmup_rounds=1)

    def test_with_the_callback(self, benchmark, tmp_path, logger):
        def run():
            fit([MixingCallback()], Learn2Mix(), tmp_path, logger)

        benchmark.pedantic(run, rounds=7, warmup_rounds=1)
