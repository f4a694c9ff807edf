"""The loss that knows its mix under a Trainer: no sampler in the module, and each step has the mix of its own batch."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lightning_modules as tools
from learn2mix import FadingMix, Learn2Mix, MixAdjustedLoss, MixedBatchSampler, MixedLoader, MixingCallback
from lightning_modules import NAMESPACES

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
INPUTS = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) + LABELS[:, None]
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


def make_module(namespace, criterion):
    class Module(namespace.LightningModule):
        """Writes down each loss and what it would be by the mix that the batch was asked to be."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.model, self.criterion = nn.Linear(4, 3), criterion
            self.logits, self.losses, self.validation = [], [], []

        def training_step(self, batch, batch_idx):
            inputs, targets = batch
            logits = self.model(inputs)
            loss = self.criterion(logits, targets)
            self.logits.append((logits.detach(), targets))
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch, batch_idx):
            inputs, targets = batch
            logits = self.model(inputs)
            self.validation.append((self.criterion(logits, targets).item(), F.cross_entropy(logits, targets).item()))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5)

    return Module()


class Mixes(pl.Callback):
    """The mix that each batch was asked to be, as the sampler says once it was observed."""

    def __init__(self, sampler):
        self.sampler, self.mixes = sampler, []

    def on_train_batch_end(self, *_):
        self.mixes.append(self.sampler.last_observed.proportions)


@pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)
@pytest.mark.parametrize("mixer", [lambda: Learn2Mix(0.5), lambda: FadingMix(1.0)])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_step_has_the_mix_of_its_batch(tmp_path, namespace, mixer, num_workers):
    sampler = MixedBatchSampler(LABELS, mixer(), batch_size=10)
    data = TensorDataset(INPUTS, LABELS)
    loader = MixedLoader(data, sampler, num_workers=num_workers)
    module = make_module(namespace, MixAdjustedLoss())
    mixes = Mixes(sampler)
    if namespace is not pl:
        mixes = type("Mixes", (namespace.Callback,), {"on_train_batch_end": lambda self, *_: seen.append(last())})()
        seen, last = [], lambda: sampler.last_observed.proportions
    trainer = namespace.Trainer(
        max_epochs=3,
        callbacks=[MixingCallback(), mixes],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        val_check_interval=4,  # validation in the middle of the training epoch
        num_sanity_val_steps=2,
        **QUIET,
    )
    trainer.fit(module, loader, DataLoader(data, batch_size=50))
    asked = mixes.mixes if namespace is pl else seen
    assert len(asked) == len(module.losses) == 30
    for mix, loss, (logits, targets) in zip(asked, module.losses, module.logits, strict=True):
        expected = F.cross_entropy(logits + torch.from_numpy(np.log(mix * 3)).float(), targets)
        assert loss == pytest.approx(expected.item(), abs=1e-6)
    assert len({tuple(mix) for mix in asked}) > 15  # it moves
    assert module.validation  # in evaluation nothing is added
    for found, plain in module.validation:
        assert found == pytest.approx(plain, abs=1e-6)


def test_without_the_callback_the_first_step_says_what_to_do(tmp_path):
    loader = MixedLoader(TensorDataset(INPUTS, LABELS), MixedBatchSampler(LABELS, FadingMix(), batch_size=10))
    trainer = pl.Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET)
    with pytest.raises(ValueError, match=r"Trainer\(callbacks=\[MixingCallback\(\)\]\)"):
        trainer.fit(make_module(pl, MixAdjustedLoss()), loader)


def test_a_run_that_resumes_is_the_one_that_was_not_stopped(tmp_path):
    def fit(max_epochs, ckpt_path=None):
        sampler = MixedBatchSampler(LABELS, Learn2Mix(0.3, passes=2.0, memory=0.5), batch_size=10)
        module = make_module(pl, MixAdjustedLoss())
        checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / f"{max_epochs}", save_last=True)
        trainer = pl.Trainer(
            max_epochs=max_epochs, callbacks=[MixingCallback(), checkpoint], default_root_dir=tmp_path, **QUIET
        )
        trainer.fit(module, MixedLoader(TensorDataset(INPUTS, LABELS), sampler), ckpt_path=ckpt_path)
        return module.losses, sampler.mixer.proportions.tolist(), module.model.weight.detach()

    losses, mix, weight = fit(6)
    first, _, _ = fit(3)
    rest, resumed_mix, resumed_weight = fit(6, ckpt_path=tmp_path / "3" / "last.ckpt")
    assert first + rest == losses
    assert resumed_mix == mix
    assert torch.equal(resumed_weight, weight)
