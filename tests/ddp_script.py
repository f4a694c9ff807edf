"""A training run for tests that need real processes: `python ddp_script.py '{"folder": ..., ...}'`, or torchrun.

Each rank writes `<folder>/<name>-<rank>.json`: the indices of its batches, the mix before each, and the weights.
"""

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learn2mix import Learn2Mix, MixedBatchSampler, MixingCallback, PerSampleLoss

NUM_SAMPLES, GLOBAL_BATCH_SIZE = 160, 16
DEFAULTS = {
    "name": "run",
    "devices": 1,
    "num_workers": 0,
    "persistent": False,
    "stateful": False,  # torchdata's loader
    "every": "step",
    "source": "fit",  # where the loader comes from: fit, hook or datamodule
    "trainer": {},
    "kill_at": None,  # the batch, over all epochs, at which rank 0 kills itself
    "resume": False,
    "fits": [3],  # the epochs after each call of fit
    "save_every": 3,
}


def make_loader(options: dict[str, Any]) -> DataLoader:
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 5, NUM_SAMPLES) ** 2 // 4)  # uneven: 0, 1, 2, 4
    features = torch.randn(NUM_SAMPLES, 6, generator=torch.Generator().manual_seed(1)) + labels[:, None]
    data = TensorDataset(features.double(), labels, torch.arange(NUM_SAMPLES))
    mixer = Learn2Mix(0.3, every=options["every"], floor=0.01)
    sampler = MixedBatchSampler(labels, mixer, batch_size=GLOBAL_BATCH_SIZE // options["devices"])
    workers, loader_class = options["num_workers"], DataLoader
    if options["stateful"]:
        from torchdata.stateful_dataloader import StatefulDataLoader as loader_class  # noqa: N813
    return loader_class(
        data, batch_sampler=sampler, num_workers=workers, persistent_workers=options["persistent"] and workers > 0
    )


class Module(LightningModule):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.options, self.steps = options, []
        self.model = nn.Linear(6, 5).double()
        self.criterion = PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        features, labels, indices = batch
        sampler = next(c for c in self.trainer.callbacks if isinstance(c, MixingCallback)).sampler
        self.steps.append((indices.tolist(), sampler.mixer.proportions.tolist()))
        return self.criterion(self.model(features), labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def train_dataloader(self) -> DataLoader:
        return make_loader(self.options)


class Data(LightningDataModule):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options

    def train_dataloader(self) -> DataLoader:
        return make_loader(self.options)


class Killer(Callback):
    """Ends the process as a power cut would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.at and trainer.global_rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(options: dict[str, Any]) -> None:
    folder, name = Path(options["folder"]), options["name"]
    checkpoints = ModelCheckpoint(
        dirpath=folder / "checkpoints", save_last=True, every_n_train_steps=options["save_every"], save_top_k=-1
    )
    killers = [] if options["kill_at"] is None else [Killer(options["kill_at"])]
    trainer = Trainer(
        accelerator="cpu",
        devices=options["devices"],
        max_epochs=options["fits"][0],
        callbacks=[MixingCallback(), checkpoints, *killers],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **({"strategy": "ddp"} if options["devices"] > 1 else {}),
        **options["trainer"],
    )
    module = Module(options)
    data = {"fit": make_loader, "hook": lambda _: None, "datamodule": Data}[options["source"]](options)
    last = folder / "checkpoints" / "last.ckpt"
    for number, max_epochs in enumerate(options["fits"]):
        trainer.fit_loop.max_epochs = max_epochs
        trainer.fit(module, data, ckpt_path=str(last) if options["resume"] and number == 0 else None)
    result = {"steps": module.steps, "weights": module.model.weight.tolist()}
    (folder / f"{name}-{trainer.global_rank}.json").write_text(json.dumps(result), encoding="utf8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(DEFAULTS | json.loads(sys.argv[1]))
