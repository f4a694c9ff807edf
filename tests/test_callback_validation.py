"""MixingCallback carries validation results to the mixer: a real Trainer, scripted results, and who heard what."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

import lightning_modules as tools
import reference
from helpers import same_state
from learn2mix import AlternatingMix, GroupLossMeter, Learn2Mix, Mixer, MixingCallback
from lightning_modules import BATCH_SIZE, NAMESPACES, PRIOR, fit

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
both_namespaces = pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)

ROUNDS = [[1.0, 1.0, 2.0], [4.0, 2.0, 2.0], [1.0, 3.0, 0.0], [1.0, 1.0, 1.0]]  # of each group, in float32


class Heard(Mixer):
    """Writes down what it is told."""

    def __init__(self, needed="group_losses"):
        self.needs_validation = needed
        self.told = []

    def observe_validation(self, loss, group_losses=None):
        self.told.append((loss, None if group_losses is None else group_losses.tolist()))


class Validates(tools.Behaviour):
    """Gives scripted validation losses by group, and logs them as ``key``; the sanity check is given others."""

    def __init__(self, *args, key="val_loss", meters=1, namespace=None, **settings):
        super().__init__("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))
        self.key, self.runs = key, 0
        self.meters = torch.nn.ModuleList(GroupLossMeter(3) for _ in range(meters))

    def validation_step(self, batch, batch_idx):
        labels = batch[1]
        script = [100.0, 0.0, 0.0] if self.trainer.sanity_checking else ROUNDS[self.runs % 4]
        losses = torch.tensor(script)[labels]
        for meter in self.meters:
            meter.update(losses, labels)
        if self.key is not None:
            self.log(self.key, losses.mean(), batch_size=len(labels))

    def on_validation_end(self):
        self.runs += not self.trainer.sanity_checking


def module(namespace=pl, **settings):
    return type("Net", (Validates, namespace.LightningModule), {})(**settings)


class RealNet(tools.Behaviour, pl.LightningModule):
    """Learns, and gives the losses of the groups that it has."""

    def __init__(self):
        super().__init__("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))
        self.meter = GroupLossMeter(3)

    def validation_step(self, batch, batch_idx):
        features, labels, _ = batch
        losses = self.script(self.net(features), labels)
        self.meter.update(losses, labels)
        self.log("val_loss", losses.mean(), batch_size=len(labels))


def pooled(group_losses):
    return float(np.dot(PRIOR, group_losses))


def told_of(run):
    return run.sampler.mixer.told


@both_namespaces
def test_the_loss_and_those_of_the_groups_are_found(tmp_path, namespace):
    run = fit(tmp_path, module(namespace), mixer=Heard(), namespace=namespace, val=True, max_epochs=3)
    losses, by_group = zip(*told_of(run), strict=True)
    assert list(by_group) == ROUNDS[:3]  # not those of the sanity check, and none pooled with another run's
    assert losses == pytest.approx([pooled(group_losses) for group_losses in ROUNDS[:3]], rel=1e-6)


def test_validation_within_an_epoch(tmp_path):
    run = fit(tmp_path, module(), mixer=Learn2Mix(0.5, signal="validation"), val=True, val_check_interval=2)
    mix, wanted = PRIOR, []
    for step in range(16):
        wanted.append(mix)
        if step % 2 == 1:
            mix = reference.update_proportions(mix, ROUNDS[step // 2 % 4], 0.5)
    np.testing.assert_allclose([mix for mix, _ in run.steps], wanted, rtol=0, atol=1e-7)


def test_under_another_key(tmp_path):
    mixing = MixingCallback(validation="held_out")
    run = fit(tmp_path, module(key="held_out"), mixer=Heard("loss"), mixing=mixing, val=True, max_epochs=1)
    assert told_of(run) == [(pytest.approx(pooled(ROUNDS[0]), rel=1e-6), None)]


def test_from_a_function_any_score_a_group(tmp_path):
    def recall_gap(trainer, pl_module):
        assert not trainer.sanity_checking
        recall = torch.tensor([1.0, 0.5, 0.25])
        return trainer.callback_metrics["val_loss"], 1 - recall

    mixing = MixingCallback(validation=recall_gap)
    run = fit(tmp_path, module(meters=0), mixer=Heard(), mixing=mixing, val=True, max_epochs=1)
    assert told_of(run) == [(pytest.approx(pooled(ROUNDS[0]), rel=1e-6), [0.0, 0.5, 0.75])]


def test_a_plateau_of_the_logged_loss_changes_the_turn(tmp_path):
    assert [round(pooled(group_losses), 2) for group_losses in ROUNDS] == [1.17, 3.0, 1.5, 1.0]
    mixer = AlternatingMix(every="plateau", window=2, threshold=0.6)  # level at the fourth, for the first time
    run = fit(tmp_path, module(meters=0), mixer=mixer, val=True, max_epochs=6, limit_train_batches=2)
    assert [mix for mix, _ in run.steps] == [[1.0, 0.0, 0.0]] * 8 + [[0.0, 1.0, 0.0]] * 4


def test_mixers_that_do_not_follow_validation_are_left_alone(tmp_path):
    def never(trainer, pl_module):
        raise AssertionError("nobody asked for this")

    for mixer in (Learn2Mix(0.5), AlternatingMix(), Heard(None)):
        net = module()
        fit(tmp_path, net, mixer=mixer, mixing=MixingCallback(validation=never), val=True, max_epochs=1)
        assert net.meters[0].sums.sum() > 0  # the user's own meter is not reset


def test_trainer_validate_does_not_move_the_mix(tmp_path):
    run = fit(tmp_path, module(), mixer=Heard(), val=True, max_epochs=1)
    run.trainer.validate(run.module, DataLoader(tools.Data(), batch_size=BATCH_SIZE), verbose=False)
    assert len(told_of(run)) == 1


@pytest.mark.parametrize("kind", ["train", "plateau"])
def test_resume_is_equality(tmp_path, kind):
    def mixer():
        if kind == "plateau":
            return AlternatingMix(every="plateau", window=2, threshold=3.0)
        return Learn2Mix(0.5, signal="validation")

    whole = fit(tmp_path, module(), mixer=mixer(), val=True, max_epochs=4)
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", monitor="val_loss", save_top_k=-1)
    first = fit(tmp_path, module(), mixer=mixer(), val=True, max_epochs=2, callbacks=[keep])
    net = module()
    net.runs = 2  # of the script
    fit_args = {"ckpt_path": tmp_path / "epoch=1.ckpt"}
    second = fit(tmp_path, net, mixer=mixer(), val=True, max_epochs=4, fit_args=fit_args)
    assert first.steps + second.steps == whole.steps
    assert first.indices + second.indices == whole.indices
    assert second.weights == whole.weights


class TestErrors:
    def test_no_validation_at_all(self, tmp_path):
        with pytest.raises(RuntimeError, match="this Learn2Mix follows validation, but the Trainer runs none"):
            fit(tmp_path, module(), mixer=Learn2Mix(signal="validation"))
        with pytest.raises(RuntimeError, match="this AlternatingMix follows validation, but the Trainer runs none"):
            fit(tmp_path, module(), mixer=AlternatingMix(every="plateau"), val=True, limit_val_batches=0)

    def test_no_loss_was_logged(self, tmp_path):
        message = r"nothing was logged as 'val_loss' \(logged: 'loss', 'other'\); call self\.log\('val_loss', loss\)"
        with pytest.raises(RuntimeError, match=message):
            fit(tmp_path, module(key="other"), mixer=AlternatingMix(every="plateau"), val=True)

    @pytest.mark.parametrize("meters", [0, 2])
    def test_not_one_meter(self, tmp_path, meters):
        with pytest.raises(RuntimeError, match=f"the module has {meters} GroupLossMeters; give it one"):
            fit(tmp_path, module(meters=meters), mixer=Learn2Mix(signal="validation"), val=True)

    @pytest.mark.parametrize("how", ["never updated", "reset before"])
    def test_a_meter_without_losses(self, tmp_path, how):
        class Emptied(RealNet):
            def on_validation_epoch_end(self):
                self.meter.reset()

        class NeverUpdated(RealNet):
            def validation_step(self, batch, batch_idx):
                self.log("val_loss", 1.0)

        net = Emptied() if how == "reset before" else NeverUpdated()
        with pytest.raises(RuntimeError, match=r"GroupLossMeter has no losses.* on_validation_epoch_end"):
            fit(tmp_path, net, mixer=Learn2Mix(signal="validation"), val=True)

    def test_what_is_neither_key_nor_function(self):
        with pytest.raises(TypeError, match="validation must be None, a key or a function, got int"):
            MixingCallback(validation=3)


FOLLOWING = {
    "group losses": lambda: Learn2Mix(0.5, signal="validation"),
    "plateau": lambda: AlternatingMix(every="plateau", window=2, threshold=5.0),
}


@pytest.mark.parametrize("mixer", FOLLOWING)
@pytest.mark.parametrize("interval", [1.0, 0.5, 0.25])
def test_a_run_goes_on_unbroken_from_a_checkpoint_written_before_a_validation_run(tmp_path, mixer, interval):
    """Which Lightning leaves out of the resumed run."""
    settings = {"val": True, "val_check_interval": interval, "max_epochs": 3}
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    unbroken = fit(tmp_path, RealNet(), mixer=FOLLOWING[mixer](), callbacks=[saves], **settings)
    assert len({tuple(mix) for mix, _ in unbroken.steps}) > 1
    for step in {"group losses": (1, 4, 8, 20), "plateau": (2, 7, 12, 16)}[mixer]:
        args = {"ckpt_path": tmp_path / f"step={step}.ckpt"}
        resumed = fit(tmp_path, RealNet(), mixer=FOLLOWING[mixer](), fit_args=args, **settings)
        assert resumed.indices == unbroken.indices[step:], step
        assert resumed.steps == unbroken.steps[step:], step
        assert resumed.weights == unbroken.weights, step
    assert same_state(resumed.sampler.state_dict(), unbroken.sampler.state_dict())


def test_a_meter_that_the_mix_does_not_follow_is_left_alone(tmp_path):
    net = module(meters=1)
    net.meters[0].update(torch.tensor([2.0]), torch.tensor([1]))
    fit(tmp_path, net, mixer=Heard("loss"), val=True, max_epochs=2, num_sanity_val_steps=0)
    assert int(net.meters[0].counts.sum()) == 1 + 2 * 60
