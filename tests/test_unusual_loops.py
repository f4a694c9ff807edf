"""Several training loaders, overfit_batches and loaders made anew: on one process and on two."""

import json
import warnings

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader

import ddp_script
import forks
import lightning_modules as tools
from helpers import evenly_drawn
from learn2mix import Learn2Mix, MixingCallback
from lightning_modules import EPOCH, expected

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread


class Net(tools.module_class()):
    """Trains on the batches of our loader; a step without one is skipped, or trains on the other's alone."""

    skips = True

    def training_step(self, batch, batch_idx):
        if batch["mixed"] is not None:
            return super().training_step(batch["mixed"], batch_idx)
        return None if self.skips else self.net(batch["other"][0]).square().mean()


class Record(tools.Recorder):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch["mixed"] is not None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch["mixed"], batch_idx)


def train(tmp_path, mode, other_batch_size, *, num_workers=0, callbacks=(), skips=True, **fit_args):
    mixing = MixingCallback()
    record = Record(mixing)
    loaders = {
        "other": DataLoader(tools.Data(), batch_size=other_batch_size),
        "mixed": tools.make_loader(tools.make_sampler(), num_workers),
    }
    trainer = tools.make_trainer(tmp_path, [mixing, record, *callbacks])
    module = Net("criterion", criterion=tools.nn.CrossEntropyLoss(reduction="none"))
    module.skips = skips
    trainer.fit(module, CombinedLoader(loaders, mode), **fit_args)
    return record, mixing.sampler


class TestSeveralLoaders:
    @pytest.mark.parametrize("num_workers", [0, 2])
    @pytest.mark.parametrize(
        ("mode", "other_batch_size", "num_steps"),
        [
            ("min_size", 12, 2 * 5),  # the other has 5 batches, ours 8
            ("min_size", 5, 2 * EPOCH),  # the other has 12
            ("max_size", 12, 2 * EPOCH),
            ("max_size", 5, 2 * EPOCH),  # and four steps an epoch without ours
            ("max_size_cycle", 12, 2 * EPOCH),
            ("max_size_cycle", 5, 2 * 12),
        ],
    )
    def test_the_mixed_one_is_observed_batch_by_batch(self, tmp_path, mode, other_batch_size, num_steps, num_workers):
        record, sampler = train(tmp_path, mode, other_batch_size, num_workers=num_workers)
        assert len(record.steps) == num_steps == sampler.state_dict()["composed"]
        assert sampler.lag == 0
        assert evenly_drawn(record.indices, tools.LABELS)

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_step_on_the_other_alone_has_no_losses_for_the_mix(self, tmp_path, num_workers):
        record, sampler = train(tmp_path, "max_size", 5, num_workers=num_workers, skips=False)
        assert len(record.steps) == 2 * EPOCH == sampler.state_dict()["composed"]
        assert sampler.lag == 0
        skipped, _ = train(tmp_path, "max_size", 5, num_workers=num_workers)
        assert record.steps[:EPOCH] == skipped.steps[:EPOCH]

    def test_one_after_the_other_is_refused_by_lightning(self, tmp_path):
        with pytest.raises(ValueError, match="does not support the `CombinedLoader"):
            train(tmp_path, "sequential", 12)

    @pytest.mark.parametrize("step", [3, 9, 12])
    @pytest.mark.parametrize("mode", ["min_size", "max_size_cycle"])
    def test_the_mixed_one_goes_on_where_a_checkpoint_was_saved(self, tmp_path, mode, step):
        saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        record, _ = train(tmp_path, mode, 5, callbacks=[saves])
        resumed, _ = train(tmp_path, mode, 5, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert resumed.indices == record.indices[step:] != []
        assert resumed.steps == record.steps[step:]


def test_overfit_batches_goes_on_where_a_checkpoint_was_saved(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    unbroken = tools.fit(tmp_path, tools.real_net(), overfit_batches=3, max_epochs=3, callbacks=[saves])
    assert len(unbroken.steps) == 9
    args = {"ckpt_path": tmp_path / "step=4.ckpt"}
    resumed = tools.fit(tmp_path, tools.real_net(), overfit_batches=3, max_epochs=3, fit_args=args)
    assert resumed.indices == unbroken.indices[4:]
    assert resumed.weights == unbroken.weights


def on_processes(folder, devices, **options):
    def script(rank):
        warnings.simplefilter("ignore")
        ddp_script.main(ddp_script.DEFAULTS | {"folder": str(folder), "devices": devices, **options})
        return json.loads((folder / f"run-{rank}.json").read_text())

    return forks.results(script, devices, folder, lightning=True)


@pytest.mark.parametrize(
    ("options", "num_steps"),
    [
        ({"trainer": {"overfit_batches": 2}}, 6),
        ({"trainer": {"reload_dataloaders_every_n_epochs": 1}, "source": "hook"}, 30),
        ({"trainer": {"limit_train_batches": 4}, "every": "epoch"}, 12),
        ({"stateful": True, "num_workers": 1, "every": 4}, 30),
    ],
    ids=["overfit", "made anew", "limited", "stateful"],
)
def test_two_processes_train_on_the_batches_of_one(tmp_path, options, num_steps):
    (alone,) = on_processes(tmp_path / "one", 1, **options)
    ranks = on_processes(tmp_path / "two", 2, **options)
    assert len(alone["steps"]) == num_steps
    for (indices, mix), *parts in zip(alone["steps"], *(rank["steps"] for rank in ranks), strict=True):
        assert sorted(index for part, _ in parts for index in part) == sorted(indices)
        assert all(part_mix == pytest.approx(mix, abs=1e-12) for _, part_mix in parts)


def test_the_formula_holds_beside_another_loader(tmp_path):
    mixing = MixingCallback()
    record = Record(mixing)
    loaders = {"other": DataLoader(tools.Data(), batch_size=5), "mixed": tools.make_loader(tools.make_sampler())}
    trainer = tools.make_trainer(tmp_path, [mixing, record])
    trainer.fit(Net(), CombinedLoader(loaders, "max_size"))
    assert [counts for _, counts in record.steps] == [counts for _, counts in expected()]
    assert isinstance(mixing.sampler.mixer, Learn2Mix)
