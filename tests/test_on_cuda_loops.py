"""Lightning, Hugging Face, Accelerate and torch.distributed on a real CUDA device: the mix hears the true losses."""

import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from learn2mix import (
    GroupLossMeter,
    MixAdjustedLoss,
    MixedBatchSampler,
    MixedLoader,
    MixingCallback,
    PerSampleLoss,
    ReweightedLoss,
)
from learn2mix.data import InMemory
from on_device import (
    DEVICE,
    EPOCH,
    LABELS,
    LATE,
    MARKS,
    ON_CUDA,
    PRIOR,
    Told,
    check_told,
    counts_on_all,
    expected,
    in_processes,
    of_group,
    trains_in_a_group,
)

pytestmark = [*MARKS, pytest.mark.filterwarnings("ignore"), pytest.mark.gpu]
X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + torch.from_numpy(LABELS)[:, None]
Y = torch.from_numpy(LABELS)
DATA = TensorDataset(X, Y, torch.arange(40))


@pytest.fixture(autouse=True)
def no_group_left():
    """Nor what Lightning's DDP writes down of the process, by which Accelerate would take it for one of several."""
    before = os.environ.copy()
    yield
    os.environ.clear()
    os.environ.update(before)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def make_sampler():
    return MixedBatchSampler(LABELS, Told(0.3), batch_size=10, seed=3)


def test_a_meter_of_groups_there():
    meter = GroupLossMeter(3).to(DEVICE)
    for batch in Y.split(10):
        meter.update(1.0 + batch.to(DEVICE), batch.to(DEVICE))
    assert meter.compute().tolist() == [1.0, 2.0, 3.0]


class Net(LightningModule):
    """Keeps, step by step, the labels of each batch, its samples, and the losses that it has by themselves."""

    def __init__(self, criterion=None, *, manual=False, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.scale, self.automatic_optimization = torch.nn.Linear(4, 3), scale, not manual
        self.criterion = criterion or PerSampleLoss(torch.nn.CrossEntropyLoss(reduction="none"))
        self.truth, self.indices = [], []

    def training_step(self, batch, batch_idx):
        x, y, indices = batch
        assert x.device.type == DEVICE
        logits = self.net(x)
        added = 0.0
        if isinstance(self.criterion, MixAdjustedLoss):
            added = self.trainer.train_dataloader.log_mix().to(logits)
        with torch.no_grad():
            self.truth.append((y.clone(), F.cross_entropy(logits + added, y, reduction="none").clone()))
        self.indices.append(indices.tolist())
        groups = {"groups": y} if isinstance(self.criterion, ReweightedLoss) else {}
        loss = self.criterion(logits, y, **groups) * self.scale
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.criterion(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1 / self.scale)


def trainer_of(folder, *callbacks, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    quiet["enable_checkpointing"] = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    accelerator = "gpu" if ON_CUDA else "cpu"
    settings = {"max_epochs": 3, "devices": 1, "accelerator": accelerator, "default_root_dir": folder} | settings
    return Trainer(callbacks=list(callbacks), **quiet, **settings)


FITS = {
    "plain": ({}, {}),
    "float16, steps skipped": ({"precision": "16-mixed"}, {"scale": 1e4}),
    "bfloat16": ({"precision": "bf16-mixed"}, {}),
    "bfloat16 throughout": ({"precision": "bf16-true"}, {}),
    "accumulated": ({"accumulate_grad_batches": 2}, {}),
    "by hand": ({}, {"manual": True}),
    "ddp": ({"strategy": "ddp"}, {}),
    "deterministic, no inference mode": ({"inference_mode": False, "deterministic": "warn"}, {}),
}


@pytest.mark.parametrize("kind", ["plain DataLoader", "workers, pinned", "in memory"])
@pytest.mark.parametrize("name", FITS)
def test_a_trainer_moves_the_mix_by_the_true_losses(name, kind, tmp_path):
    if name == "float16, steps skipped" and not ON_CUDA:
        pytest.skip("the CPU has no GradScaler here")
    if kind != "plain DataLoader" and name not in ("plain", "float16, steps skipped", "ddp"):
        pytest.skip("one loader is enough")
    settings, of_net = FITS[name]
    sampler, net = make_sampler(), Net(**of_net)
    loader = {
        "plain DataLoader": lambda: DataLoader(DATA, batch_sampler=sampler),
        "workers, pinned": lambda: MixedLoader(DATA, sampler, num_workers=1, pin_memory=ON_CUDA),
        "in memory": lambda: MixedLoader(InMemory(X, Y, torch.arange(40)), sampler, device=DEVICE),
    }[kind]()
    if name == "ddp":
        settings = settings | {"use_distributed_sampler": False}
    validation = DataLoader(TensorDataset(X, Y), batch_size=20)
    trainer_of(tmp_path, MixingCallback(), **settings).fit(net, loader, validation)
    assert len(net.truth) == 12
    check_told(sampler.mixer, net.truth, PRIOR, rtol=2e-2 if "float" in name else 1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_that_knows_the_mix_of_its_batch(compiled, tmp_path):
    sampler, net = make_sampler(), Net(MixAdjustedLoss())
    if compiled:
        net.net = torch.compile(net.net, backend="cudagraphs" if ON_CUDA else "eager")
    trainer_of(tmp_path, MixingCallback(), precision="bf16-mixed").fit(net, MixedLoader(DATA, sampler))
    check_told(sampler.mixer, net.truth, PRIOR, rtol=3e-2)


def test_reweighted_losses_of_plain_batches(tmp_path):
    mixer = Told(0.3)
    net = Net(ReweightedLoss(torch.nn.CrossEntropyLoss(reduction="none"), mixer, LABELS, num_batches=4))
    loader = DataLoader(DATA, batch_size=10, shuffle=True, generator=torch.Generator().manual_seed(0))
    trainer_of(tmp_path).fit(net, loader)
    check_told(mixer, net.truth, PRIOR, rtol=1e-5)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_checkpoint_goes_on_unbroken(precision, num_workers, tmp_path):
    if precision == "16-mixed" and not ON_CUDA:
        precision = "bf16-mixed"

    def fit(**settings):
        sampler, net = make_sampler(), Net()
        saves = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
        trainer = trainer_of(tmp_path, MixingCallback(), saves, precision=precision)
        trainer.fit(net, MixedLoader(DATA, sampler, num_workers=num_workers), **settings)
        weights = [parameter.tolist() for parameter in net.net.parameters()]
        return net.indices, sampler.mixer.proportions.tolist(), weights

    indices, mix, weights = fit()
    for stop in (1, 6) if num_workers else (2, 4, 7):
        path = tmp_path / f"step={stop}.ckpt"
        assert fit(ckpt_path=path, weights_only=False) == (indices[stop:], mix, weights)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_accelerate(precision, num_workers):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    if precision == "fp16" and not ON_CUDA:
        pytest.skip("the CPU has no float16 here")
    forget()
    accelerator = accelerate.Accelerator(cpu=not ON_CUDA, mixed_precision=precision)
    assert accelerator.device.type == DEVICE
    torch.manual_seed(0)
    model, sampler, truth = torch.nn.Linear(4, 3), make_sampler(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = MixedLoader(DATA, sampler, num_workers=num_workers, device=accelerator.device)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for _ in range(3):
        for x, y, _ in loader:
            losses = F.cross_entropy(model(x), y, reduction="none")
            truth.append((y.clone(), losses.detach().clone()))
            accelerator.backward(losses.mean())
            optimizer.step()
            optimizer.zero_grad()
            loader.observe(losses)
    check_told(sampler.mixer, truth, PRIOR)
    forget()


def forget():
    """Accelerate keeps its settings for a process; each test is one of its own."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for kept in (AcceleratorState, GradientState, PartialState):
        kept._reset_state()


@pytest.mark.parametrize("settings", [{}, {"bf16": True}, {"dataloader_num_workers": 1}], ids=str)
def test_hugging_face_s_trainer(settings, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    import hugging_face

    there = {"use_cpu": not ON_CUDA, "dataloader_pin_memory": ON_CUDA}

    def train(name, begin=None, **more):
        model = hugging_face.Classifier()
        trainer = hugging_face.trainer_of(tmp_path / name, model=model, settings=there | settings | more)
        trainer.train(resume_from_checkpoint=begin)
        assert model.net.weight.device.type == DEVICE
        return trainer, model

    trainer, model = train("whole", save_strategy="steps", save_steps=4)
    truth = [(labels, F.cross_entropy(logits.float(), labels, reduction="none")) for _, labels, logits in model.seen]
    told = [hugging_face.means_of_groups(labels, losses) for labels, losses in truth]
    np.testing.assert_allclose(trainer.train_sampler.mixer.told, told, rtol=2e-2 if "bf16" in settings else 1e-5)
    resumed, other = train("again", str(tmp_path / "whole" / "checkpoint-8"))
    assert other.batches == model.batches[8:]
    np.testing.assert_array_equal(resumed.train_sampler.mixer.proportions, trainer.train_sampler.mixer.proportions)
    torch.testing.assert_close(other.net.weight, model.net.weight, rtol=0, atol=0)


BACKENDS = [("nccl" if ON_CUDA else "gloo", 1), ("gloo", 2)]


@pytest.mark.parametrize(("backend", "num_processes"), BACKENDS, ids=str)
def test_processes_that_share_a_device(backend, num_processes, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1" if num_processes == 1 else "0")
    if not dist.is_available() or (backend == "nccl" and not dist.is_nccl_available()):
        pytest.skip(f"torch is without {backend}")
    found = in_processes(trains_in_a_group, num_processes, tmp_path, backend)
    wanted = expected(2, lag=LATE, loss_of=of_group, batch_size=16)
    for trace, raised in found:
        assert len(raised) == 1
        assert "NaN or infinite losses" in raised[0]
        np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in wanted], rtol=0, atol=1e-12)
    assert counts_on_all([trace for trace, _ in found]) == [counts for _, counts in wanted]
    assert len(wanted) == 2 * EPOCH
