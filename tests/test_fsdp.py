"""Sharded models: FSDP as Lightning runs it on CPUs, which is torch's second one through ModelParallelStrategy."""

import warnings

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import forks
from learn2mix import Learn2Mix, MixedBatchSampler, MixingCallback, PerSampleLoss

LABELS = (torch.arange(96) % 8).clamp(max=2)


class Net(LightningModule):
    def __init__(self, shard):
        super().__init__()
        torch.manual_seed(0)
        self.shard = shard
        self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).double()
        self.criterion = PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))

    def configure_model(self):
        if self.shard:
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        features, labels, _ = batch
        return self.criterion(self.net(features), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Steps(Callback):
    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        sampler = next(c for c in trainer.callbacks if isinstance(c, MixingCallback)).sampler
        self.steps.append((batch[2].tolist(), sampler.mixer.proportions.tolist()))


def train(folder, num_processes, *, tensor_parallel=1, ckpt_path=None, split=None):
    """Steps on each process."""

    def script(rank):
        warnings.simplefilter("ignore")
        data_parallel, steps = num_processes // tensor_parallel, Steps()
        features = torch.randn(96, 6, generator=torch.Generator().manual_seed(1)).double() + LABELS[:, None]
        mixer = Learn2Mix(0.3, every=2)
        sampler = MixedBatchSampler(LABELS, mixer, batch_size=12 // data_parallel, **split or {})
        loader = DataLoader(TensorDataset(features, LABELS, torch.arange(96)), batch_sampler=sampler)
        saves = ModelCheckpoint(folder / "checkpoints", "{step}", every_n_train_steps=3, save_top_k=-1)
        strategy = ModelParallelStrategy(data_parallel, tensor_parallel, save_distributed_checkpoint=False)
        trainer = Trainer(
            accelerator="cpu",
            devices=num_processes,
            strategy=strategy if num_processes > 1 else "auto",
            max_epochs=2,
            callbacks=[MixingCallback(), steps, saves],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Net(shard=num_processes > 1 and tensor_parallel == 1), loader, ckpt_path=ckpt_path)
        return steps.steps

    return forks.outcomes(script, num_processes, folder, lightning=True)


def assert_same(ranks, alone):
    assert [rank.code for rank in ranks] == [0, 0], [rank.error for rank in ranks]
    for (indices, mix), *parts in zip(alone, *(rank.result for rank in ranks), strict=True):
        assert sorted(index for part, _ in parts for index in part) == sorted(indices)
        assert all(part_mix == pytest.approx(mix, abs=1e-12) for _, part_mix in parts)


def test_the_first_fsdp_is_refused_on_a_cpu_by_lightning():
    with pytest.raises(ValueError, match="The strategy `fsdp` requires a GPU accelerator"):
        Trainer(strategy="fsdp", accelerator="cpu")


def test_a_sharded_model_trains_on_the_batches_of_one_process_and_goes_on_in_the_middle_of_an_epoch(tmp_path):
    (alone,) = train(tmp_path / "alone", 1)
    assert len({tuple(mix) for _, mix in alone.result}) == 9
    assert_same(train(tmp_path, 2), alone.result)
    assert_same(train(tmp_path / "resumed", 2, ckpt_path=tmp_path / "checkpoints" / "step=9.ckpt"), alone.result[9:])


def test_processes_that_share_a_tensor_need_to_be_told_that_they_share_the_batch(tmp_path):
    for rank, outcome in enumerate(train(tmp_path, 2, tensor_parallel=2)):
        assert "under ModelParallelStrategy this process takes part 0 of 1 of each batch" in outcome.error
        assert f"has it as {rank} of 2; make it with MixedBatchSampler(..., num_replicas=1, rank=0)" in outcome.error
    one, other = train(tmp_path / "told", 2, tensor_parallel=2, split={"num_replicas": 1, "rank": 0})
    assert one.result == other.result != []
