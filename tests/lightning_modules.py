"""Modules of both Lightning namespaces with scripted losses, Trainers that leave nothing behind, and what they did."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch
import numpy as np
import pytest
import pytorch_lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import reference
from learn2mix import Learn2Mix, MixedBatchSampler, MixingCallback, PerSampleLoss

NAMESPACES = {"pytorch_lightning": pytorch_lightning, "lightning.pytorch": lightning.pytorch}

# Warnings of Lightning that say nothing about a test.
BENIGN = [
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
    "ignore:`training_step` returned `None`",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:The dirpath has changed from",
    "ignore:.set_vital. is deprecated",  # torchdata, under a newer torch
    "ignore:Using ModelCheckpoint with manual optimization",
    "ignore:.*The last model of the previous `fit` call will be used",
    "ignore:.*there is no last checkpoint available",
]

SIZES = [30, 20, 10]
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], SIZES))
PRIOR = [size / sum(SIZES) for size in SIZES]
BATCH_SIZE = 8
EPOCH = 8  # batches: 60 samples, 8 at a time

Step = tuple[list[float], list[int]]  # of a batch: the mix asked for, the samples given of each group


def scripted_loss(step: int, group: int, place: int) -> float:
    """Loss of the sample at a place of the batch trained on as number ``step``, group after group; exact in float32."""
    return 0.5 * (group + 1) + 0.125 * (place % 4) + 0.25 * (step % 5)


def unseen_at(*steps: int) -> Any:
    """The script, but for some batches nobody knows the losses."""
    return lambda step, group, place: math.nan if step in steps else scripted_loss(step, group, place)


def expected(num_batches: int = EPOCH, num_epochs: int = 2, *, loss_of: Any = scripted_loss, **settings: Any) -> Any:
    """What plain Python makes of the scripted losses, batch by batch."""
    steps = reference.train(
        PRIOR,
        loss_of,
        batch_size=BATCH_SIZE,
        num_batches=num_batches,
        num_epochs=num_epochs,
        **{"mixing_rate": 0.5, **settings},
    )
    return [(list(mix), list(counts)) for mix, counts in steps]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads would only wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


class Data(Dataset):
    """Features, label and index of each sample."""

    def __init__(self, labels: Any = LABELS) -> None:
        self.labels = torch.as_tensor(labels)
        random = torch.Generator().manual_seed(0)
        self.features = torch.randn(len(self.labels), 4, generator=random) + self.labels[:, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        return self.features[index], self.labels[index], index


class ScriptedCriterion(nn.Module):
    """Has the values of the script and the gradients of the cross entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(0))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        step = int(self.step)
        places = labels.argsort(stable=True).argsort().tolist()
        values = [scripted_loss(step, label, place) for label, place in zip(labels.tolist(), places, strict=True)]
        real = F.cross_entropy(logits, labels, reduction="none")
        return torch.tensor(values) + (real - real.detach())


class Behaviour:
    """What the modules of both namespaces do.

    ``returns`` says where the losses are: a key of the outputs, "criterion" (a PerSampleLoss), or "nothing".
    """

    def __init__(
        self,
        returns: str = "losses",
        *,
        criterion: nn.Module | None = None,
        manual: bool = False,
        skip: tuple[int, ...] = (),
        loader: DataLoader | None = None,
    ) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.net = nn.Linear(4, 3)
        self.net.weight.data = torch.randn(3, 4, generator=random)
        self.net.bias.data = torch.zeros(3)
        self.script = criterion or ScriptedCriterion()
        self.per_sample = PerSampleLoss(self.script)
        self.register_buffer("num_steps", torch.tensor(0))
        self.returns, self.skip, self.loader = returns, skip, loader
        self.automatic_optimization = not manual

    def train_dataloader(self) -> Any:
        return self.loader

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        features, labels, _ = batch
        logits = self.net(features)
        if self.returns == "criterion":
            loss = self.per_sample(logits, labels)
        else:
            losses = self.script(logits, labels)
            loss = losses.mean()
        self.log("loss", loss.detach())
        step = int(self.num_steps)
        self.num_steps += 1
        if hasattr(self.script, "step"):
            self.script.step += 1
        if step in self.skip:
            return None
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss if self.returns in ("criterion", "nothing") else {"loss": loss, self.returns: losses}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        features, labels, _ = batch
        self.log("validation", self.per_sample(self.net(features), labels))

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


@functools.cache
def module_class(namespace: Any = pytorch_lightning) -> Any:
    return type("Net", (Behaviour, namespace.LightningModule), {})


def net(returns: str = "losses", *, namespace: Any = pytorch_lightning, **settings: Any) -> Any:
    return module_class(namespace)(returns, **settings)


def real_net(returns: str = "criterion", **settings: Any) -> Any:
    return net(returns, criterion=nn.CrossEntropyLoss(reduction="none"), **settings)


class Recorder(pytorch_lightning.Callback):
    """Writes down each batch, after the MixingCallback has seen it."""

    def __init__(self, mixing: MixingCallback) -> None:
        self.mixing = mixing
        self.indices: list[list[int]] = []
        self.steps: list[Step] = []
        self.lags: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        sampler = self.mixing.sampler
        self.indices.append(batch[2].tolist())
        counts = np.bincount(batch[1].numpy(), minlength=3).tolist()
        self.steps.append((sampler.last_observed.proportions.tolist(), counts))
        self.lags.append(sampler.lag)


@dataclass
class Run:
    """What took part in a fit."""

    trainer: Any
    module: Any
    sampler: MixedBatchSampler
    mixing: MixingCallback
    record: Recorder = field(repr=False)

    @property
    def steps(self) -> list[Step]:
        return self.record.steps

    @property
    def indices(self) -> list[list[int]]:
        return self.record.indices

    @property
    def weights(self) -> list[list[float]]:
        return [parameter.flatten().tolist() for parameter in self.module.net.parameters()]


def make_sampler(mixer: Any = None, labels: Any = LABELS, **settings: Any) -> MixedBatchSampler:
    mixer = mixer or Learn2Mix(mixing_rate=0.5)
    return MixedBatchSampler(labels, mixer, **{"batch_size": BATCH_SIZE, "seed": 7, **settings})


def make_loader(sampler: Any, num_workers: int = 0, **settings: Any) -> DataLoader:
    data = Data(LABELS)
    return DataLoader(data, batch_sampler=sampler, num_workers=num_workers, **settings)


def make_trainer(tmp_path: Any, callbacks: Any = (), *, namespace: Any = pytorch_lightning, **settings: Any) -> Any:
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "max_epochs": 2,
        "default_root_dir": tmp_path,
    }
    if any(isinstance(callback, namespace.callbacks.Checkpoint) for callback in callbacks):
        quiet["enable_checkpointing"] = True
    return namespace.Trainer(callbacks=list(callbacks), **{**quiet, **settings})


def fit(
    tmp_path: Any,
    module: Any = None,
    *,
    mixer: Any = None,
    mixing: MixingCallback | None = None,
    num_workers: int = 0,
    persistent_workers: bool = False,
    callbacks: Any = (),
    before: Any = (),
    namespace: Any = pytorch_lightning,
    val: bool = False,
    fit_args: Any = None,
    **settings: Any,
) -> Run:
    """Train with fresh parts; ``before`` come before the MixingCallback, ``callbacks`` after it."""
    module = module or net(namespace=namespace)
    mixing = mixing or MixingCallback()
    record = Recorder(mixing)
    sampler = make_sampler(mixer)
    loader = make_loader(sampler, num_workers, persistent_workers=persistent_workers)
    trainer = make_trainer(tmp_path, [*before, mixing, record, *callbacks], namespace=namespace, **settings)
    val_loader = DataLoader(Data(LABELS), batch_size=BATCH_SIZE) if val else None
    trainer.fit(module, loader, val_loader, **(fit_args or {}))
    return Run(trainer, module, sampler, mixing, record)
