"""What breaks in the middle of a run ends it with a clear error, never a hang, and the last checkpoint goes on."""

import errno
import os
import resource
import signal
import time
import warnings
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset

import ddp_script
import forks
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, MixingCallback

BROKEN = 29  # a sample that some tests cannot read; of no batch before the first checkpoint
SAVE_EVERY = 3
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [33, 10, 5]))


def fit(folder, num_processes=1, *, wrap=None, callbacks=(), resume=False, every="step", num_workers=0, **settings):
    """Train as the script of the DDP tests does, with something that breaks; how each process ended."""

    def script(rank):
        warnings.simplefilter("ignore")
        options = ddp_script.DEFAULTS | {"devices": num_processes, "every": every}
        loader = ddp_script.make_loader(options)
        data = loader.dataset if wrap is None else wrap(loader.dataset)
        loader = DataLoader(data, batch_sampler=loader.batch_sampler, num_workers=num_workers)
        saves = ModelCheckpoint(folder / "checkpoints", save_last=True, every_n_train_steps=SAVE_EVERY, save_top_k=-1)
        trainer = Trainer(
            accelerator="cpu",
            devices=num_processes,
            strategy=DDPStrategy(timeout=timedelta(seconds=20)) if num_processes > 1 else "auto",
            max_epochs=2,
            callbacks=[MixingCallback(), saves, *callbacks],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        )
        module = ddp_script.Module(options)
        trainer.fit(module, loader, ckpt_path=folder / "checkpoints" / "last.ckpt" if resume else None)
        return module.steps, module.model.weight.tolist()

    return forks.outcomes(script, num_processes, folder, lightning=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Steps and weights of runs where nothing breaks, by the number of workers."""
    runs = {}
    for num_workers in (0, 2):
        (run,) = fit(tmp_path_factory.mktemp("unbroken"), num_workers=num_workers)
        runs[num_workers] = run.result
    return runs


def assert_goes_on(folder, unbroken, num_workers=0):
    """From the last checkpoint, as if nothing had broken; returns its step."""
    first = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)["global_step"]
    (resumed,) = fit(folder, resume=True, num_workers=num_workers)
    assert resumed.code == 0, resumed.error
    steps, weights = resumed.result
    assert 0 < first < len(unbroken[num_workers][0])
    for (batch, mix), (wanted_batch, wanted_mix) in zip(steps, unbroken[num_workers][0][first:], strict=True):
        assert sorted(batch) == sorted(wanted_batch)
        assert mix == pytest.approx(wanted_mix, abs=1e-12)  # bit for bit, but where processes had summed the gradients
    np.testing.assert_allclose(weights, unbroken[num_workers][1], rtol=0, atol=1e-12)
    return first


class Breaks(Dataset):
    """Fails on one sample."""

    def __init__(self, data, fail):
        self.data, self.fail = data, fail

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if index == BROKEN:
            self.fail()
        return self.data[index]


def cannot_be_read():
    raise OSError(f"sample {BROKEN} cannot be read")


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


class TestData:
    def test_a_worker_that_dies(self, tmp_path, unbroken):
        (broken,) = fit(tmp_path, wrap=lambda data: Breaks(data, dies), num_workers=2)
        assert broken.code == 1
        # By the signal, or, where it died while it sent a batch, by the connection.
        assert broken.error.startswith(("RuntimeError: DataLoader worker (pid", "ConnectionResetError"))
        assert_goes_on(tmp_path, unbroken, num_workers=2)

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_sample_that_cannot_be_read(self, tmp_path, unbroken, num_workers):
        (broken,) = fit(tmp_path, wrap=lambda data: Breaks(data, cannot_be_read), num_workers=num_workers)
        assert broken.code == 1
        assert f"OSError: sample {BROKEN} cannot be read" in broken.error
        first = assert_goes_on(tmp_path, unbroken, num_workers)
        at = next(step for step, (batch, _) in enumerate(unbroken[num_workers][0]) if BROKEN in batch)
        assert first == at - at % SAVE_EVERY  # no more is lost than what came after the checkpoint

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_plain_loop_that_leaves_such_a_batch_out_says_so(self, num_workers):
        sampler = MixedBatchSampler(np.arange(100) % 3, Learn2Mix(0.0), batch_size=10)
        data = Breaks([(index, index % 3) for index in range(100)], cannot_be_read)
        batches, seen, left_out = iter(DataLoader(data, batch_sampler=sampler, num_workers=num_workers)), [], 0
        for _ in range(len(sampler)):
            try:
                indices, groups = next(batches)
            except OSError:
                sampler.observe(None)  # so that the losses of the next batch are not taken for those of this one
                left_out += 1
                continue
            # Only group 1 has a loss: were a batch taken for another, the other groups would get some.
            sampler.observe((groups == 1).double())
            assert np.nan_to_num(sampler.group_losses).tolist() == [0.0, 1.0, 0.0]
            seen += indices.tolist()
        assert left_out == 1
        assert len(seen) == len(set(seen)) == 90
        assert sampler.lag == 0


class FillsUp(Callback):
    """From a batch on, the operating system writes no file longer than 1 KiB, until training has ended."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 7:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, self.limits[1]))

    def on_exception(self, trainer, pl_module, exception):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


class HalfWritten(TorchCheckpointIO):
    """Leaves half a file behind where the disk is full, as a storage without transactions would."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path, storage_options)
        if checkpoint["global_step"] > 7:
            whole = open(path, "rb").read()  # noqa: SIM115
            with open(path, "wb") as file:
                file.write(whole[: len(whole) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")


class TestFullDisk:
    def test_while_lightning_writes(self, tmp_path, unbroken):
        (broken,) = fit(tmp_path, callbacks=[FillsUp()])
        assert broken.error == "OSError: [Errno 27] File too large"
        assert assert_goes_on(tmp_path, unbroken) == 6

    def test_that_leaves_half_a_file(self, tmp_path, unbroken):
        (broken,) = fit(tmp_path, plugins=[HalfWritten()])
        assert broken.error == "OSError: [Errno 28] No space left on device"
        assert assert_goes_on(tmp_path, unbroken) == 6


class Spoils(Callback):
    """Makes the losses of one batch of one process NaN, where the mix gets them."""

    def __init__(self, rank, at):
        self.rank, self.at = rank, at

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if trainer.global_rank == self.rank and len(pl_module.steps) == self.at + 1:
            pl_module.criterion.losses[0] = torch.nan


class TestLosses:
    @pytest.mark.parametrize("every", ["step", 4, "epoch"])
    def test_that_turn_nan_on_one_of_two_processes_stop_both(self, tmp_path, every):
        one, other = fit(tmp_path, 2, callbacks=[Spoils(rank=1, at=5)], every=every)
        assert one.code == other.code == 1
        assert one.error == other.error
        assert one.error.startswith("ValueError: losses must be finite and at least 0: batch 5 has NaN or infinite los")

    def test_that_turn_nan_on_one_process_leave_a_checkpoint_to_go_on_from(self, tmp_path, unbroken):
        (broken,) = fit(tmp_path, callbacks=[Spoils(rank=0, at=8)])
        assert "batch 8 has NaN or infinite losses" in broken.error
        assert assert_goes_on(tmp_path, unbroken) == 6


class TestCheckpoint:
    def test_of_another_version(self, tmp_path):
        fit(tmp_path, max_steps=4)
        path = tmp_path / "checkpoints" / "last.ckpt"
        checkpoint = torch.load(path, weights_only=False)
        checkpoint["callbacks"]["MixingCallback"]["version"] = 99
        torch.save(checkpoint, path)
        (resumed,) = fit(tmp_path, resume=True)
        assert "ValueError: state: its version is 99, and this learn2mix reads (1, 2, 3)" in resumed.error

    def test_cut_short(self, tmp_path):
        fit(tmp_path, max_steps=4)
        path = tmp_path / "checkpoints" / "last.ckpt"
        path.write_bytes(path.read_bytes()[:1000])
        (resumed,) = fit(tmp_path, resume=True)
        assert resumed.code == 1
        assert "PytorchStreamReader" in resumed.error or "corrupt" in resumed.error


class Kills(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 7:
            os.kill(os.getpid(), signal.SIGKILL)


def loop(folder, num_processes, each, *, timeout=20.0, settings=None):
    """A plain loop of processes that sum their losses: ``each(rank, sampler)`` is what one does."""

    def script(rank):
        forks.gloo(rank, num_processes, folder, timeout)
        arguments = {"groups": LABELS, "mixer": Learn2Mix(0.4), "batch_size": 4, "seed": 0}
        arguments |= (settings or {}).get(rank, {})
        sampler = MixedBatchSampler(arguments.pop("groups"), arguments.pop("mixer"), **arguments)
        return each(rank, sampler)

    return forks.outcomes(script, num_processes, folder)


def observe(sampler, num_steps):
    for step, batch in enumerate(sampler, start=1):
        sampler.observe(np.ones(len(batch)) + LABELS[batch])
        if step == num_steps:
            break


class Slow:
    """Samples of which some take longer than others, on one of two processes other ones."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        time.sleep(0.02 * ((index + dist.get_rank()) % 4 == 0))
        return index


def load(sampler, num_epochs=3, **loader_args):
    """Train by a loader with worker processes, and return all samples that this process had."""
    loader, samples = MixedLoader(Slow(), sampler, **loader_args), []
    for _ in range(num_epochs):
        for batch in loader:
            loader.observe(torch.from_numpy(1.0 + LABELS[batch.numpy()]))
            samples += batch.tolist()
    return samples


def assert_evenly_drawn(ranks):
    """Over all processes no sample of a group was drawn twice more often than another of it."""
    assert [outcome.code for outcome in ranks] == [0, 0], [outcome.error for outcome in ranks]
    drawn = np.bincount(ranks[0].result + ranks[1].result, minlength=len(LABELS))
    assert all(np.ptp(drawn[label == LABELS]) <= 1 for label in np.unique(LABELS))


class TestProcesses:
    def test_one_that_dies_under_the_trainer(self, tmp_path, unbroken):
        one, other = fit(tmp_path, 2, callbacks=[Kills()])
        assert other.code == -9
        assert one.code == 1
        assert "Connection closed by peer" in one.error or "Connection reset by peer" in one.error
        assert_goes_on(tmp_path, unbroken)

    def test_one_that_dies_in_a_plain_loop(self, tmp_path):
        def each(rank, sampler):
            observe(sampler, 2)
            if rank == 1:
                dies()
            observe(sampler, 5)

        one, other = loop(tmp_path, 2, each)
        assert (one.code, other.code) == (1, -9)
        assert "Connection closed by peer" in one.error or "Connection reset by peer" in one.error

    def test_one_that_stops_early_and_waits(self, tmp_path):
        timed_out = tmp_path / "timed out"

        def each(rank, sampler):
            try:
                observe(sampler, 5 - rank)
            except RuntimeError:
                timed_out.touch()
                raise
            while not timed_out.exists():
                time.sleep(0.01)

        began = time.monotonic()
        one, other = loop(tmp_path, 2, each, timeout=2)
        assert (one.code, other.code) == (1, 0)
        assert "Timed out waiting 2000ms" in one.error
        assert "each of which calls observe for each batch, with its losses or with None" in one.error
        assert time.monotonic() - began < 60

    @pytest.mark.parametrize(("every", "what"), [("step", "epoch"), ("epoch", "mix and epoch")])
    def test_one_that_leaves_an_epoch_early_and_begins_the_next(self, tmp_path, every, what):
        def each(rank, sampler):
            observe(sampler, len(sampler) - rank)
            observe(sampler, 2)

        settings = {rank: {"mixer": Learn2Mix(0.4, every=every)} for rank in range(2)}
        for outcome in loop(tmp_path, 2, each, settings=settings):
            assert f"rank 1 has another {what} than rank 0" in outcome.error

    @pytest.mark.parametrize(
        ("settings", "what"),
        [
            ({1: {"mixer": Learn2Mix(0.4, initial="uniform")}}, "rank 1 has another mix than rank 0"),
            ({2: {"mixer": Learn2Mix(0.3)}}, "rank 2 has another mix than rank 0"),  # from the second update on
            ({0: {"seed": 1}}, "rank 1 has another seed than rank 0; rank 2 has another seed than rank 0"),
            ({2: {"groups": LABELS[::-1]}}, "rank 2 has another partition than rank 0"),
            (
                {1: {"seed": 1}, 2: {"groups": LABELS[:40]}},
                "rank 1 has another seed than rank 0; rank 2 has another mix and partition than rank 0",
            ),
        ],
        ids=["mix", "mixing rate", "seed", "partition", "two"],
    )
    def test_that_do_not_hold_the_same_name_the_ranks(self, tmp_path, settings, what):
        def each(rank, sampler):
            observe(sampler, 3)

        for outcome in loop(tmp_path, 3, each, settings=settings):
            assert outcome.error.startswith(f"RuntimeError: the processes have come apart: {what}. Give each the same")

    @pytest.mark.parametrize("workers", [(0, 2), (1, 2)])
    def test_that_compose_other_numbers_of_batches_ahead(self, tmp_path, workers):
        for outcome in loop(tmp_path, 2, lambda rank, sampler: load(sampler, num_workers=workers[rank])):
            assert "rank 1 has another make-up of this batch than rank 0. Give each the same data" in outcome.error
            assert "the same num_workers and prefetch_factor too" in outcome.error

    @pytest.mark.parametrize("mixer", [FixedMix("uniform"), Learn2Mix(0.4, every="epoch")], ids=["fixed", "epoch"])
    def test_where_the_mix_stays_they_may_compose_other_numbers_ahead(self, tmp_path, mixer):
        settings = {rank: {"mixer": mixer} for rank in range(2)}
        ranks = loop(tmp_path, 2, lambda rank, sampler: load(sampler, num_workers=2 * rank), settings=settings)
        assert_evenly_drawn(ranks)

    def test_where_batches_come_out_of_order_none_is_taken_for_another(self, tmp_path):
        assert_evenly_drawn(loop(tmp_path, 2, lambda rank, sampler: load(sampler, num_workers=2, in_order=False)))

    def test_a_mixer_that_ignores_the_losses_is_checked_once_an_epoch(self, tmp_path):
        def each(rank, sampler):
            observe(sampler, len(sampler))

        for outcome in loop(tmp_path, 2, each, settings={0: {"mixer": FixedMix()}, 1: {"mixer": FixedMix("uniform")}}):
            assert "rank 1 has another mix than rank 0" in outcome.error
