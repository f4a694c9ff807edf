"""MixingCallback closes the loop: a real Trainer, scripted losses, and each batch and mix as plain Python has it."""

import copy
import pickle

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

import lightning_modules as tools
from helpers import evenly_drawn
from learn2mix import AnnealedMix, FixedMix, Learn2Mix, MixingCallback, PerSampleLoss
from lightning_modules import BATCH_SIZE, EPOCH, LABELS, NAMESPACES, expected, fit, net, real_net

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread
both_namespaces = pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)


def assert_steps(found, wanted):
    """The counts exactly, the mix to the last bits: plain Python adds in another order."""
    assert [counts for _, counts in found] == [counts for _, counts in wanted]
    np.testing.assert_allclose([mix for mix, _ in found], [mix for mix, _ in wanted], rtol=0, atol=1e-14)


def assert_no_sample_left_out(indices):
    """Whatever was composed and thrown away: within a group, all samples come once before any comes twice."""
    assert evenly_drawn(indices, LABELS)


class Validates(pl.Callback):
    """Keeps what was in the PerSampleLoss when validation had run."""

    def __init__(self):
        self.left = []

    def on_validation_end(self, trainer, pl_module):
        self.left.append(pl_module.per_sample.losses.tolist())


class TestLoop:
    @both_namespaces
    @pytest.mark.parametrize("every", ["step", "epoch", 3])
    def test_the_mix_is_that_of_the_formula(self, tmp_path, namespace, every):
        run = fit(tmp_path, mixer=Learn2Mix(0.5, every=every), namespace=namespace, max_epochs=3)
        wanted = expected(num_epochs=3, every=every)
        assert_steps(run.steps, wanted)
        assert wanted[-1][0] != pytest.approx(tools.PRIOR, abs=0.05)  # the script does move the mix

    def test_every_sample_comes_in_turn(self, tmp_path):
        run = fit(tmp_path, max_epochs=3)
        assert len(run.indices) == 3 * EPOCH
        assert_no_sample_left_out(run.indices)

    def test_without_workers_there_is_no_lag(self, tmp_path):
        assert fit(tmp_path).record.lags == [0] * 2 * EPOCH

    @pytest.mark.parametrize("persistent_workers", [False, True])
    def test_with_workers_the_mix_lags_by_what_was_composed_ahead(self, tmp_path, persistent_workers):
        run = fit(tmp_path, num_workers=2, persistent_workers=persistent_workers)
        assert_steps(run.steps, expected(lag=4))
        assert run.record.lags == [4, 4, 4, 4, 3, 2, 1, 0] * 2
        assert_no_sample_left_out(run.indices)

    def test_bf16_mixed_precision(self, tmp_path):
        run = fit(tmp_path, precision="bf16-mixed")
        assert_steps(run.steps, expected())

    def test_losses_in_bfloat16_are_summed_in_float64(self, tmp_path):
        mixing = MixingCallback(losses=lambda outputs, batch: (batch[1] + 1).to(torch.bfloat16))
        run = fit(tmp_path, net("nothing"), mixing=mixing)
        assert_steps(run.steps, expected(loss_of=lambda step, group, place: group + 1))


class TestWhereTheLossesAre:
    @both_namespaces
    @pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
    @pytest.mark.parametrize("returns", ["losses", "criterion"])
    def test_found_without_being_told(self, tmp_path, namespace, manual, returns):
        run = fit(tmp_path, net(returns, manual=manual, namespace=namespace), namespace=namespace)
        assert_steps(run.steps, expected())

    @pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
    def test_under_a_key(self, tmp_path, manual):
        run = fit(tmp_path, net("nll", manual=manual), mixing=MixingCallback(losses="nll"))
        assert_steps(run.steps, expected())

    @pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
    def test_from_a_function_of_outputs_and_batch(self, tmp_path, manual):
        mixing = MixingCallback(losses=lambda outputs, batch: outputs["raw"] * 0 + batch[1] + 1)
        run = fit(tmp_path, net("raw", manual=manual), mixing=mixing)
        assert_steps(run.steps, expected(loss_of=lambda step, group, place: group + 1))

    def test_a_returned_key_goes_before_a_criterion(self, tmp_path):
        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                return {"loss": super().training_step(batch, batch_idx), "losses": batch[1] + 1}

        run = fit(tmp_path, Net("criterion"))
        assert_steps(run.steps, expected(loss_of=lambda step, group, place: group + 1))

    def test_of_a_module_that_trains_by_a_closure(self, tmp_path):
        # LBFGS calls training_step several times a batch, with the losses of the last call.
        class Net(tools.module_class()):
            def configure_optimizers(self):
                return torch.optim.LBFGS(self.parameters(), lr=0.01, max_iter=2)

        run = fit(tmp_path, Net("criterion"), mixer=FixedMix(), max_epochs=1)
        assert len(run.steps) == EPOCH

    @pytest.mark.parametrize("returns", ["nothing", "losses"])
    def test_a_mixer_that_needs_none_may_go_without(self, tmp_path, returns):
        run = fit(tmp_path, net(returns), mixer=FixedMix("uniform"))
        assert [mix for mix, _ in run.steps] == [[1 / 3] * 3] * 2 * EPOCH


class TestTrainerOptions:
    @pytest.mark.parametrize("returns", ["losses", "criterion"])
    def test_accumulation_does_not_change_the_losses(self, tmp_path, returns):
        one = fit(tmp_path, net(returns), accumulate_grad_batches=1)
        three = fit(tmp_path, net(returns), accumulate_grad_batches=3)
        assert_steps(three.steps, expected())
        assert three.steps == one.steps
        assert three.trainer.global_step == 6  # 3 + 3 + 2 batches, twice

    @pytest.mark.parametrize(("limit", "num_batches"), [(3, 3), (0.5, 4)])
    @pytest.mark.parametrize("every", ["step", "epoch", 5])
    def test_limited_epochs_end_where_the_trainer_ends_them(self, tmp_path, limit, num_batches, every):
        run = fit(tmp_path, mixer=Learn2Mix(0.5, every=every), limit_train_batches=limit, max_epochs=4)
        assert_steps(run.steps, expected(num_batches, num_epochs=4, every=every))
        assert_no_sample_left_out(run.indices)

    @pytest.mark.parametrize("persistent_workers", [False, True])
    def test_limited_epochs_with_workers_lose_nothing(self, tmp_path, persistent_workers):
        options = {"num_workers": 2, "persistent_workers": persistent_workers, "limit_train_batches": 3}
        run = fit(tmp_path, mixer=Learn2Mix(0.5, every="epoch"), max_epochs=4, **options)
        # The mix moves between epochs only, so no lag can show: the same batches as without workers.
        alone = fit(tmp_path, mixer=Learn2Mix(0.5, every="epoch"), max_epochs=4, limit_train_batches=3)
        assert run.indices == alone.indices
        assert_steps(run.steps, expected(3, num_epochs=4, every="epoch"))

    def test_fast_dev_run(self, tmp_path):
        run = fit(tmp_path, fast_dev_run=2, max_epochs=5)
        assert_steps(run.steps, expected(2, num_epochs=1))

    def test_max_steps_in_the_middle_of_an_epoch(self, tmp_path):
        run = fit(tmp_path, max_steps=11, max_epochs=-1)
        assert_steps(run.steps, expected()[:11])

    def test_overfit_batches(self, tmp_path):
        run = fit(tmp_path, overfit_batches=2, max_epochs=3)
        assert_steps(run.steps, expected(2, num_epochs=3))

    @pytest.mark.parametrize("skip", [(0,), (3, 4, 7)])
    @pytest.mark.parametrize("returns", ["losses", "criterion"])
    def test_a_skipped_step_counts_as_not_seen(self, tmp_path, returns, skip):
        run = fit(tmp_path, net(returns, skip=skip))
        assert_steps(run.steps, expected(loss_of=tools.unseen_at(*skip)))

    def test_a_step_skipped_for_its_nan_loss_does_no_harm(self, tmp_path):
        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                features, labels, _ = batch
                loss = super().training_step([features, labels, _], batch_idx)
                if batch_idx == 2:
                    self.per_sample.criterion = torch.nn.MSELoss(reduction="none")
                    self.per_sample(features * torch.nan, features)
                    self.per_sample.criterion = self.script
                    return None
                return loss

        run = fit(tmp_path, Net("criterion"), max_epochs=1)
        assert_steps(run.steps, expected(num_epochs=1, loss_of=tools.unseen_at(2)))

    @pytest.mark.parametrize("num_workers", [0, 2])
    @pytest.mark.parametrize("last", [0, 3])
    def test_an_epoch_cut_short_by_a_hook(self, tmp_path, num_workers, last):
        # The batch for which on_train_batch_start returns -1 is drawn, never trained on, and comes first in the next.
        class Net(tools.module_class()):
            def on_train_batch_start(self, batch, batch_idx):
                return -1 if batch_idx == last and self.current_epoch < 2 else None

        run = fit(tmp_path, Net(), mixer=Learn2Mix(0.5, every="epoch"), num_workers=num_workers, max_epochs=3)
        wanted = expected(max(last, 1), num_epochs=3, every="epoch")[: 2 * last] if last else []
        assert_steps(run.steps[: 2 * last], wanted)
        assert len(run.steps) == 2 * last + EPOCH
        assert_no_sample_left_out(run.indices)
        whole = fit(tmp_path, mixer=FixedMix(), max_epochs=1)
        if last == 0:
            assert run.indices == whole.indices

    def test_an_epoch_cut_short_by_a_hook_is_over_with_its_last_hook(self, tmp_path):
        class Net(tools.module_class()):
            def on_train_batch_start(self, batch, batch_idx):
                return -1 if batch_idx == 3 else None

        run = fit(tmp_path, Net(), mixer=Learn2Mix(0.5, every="epoch"), max_epochs=1)
        mix, _ = expected(3, every="epoch")[3]
        np.testing.assert_allclose(run.sampler.mixer.proportions, mix, rtol=0, atol=1e-14)

    def test_two_fits_with_one_callback(self, tmp_path):
        mixing = MixingCallback()
        runs = [fit(tmp_path, mixing=mixing, max_epochs=1) for _ in range(2)]
        for run in runs:
            assert_steps(run.steps, expected(num_epochs=1))
        assert mixing.sampler is runs[1].sampler

    def test_a_second_fit_goes_on(self, tmp_path):
        run = fit(tmp_path, max_epochs=1)
        run.trainer.fit_loop.max_epochs = 3
        run.trainer.fit(run.module, tools.make_loader(run.sampler))
        assert_steps(run.steps, expected(num_epochs=3))
        assert_no_sample_left_out(run.indices)

    def test_a_second_fit_after_an_epoch_left_early_begins_a_new_one(self, tmp_path):
        run = fit(tmp_path, mixer=Learn2Mix(0.5, every="epoch"), max_steps=3)
        run.trainer.fit_loop.epoch_loop.max_steps = 3 + EPOCH
        run.trainer.fit(run.module, tools.make_loader(run.sampler))
        first = expected(3, num_epochs=2, every="epoch")
        assert_steps(run.steps[:6], first)
        assert [mix for mix, _ in run.steps[3:]] == [run.steps[3][0]] * EPOCH


class TestValidation:
    @pytest.mark.parametrize("interval", [1.0, 3, 0.25])
    @pytest.mark.parametrize("returns", ["losses", "criterion"])
    def test_its_losses_are_no_training_losses(self, tmp_path, interval, returns):
        validates = Validates()
        module = net(returns, skip=(3, 4))
        run = fit(tmp_path, module, val=True, val_check_interval=interval, callbacks=[validates])
        assert_steps(run.steps, expected(loss_of=tools.unseen_at(3, 4)))
        assert len(validates.left) == 1 + 2 * {1.0: 1, 3: 2, 0.25: 4}[interval]  # with the sanity check

    @pytest.mark.filterwarnings("ignore:MixedBatchSampler. an epoch of training data went by without gradients")
    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_a_sanity_check_on_the_training_loader_draws_nothing_of_the_training_s(self, tmp_path, num_workers):
        sampler, mixing = tools.make_sampler(AnnealedMix("uniform", None, num_steps=9)), MixingCallback()
        loader, record = tools.make_loader(sampler, num_workers), tools.Recorder(mixing)
        trainer = tools.make_trainer(tmp_path, [mixing, record], num_sanity_val_steps=2)
        trainer.fit(net("criterion"), loader, loader)
        assert record.steps[0][0] == pytest.approx([1 / 3] * 3)
        plain = tools.make_sampler(AnnealedMix("uniform", None, num_steps=9))
        assert record.indices == [batch for _ in range(2) for batch in plain]

    @pytest.mark.filterwarnings("ignore:You are using a custom batch sampler")  # Lightning's, of predictions
    @pytest.mark.parametrize("stage", ["fit", "predict", "test"])
    def test_one_on_the_training_loader_is_told_to_be_of_the_mix(self, tmp_path, stage):
        class Net(tools.module_class()):
            def predict_step(self, batch, batch_idx):
                return batch[1]

        loader, trainer = tools.make_loader(tools.make_sampler()), tools.make_trainer(tmp_path, [MixingCallback()])
        module = Net("criterion")
        module.test_step = module.validation_step
        if stage != "fit":
            trainer.fit(module, loader)
        with pytest.warns(UserWarning, match="went by without gradients, as for validation or predictions"):
            trainer.fit(module, loader, loader) if stage == "fit" else getattr(trainer, stage)(module, loader)

    def test_a_criterion_used_only_there_is_not_taken_for_a_second_one(self, tmp_path):
        class Net(tools.module_class()):
            def __init__(self):
                super().__init__("criterion")
                self.other = PerSampleLoss(torch.nn.CrossEntropyLoss(reduction="none"))

            def validation_step(self, batch, batch_idx):
                self.other(self.net(batch[0]), batch[1])

        run = fit(tmp_path, Net(), val=True, val_check_interval=2)
        assert_steps(run.steps, expected())

    @both_namespaces
    def test_a_trainer_that_only_evaluates(self, tmp_path, namespace):
        trainer = tools.make_trainer(tmp_path, [MixingCallback()], namespace=namespace)
        module, loader = real_net(namespace=namespace), DataLoader(tools.Data(), batch_size=60)
        losses = torch.nn.functional.cross_entropy(module.net(tools.Data().features), tools.Data().labels)
        wanted = [{"validation": pytest.approx(losses.item(), rel=1e-6)}]
        assert trainer.validate(module, loader, verbose=False) == wanted
        assert trainer.test(module, loader, verbose=False) == wanted


class TestLoaders:
    def test_made_by_the_module(self, tmp_path):
        mixing = MixingCallback()
        record, sampler = tools.Recorder(mixing), tools.make_sampler()
        module = net(loader=tools.make_loader(sampler))
        tools.make_trainer(tmp_path, [mixing, record]).fit(module)
        assert_steps(record.steps, expected())
        assert mixing.sampler is sampler

    @both_namespaces
    def test_made_by_a_data_module(self, tmp_path, namespace):
        class Module(namespace.LightningDataModule):
            def train_dataloader(self):
                return tools.make_loader(tools.make_sampler())

        mixing = MixingCallback()
        record = tools.Recorder(mixing)
        trainer = tools.make_trainer(tmp_path, [mixing, record], namespace=namespace)
        trainer.fit(net(namespace=namespace), datamodule=Module())
        assert_steps(record.steps, expected())

    def test_beside_another_loader(self, tmp_path):
        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                return super().training_step(batch["mixed"], batch_idx)

        class Record(tools.Recorder):
            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                super().on_train_batch_end(trainer, pl_module, outputs, batch["mixed"], batch_idx)

        mixing = MixingCallback()
        record = Record(mixing)
        loaders = {"other": DataLoader(tools.Data(), batch_size=5), "mixed": tools.make_loader(tools.make_sampler())}
        tools.make_trainer(tmp_path, [mixing, record]).fit(Net(), loaders)
        # The other loader has 12 batches, so the mixed one begins again in the middle of the Trainer's epoch.
        assert len(record.steps) == 24
        assert_no_sample_left_out(record.indices)
        assert_steps(record.steps[:EPOCH], expected(num_epochs=1))

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_made_anew_every_epoch(self, tmp_path, num_workers):
        class Net(tools.module_class()):
            def train_dataloader(self):
                samplers.append(tools.make_sampler(Learn2Mix(0.5, every="epoch"), seed=len(samplers)))
                return tools.make_loader(samplers[-1], num_workers)

        samplers, mixing = [], MixingCallback()
        record = tools.Recorder(mixing)
        tools.make_trainer(tmp_path, [mixing, record], reload_dataloaders_every_n_epochs=1, max_epochs=3).fit(Net())
        assert_steps(record.steps, expected(num_epochs=3, every="epoch"))
        assert_no_sample_left_out(record.indices)
        assert len(samplers) == 3
        assert mixing.sampler is samplers[-1]


class TestCopies:
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
    def test_of_a_criterion_in_the_middle_of_a_step(self, copied):
        criterion = PerSampleLoss(torch.nn.CrossEntropyLoss(reduction="none"))
        logits = torch.randn(BATCH_SIZE, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        criterion(logits, torch.zeros(BATCH_SIZE, dtype=torch.long))
        assert copied(criterion).losses.tolist() == criterion.losses.tolist()

    def test_of_a_module_after_training(self, tmp_path):
        run = fit(tmp_path, real_net(), max_epochs=1)
        twin = copy.deepcopy(run.module)
        assert twin.state_dict().keys() == run.module.state_dict().keys()
        assert twin.per_sample.losses is None  # taken by the callback
