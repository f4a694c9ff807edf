"""A run on real processes that follows validation: `python ddp_validation_script.py FOLDER DEVICES MIXER`.

Each rank writes `FOLDER/MIXER-<devices>-<rank>.json`: the mix of each of its batches, and its weights.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from learn2mix import AlternatingMix, GroupLossMeter, Learn2Mix, MixedBatchSampler, MixingCallback

MIXERS = {
    "losses": lambda: Learn2Mix(0.5, signal="validation"),
    "plateau": lambda: AlternatingMix(every="plateau", window=2, threshold=0.2),
}


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 3).double()
        self.meter = GroupLossMeter(3)
        self.mixes: list[list[float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.mixes.append(self.trainer.callbacks[0].sampler.mixer.proportions.tolist())
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        losses = F.cross_entropy(self.model(batch[0]), batch[1], reduction="none")
        self.meter.update(losses, batch[1])
        self.log("val_loss", losses.mean() + self.global_rank * self.current_epoch)  # level on the first process only

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.2)


def main(folder: str, devices: str, mixer: str) -> None:
    number = int(devices)
    random = torch.Generator().manual_seed(1)
    labels = torch.from_numpy(np.repeat([0, 1, 2], [60, 24, 12]))
    data = TensorDataset(torch.randn(96, 4, generator=random).double() + labels[:, None], labels)
    sampler = MixedBatchSampler(labels, MIXERS[mixer](), batch_size=16 // number)
    trainer = Trainer(
        accelerator="cpu",
        devices=number,
        max_epochs=6,
        callbacks=[MixingCallback()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **({"strategy": "ddp"} if number > 1 else {}),
    )
    module = Module()
    trainer.fit(module, DataLoader(data, batch_sampler=sampler), DataLoader(data, batch_size=12))
    result = {"mixes": module.mixes, "weights": module.model.weight.tolist()}
    (Path(folder) / f"{mixer}-{number}-{trainer.global_rank}.json").write_text(json.dumps(result), encoding="utf8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(*sys.argv[1:])
