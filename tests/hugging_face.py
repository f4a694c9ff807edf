"""Tiny data, models and Trainers of Hugging Face's kind that several test files use."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")
from transformers import TrainerCallback, TrainingArguments

from learn2mix import Learn2Mix, MixedBatchSampler, Mixer
from learn2mix.integrations.transformers import MixedTrainer, MixedTrainerMixin

LABELS = torch.tensor([0] * 24 + [1] * 12 + [2] * 4)
BATCH_SIZE, NUM_BATCHES = 8, 5  # over all processes


class Data(Dataset):
    """Samples that know their index."""

    def __init__(self):
        self.x = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) + LABELS[:, None]

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return {"x": self.x[index], "labels": LABELS[index], "index": torch.tensor(index)}


class Classifier(nn.Module):
    """Keeps what it was trained on: indices, labels, logits. Its dropout draws random numbers."""

    def __init__(self, **loss_settings):
        super().__init__()
        torch.manual_seed(1)
        self.net, self.dropout = nn.Linear(4, 3), nn.Dropout(0.2)
        self.loss_settings = loss_settings
        self.seen = []

    def forward(self, x, labels=None, index=None):
        logits = self.net(self.dropout(x))
        if self.training:
            self.seen.append((index.tolist(), None if labels is None else labels.clone(), logits.detach().clone()))
        return {"loss": labels is not None and F.cross_entropy(logits, labels, **self.loss_settings), "logits": logits}

    @property
    def batches(self):
        return [indices for indices, _, _ in self.seen]


class Told(Learn2Mix):
    """Keeps the losses that it is told."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.told = []

    def update(self, losses, info=None):
        self.told.append(losses.tolist())
        super().update(losses, info)


class OfValidation(Mixer):
    """Keeps the validation losses that it is told."""

    needs_validation = "loss"

    def __init__(self):
        self.told = []

    def observe_validation(self, loss, group_losses=None):
        self.told.append(loss)


class Logged(TrainerCallback):
    """What a logger of ``report_to`` gets."""

    def __init__(self):
        self.entries = []

    def on_log(self, args, state, control, logs, **kwargs):
        self.entries.append(dict(logs))


def arguments(folder, **settings):
    """As a user writes them, without anything that writes, downloads or waits."""
    plain = {
        "report_to": [],
        "use_cpu": True,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "per_device_train_batch_size": BATCH_SIZE,
        "num_train_epochs": 3,
    }
    return TrainingArguments(output_dir=str(folder), **plain | settings)


def sampler_of(mixer=None, batch_size=BATCH_SIZE):
    return MixedBatchSampler(LABELS, mixer or Told(0.3), batch_size=batch_size, num_batches=NUM_BATCHES)


def trainer_of(folder, mixer=None, *, model=None, kind=MixedTrainer, settings=None, **parts):
    """A Trainer; ``settings`` are of the TrainingArguments, ``parts`` of the Trainer."""
    args = arguments(folder, **settings or {})
    parts = {"train_dataset": Data(), "eval_dataset": Data()} | parts
    if issubclass(kind, MixedTrainerMixin):
        parts = {"train_sampler": sampler_of(mixer, args.per_device_train_batch_size)} | parts
    return kind(model or Classifier(), args, **parts)


def own_loss(outputs, labels, num_items_in_batch=None):
    """A ``compute_loss_func``: the mean over all accumulated batches."""
    total = F.cross_entropy(outputs["logits"], labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def means_of_groups(labels, losses):
    """Mean loss of each of three groups, NaN where there is none: a plain loop."""
    means = []
    for group in range(3):
        of_group = [loss for label, loss in zip(labels.tolist(), losses.tolist(), strict=True) if label == group]
        means.append(sum(of_group) / len(of_group) if of_group else np.nan)
    return means
