"""MixedLoader under the Trainer: the run of torch's loader, and the same run after a stop anywhere."""

import contextlib
import time
import warnings

import numpy as np
import psutil
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder, ModelCheckpoint

import lightning_modules as tools
from helpers import evenly_drawn, same_state
from learn2mix import AnnealedMix, FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, MixingCallback, PerSampleLoss
from lightning_modules import BATCH_SIZE, EPOCH, LABELS, fit, make_sampler, make_trainer, real_net

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread


def fit_mixed(tmp_path, *callbacks, mixer=None, ckpt_path=None, sampler=None, data=None, module=None, **given):
    """Train with our loader; ``given`` are its arguments, and the Trainer's."""
    loader_args = {name: given.pop(name) for name in ("num_workers", "zero_lag", "persistent_workers") if name in given}
    module, mixing = module or real_net(), MixingCallback()
    record, sampler = tools.Recorder(mixing), sampler or make_sampler(mixer)
    loader = MixedLoader(data or tools.Data(), sampler, **loader_args)
    trainer = make_trainer(tmp_path, [mixing, record, *callbacks], **{"max_epochs": 3, **given})
    trainer.fit(module, loader, ckpt_path=ckpt_path)
    return tools.Run(trainer, module, sampler, mixing, record)


def saves(folder):
    """A checkpoint after each step and each epoch."""
    return [
        ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True),
    ]


def assert_goes_on(resumed, unbroken, after):
    assert resumed.indices == unbroken.indices[after:] != []
    assert resumed.steps == unbroken.steps[after:]
    assert resumed.weights == unbroken.weights
    assert same_state(resumed.sampler.state_dict(), unbroken.sampler.state_dict())


@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize(("num_workers", "persistent_workers"), [(0, False), (2, False), (2, True)])
def test_a_run_is_that_of_torch_s_loader(tmp_path, num_workers, persistent_workers, every):
    arguments = {"num_workers": num_workers, "persistent_workers": persistent_workers, "limit_train_batches": 6}
    theirs = fit(tmp_path, real_net(), mixer=Learn2Mix(0.5, every=every), **arguments)
    ours = fit_mixed(tmp_path, mixer=Learn2Mix(0.5, every=every), max_epochs=2, **arguments)
    assert_goes_on(ours, theirs, after=0)
    assert ours.record.lags == theirs.record.lags


def without(folder, name, part):
    """A checkpoint without the state of a part."""
    checkpoint = torch.load(folder / f"{name}.ckpt", weights_only=True)
    if part == "callback":
        del checkpoint["callbacks"]["MixingCallback"]
    if part == "loader":
        assert checkpoint["loops"]["fit_loop"]["state_dict"].pop("combined_loader")
    torch.save(checkpoint, folder / "less.ckpt")
    return folder / "less.ckpt"


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_a_run_stopped_anywhere_goes_on_by_the_state_of_the_loader_of_the_callback_or_both(
    tmp_path, every, num_workers
):
    def run(*callbacks, **settings):
        return fit_mixed(tmp_path, *callbacks, mixer=Learn2Mix(0.5, every=every), num_workers=num_workers, **settings)

    unbroken = run(*saves(tmp_path))
    # Each part is gone at each stop, with one number of workers or one mixer; all with both.
    first = num_workers + (every == "step")
    for number, step in enumerate((1, 5, EPOCH, EPOCH + 1, 2 * EPOCH), first):
        path = without(tmp_path, f"step={step}", ("none", "loader", "callback")[number % 3])
        assert_goes_on(run(ckpt_path=path), unbroken, step)
    # Lightning does not hand its state back to a loader where the checkpoint was written as an epoch ended.
    path = without(tmp_path, "epoch=0", ("none", "loader")[first % 2])
    assert_goes_on(run(ckpt_path=path), unbroken, EPOCH)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mix_without_losses_needs_no_callback(tmp_path, num_workers):
    class Seen(pl.Callback):
        def __init__(self):
            self.indices = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.indices.append(batch[2].tolist())

    def run(*callbacks, ckpt_path=None):
        seen, sampler = Seen(), make_sampler(FixedMix("uniform"))
        trainer = make_trainer(tmp_path, [seen, *callbacks], max_epochs=3)
        trainer.fit(real_net(), MixedLoader(tools.Data(), sampler, num_workers=num_workers), ckpt_path=ckpt_path)
        return seen.indices

    unbroken = run(*saves(tmp_path))
    assert evenly_drawn(unbroken, LABELS)
    for name, after in [("step=3", 3), ("step=8", 8), ("step=11", 11), ("step=16", 16)]:
        assert run(ckpt_path=tmp_path / f"{name}.ckpt") == unbroken[after:]
    # Lightning gives back no state of a loader that was saved at the end of an epoch.
    with pytest.warns(UserWarning, match=rf"goes on after {EPOCH} batches, but gave back no state.*MixingCallback"):
        assert run(ckpt_path=tmp_path / "epoch=0.ckpt") == unbroken[: 2 * EPOCH]


@pytest.mark.parametrize("step", [3, 11])
def test_a_state_that_lightning_does_not_give_back_is_told_of(tmp_path, step):
    class Net(type(real_net())):
        def configure_optimizers(self):
            assert self.trainer.estimated_stepping_batches == 3 * EPOCH  # as for OneCycleLR
            return super().configure_optimizers()

    def run(*callbacks, ckpt_path=None):
        sampler = make_sampler(FixedMix("uniform"))
        trainer = make_trainer(tmp_path, [*callbacks], max_epochs=3)
        trainer.fit(Net(), MixedLoader(tools.Data(), sampler), ckpt_path=ckpt_path)
        return sampler.state_dict()["composed"]

    assert run(MixingCallback(), *saves(tmp_path)) == 3 * EPOCH
    with pytest.warns(UserWarning, match=f"goes on after {step} batches, but gave back no state.*MixingCallback"):
        run(ckpt_path=tmp_path / f"step={step}.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "MixedBatchSampler")
        assert run(MixingCallback(), ckpt_path=tmp_path / f"step={step}.ckpt") == 3 * EPOCH


def test_a_checkpoint_of_a_run_without_the_callback_is_told_of_where_it_has_no_state(tmp_path):
    def run(*callbacks, state=None, ckpt_path=None):
        sampler = make_sampler(FixedMix("uniform"))
        if state is not None:
            sampler.load_state_dict(state)
        trainer = make_trainer(tmp_path, [*callbacks], max_epochs=2 if ckpt_path else 1)
        trainer.fit(real_net(), MixedLoader(tools.Data(), sampler), ckpt_path=ckpt_path)
        return sampler.state_dict()

    state = run(*saves(tmp_path))
    with pytest.warns(UserWarning, match=r"MixingCallback: the checkpoint was saved without this .* begin anew"):
        assert run(MixingCallback(), ckpt_path=tmp_path / "epoch=0.ckpt")["composed"] == EPOCH
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "MixingCallback")
        assert run(MixingCallback(), ckpt_path=tmp_path / "step=3.ckpt")["composed"] == 2 * EPOCH  # by the loader's
        assert run(MixingCallback(), state=state, ckpt_path=tmp_path / "epoch=0.ckpt")["composed"] == 2 * EPOCH


@pytest.mark.parametrize("num_workers", [0, 2])
def test_at_the_end_of_an_epoch_the_callback_keeps_what_lightning_loses(tmp_path, num_workers):
    whole = fit_mixed(tmp_path, *saves(tmp_path), mixer=FixedMix("uniform"), num_workers=num_workers)
    rest = fit_mixed(tmp_path, mixer=FixedMix("uniform"), num_workers=num_workers, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert_goes_on(rest, whole, EPOCH)


def test_zero_lag_is_the_run_without_workers_also_across_a_stop(tmp_path):
    unbroken = fit(tmp_path, real_net(), max_epochs=3)
    ours = fit_mixed(tmp_path, *saves(tmp_path), num_workers=2, zero_lag=True)
    assert_goes_on(ours, unbroken, after=0)
    assert set(ours.record.lags) == {0}
    for name, after in [("step=11", 11), ("epoch=0", EPOCH)]:
        path = tmp_path / f"{name}.ckpt"
        assert_goes_on(fit_mixed(tmp_path, num_workers=1, zero_lag=True, ckpt_path=path), unbroken, after)


@pytest.mark.parametrize("settings", [{}, {"persistent_workers": True}, {"zero_lag": True}], ids=str)
@pytest.mark.parametrize("crash", [False, True])
def test_workers_end_with_the_fit(tmp_path, settings, crash):
    class Crashes(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 3:
                raise RuntimeError("crash")

    def processes():
        return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}

    before, sampler = processes(), make_sampler()
    loader = MixedLoader(tools.Data(), sampler, num_workers=2, **settings)
    trainer = make_trainer(tmp_path, [MixingCallback(), *([Crashes()] if crash else [])], max_epochs=1)
    with pytest.raises(RuntimeError, match=r"^crash$") if crash else contextlib.nullcontext():
        trainer.fit(real_net(), loader)
    end = time.monotonic() + 3
    while processes() - before and time.monotonic() < end:
        time.sleep(0.01)
    assert processes() <= before


# ------------------------------------------------------------------ other data, another batch size


def data_of(labels):
    return tools.Data(np.asarray(labels))


GROWN = np.concatenate([LABELS, [2] * 20, [0] * 4])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_data_that_grows_keeps_the_mix_and_the_passes(tmp_path, num_workers):
    fit_mixed(tmp_path, *saves(tmp_path), max_epochs=1, num_workers=num_workers)
    saved = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)["callbacks"]["MixingCallback"]
    sampler = make_sampler(labels=GROWN)
    path = tmp_path / "epoch=0.ckpt"
    with pytest.warns(UserWarning, match=r"state: its fingerprint is .* The mix and the passes .* go on"):
        resumed = fit_mixed(
            tmp_path, sampler=sampler, data=data_of(GROWN), num_workers=num_workers, max_epochs=3, ckpt_path=path
        )
    assert resumed.steps[0][0] == saved["feedback"]["mixer"]["proportions"]
    assert len(resumed.steps) == 2 * len(sampler)
    assert evenly_drawn(
        [[index for index in batch if GROWN[index] == 2] for batch in resumed.indices], np.where(GROWN == 2, 2, 0)
    ), "the group that has grown begins a pass"


def test_loaders_made_anew_of_more_and_more_data(tmp_path):
    mixing, sizes = MixingCallback(), []
    record, module = tools.Recorder(mixing), real_net()

    def train_dataloader():
        labels = np.concatenate([LABELS, np.full(8 * len(sizes), 2)])
        sizes.append(len(labels))
        return MixedLoader(data_of(labels), make_sampler(labels=labels))

    module.train_dataloader = train_dataloader
    trainer = make_trainer(tmp_path, [mixing, record], max_epochs=3, reload_dataloaders_every_n_epochs=1)
    with pytest.warns(UserWarning, match=r"state: its fingerprint is .* The mix and the passes .* go on"):
        trainer.fit(module)
    assert sizes == [60, 68, 76]
    assert len(record.steps) == 8 + 9 + 10
    goes_on, begins_anew = record.steps[7][0][2], 18 / 68
    assert goes_on > 0.5
    assert abs(record.steps[8][0][2] - goes_on) < abs(record.steps[8][0][2] - begins_anew), "the mix goes on"


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("name", ["step=3", "epoch=0"])
def test_another_batch_size_keeps_the_mix_and_says_so(tmp_path, name, num_workers):
    fit_mixed(tmp_path, *saves(tmp_path), num_workers=num_workers, max_epochs=1)
    saved = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["callbacks"]["MixingCallback"]
    sampler = make_sampler(batch_size=12)
    with pytest.warns(UserWarning, match="state: its global_batch_size is 8, but this sampler's is 12"):
        resumed = fit_mixed(tmp_path, sampler=sampler, num_workers=num_workers, ckpt_path=tmp_path / f"{name}.ckpt")
    assert resumed.steps[0][0] == saved["feedback"]["mixer"]["proportions"]
    assert {len(batch) for batch in resumed.indices} == {12}
    assert sampler.lag == 0


# ------------------------------------------------------------------ a search for the learning rate


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("torch_s", [False, True])
def test_a_search_for_the_learning_rate_leaves_no_trace(tmp_path, num_workers, torch_s):
    class Net(tools.module_class()):
        lr = 0.02

    def run(*callbacks):
        mixing = MixingCallback()
        record, sampler = tools.Recorder(mixing), make_sampler(AnnealedMix([1, 0, 0], [0, 0, 1], num_steps=16))
        module = Net("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))
        make = (
            tools.make_loader if torch_s else lambda sampler, num: MixedLoader(tools.Data(), sampler, num_workers=num)
        )
        trainer = make_trainer(tmp_path, [*callbacks, mixing, record])
        trainer.fit(module, make(sampler, num_workers))
        return record

    searched, plain = run(LearningRateFinder(num_training_steps=10)), run()
    assert searched.indices[-2 * EPOCH :] == plain.indices
    assert searched.steps[-2 * EPOCH :] == plain.steps


# ------------------------------------------------------------------ groups=


class TwoViews(tools.module_class()):
    """Trains on two views of each sample, one after the other, in one pass."""

    def training_step(self, batch, batch_idx):
        features, labels, _ = batch
        both = torch.cat([labels, labels])
        losses = torch.nn.functional.cross_entropy(self.net(torch.cat([features, -features])), both, reduction="none")
        return {"loss": losses.mean(), "losses": losses, "of": both}


class Told(Learn2Mix):
    """Keeps what it is updated with."""

    def __init__(self):
        super().__init__(0.5)
        self.losses = []

    def update(self, losses):
        self.losses.append(losses.tolist())
        super().update(losses)


class ByHand(pl.Callback):
    """The losses of the groups by hand."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        losses, groups = outputs["losses"].detach().double().numpy(), outputs["of"].numpy()
        self.losses.append([losses[groups == g].mean() if (groups == g).any() else np.nan for g in range(3)])


def labels_of_both(outputs, batch):
    return torch.cat([batch[1], batch[1]])


@pytest.mark.parametrize("groups", ["of", labels_of_both], ids=["key", "function"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_losses_of_two_views_by_their_groups(tmp_path, groups, num_workers):
    mixer, true = Told(), ByHand()
    sampler = make_sampler(mixer)
    trainer = make_trainer(tmp_path, [MixingCallback(groups=groups), true])
    trainer.fit(TwoViews(), MixedLoader(tools.Data(), sampler, num_workers=num_workers))
    np.testing.assert_allclose(mixer.losses, true.losses, rtol=1e-6)
    assert len(mixer.losses) == 2 * EPOCH
    assert sampler.lag == 0


def test_groups_under_a_key_that_is_not_there(tmp_path):
    trainer = make_trainer(tmp_path, [MixingCallback(groups="which")])
    with pytest.raises(
        RuntimeError, match=r"training_step returned no 'which' \(it returned: 'loss', 'losses', 'of'\)"
    ):
        trainer.fit(TwoViews(), MixedLoader(tools.Data(), make_sampler()))


def test_groups_that_are_neither_a_key_nor_a_function():
    with pytest.raises(TypeError, match="groups must be None, a key or a function, got int"):
        MixingCallback(groups=3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samples_that_cannot_be_read_cost_themselves_only(tmp_path, num_workers):
    class Broken(tools.Data):
        def __getitem__(self, index):
            if index % 7 == 0:
                raise OSError("cannot be read")
            return super().__getitem__(index)

    mixing, mixer = MixingCallback(), Told()
    record, sampler, module = tools.Recorder(mixing), make_sampler(mixer), real_net()
    loader = MixedLoader(Broken(), sampler, num_workers=num_workers, on_error="skip")
    trainer = make_trainer(tmp_path, [mixing, record])
    with pytest.warns(UserWarning, match="MixedLoader: skipped sample"):
        trainer.fit(module, loader)
    assert len(record.indices) == 2 * EPOCH
    assert sum(map(len, record.indices)) == 2 * EPOCH * BATCH_SIZE - sum(loader.skipped.values())
    assert sampler.lag == 0
    assert isinstance(module.per_sample, PerSampleLoss)


def test_labels_of_a_part_of_the_data(tmp_path):
    with pytest.raises(ValueError, match=r"dataset: it has 60 samples, but the sampler has labels of 40"):
        fit_mixed(tmp_path, sampler=MixedBatchSampler(LABELS[:40], FixedMix(), batch_size=8))
    trainer = make_trainer(tmp_path, [MixingCallback()])
    with pytest.raises(ValueError, match=r"dataset: it has 60 samples, but the sampler has labels of 40"):
        trainer.fit(real_net(), tools.make_loader(MixedBatchSampler(LABELS[:40], FixedMix(), batch_size=8)))
