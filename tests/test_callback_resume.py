"""Resumed is unbroken: stop anywhere, go on with fresh parts; the same batches, mix and weights, bit for bit."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint

import lightning_modules as tools
from helpers import same_state
from learn2mix import FixedMix, Learn2Mix, MixingCallback
from lightning_modules import EPOCH, NAMESPACES, expected, fit, net, real_net

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread


class Saves(pl.Callback):
    """Writes a checkpoint in a hook of its own, once a given number of batches is trained on."""

    def __init__(self, folder, hook, at):
        self.path, self.at, self.seen = folder / "own.ckpt", at, 0
        setattr(self, hook, self.save)

    def save(self, trainer, pl_module, *_):
        self.seen += 1
        if self.seen == self.at:
            trainer.save_checkpoint(self.path)


def every_step(folder, **settings):
    """A checkpoint after each optimizer step, named by it."""
    return ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1, **settings)


def every_epoch(folder):
    return ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)


def assert_goes_on(resumed, unbroken, after):
    """The run that was resumed after some batches is the rest of the unbroken one."""
    assert resumed.indices == unbroken.indices[after:]
    assert resumed.steps == unbroken.steps[after:]
    assert resumed.weights == unbroken.weights
    assert same_state(resumed.sampler.state_dict(), unbroken.sampler.state_dict())
    assert len(resumed.indices) > 0


@pytest.fixture(scope="class")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("every", ["step", "epoch", 3], scope="class")
class TestEveryStep:
    """One unbroken run that writes a checkpoint at each step and each epoch end; one resumed run for each."""

    @pytest.fixture(scope="class")
    def unbroken(self, folder, every):
        return fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), max_epochs=3, **self.saving(folder, every))

    def saving(self, folder, every):
        return {"callbacks": [every_step(folder / f"{every}"), every_epoch(folder / f"{every}")]}

    def resumed(self, folder, every, name):
        path = folder / f"{every}" / f"{name}.ckpt"
        return fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), max_epochs=3, fit_args={"ckpt_path": path})

    def test_saving_changes_nothing(self, folder, unbroken, every):
        alone = fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), max_epochs=3)
        assert_goes_on(alone, unbroken, after=0)

    @pytest.mark.parametrize("step", [1, 5, EPOCH - 1, EPOCH, EPOCH + 1, 2 * EPOCH, 3 * EPOCH - 1])
    def test_after_a_step(self, folder, unbroken, every, step):
        assert_goes_on(self.resumed(folder, every, f"step={step}"), unbroken, after=step)

    @pytest.mark.parametrize("epoch", [0, 1])
    def test_after_an_epoch(self, folder, unbroken, every, epoch):
        assert_goes_on(self.resumed(folder, every, f"epoch={epoch}"), unbroken, after=(epoch + 1) * EPOCH)

    def test_states_are_safe(self, folder, unbroken, every):
        checkpoint = torch.load(folder / f"{every}" / "step=5.ckpt", weights_only=True)
        assert checkpoint["callbacks"]["MixingCallback"]["position"] == 5

    def test_twice(self, folder, unbroken, every, tmp_path):
        mixer = Learn2Mix(0.5, every=every)
        first = {"ckpt_path": folder / f"{every}" / "step=3.ckpt"}
        fit(folder, real_net(), mixer=mixer, callbacks=[every_step(tmp_path)], max_epochs=3, fit_args=first)
        path = tmp_path / "step=11.ckpt"
        args = {"max_epochs": 3, "fit_args": {"ckpt_path": path}}
        assert_goes_on(fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), **args), unbroken, after=11)


class TestWorkers:
    """With 2 workers, 4 batches are composed ahead: they belong to the state."""

    @pytest.mark.parametrize("persistent_workers", [False, True])
    @pytest.mark.parametrize("every", ["step", "epoch"])
    def test_anywhere(self, folder, every, persistent_workers):
        path = folder / f"{every}-{persistent_workers}"
        options = {"num_workers": 2, "persistent_workers": persistent_workers, "max_epochs": 2}
        callbacks = [every_step(path), every_epoch(path)]
        unbroken = fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), callbacks=callbacks, **options)
        for name, after in (("step=3", 3), ("step=6", 6), ("step=8", 8), ("epoch=0", 8)):
            args = {"ckpt_path": path / f"{name}.ckpt"}
            resumed = fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), fit_args=args, **options)
            assert_goes_on(resumed, unbroken, after)
            assert resumed.record.lags == unbroken.record.lags[after:]

    def test_batches_composed_ahead_are_composed_again_without_workers(self, folder):
        unbroken = fit(folder, real_net(), num_workers=2, callbacks=[every_step(folder)], max_epochs=1)
        resumed = fit(folder, real_net(), max_epochs=1, fit_args={"ckpt_path": folder / "step=2.ckpt"})
        assert resumed.indices[:4] == unbroken.indices[2:6]
        assert resumed.steps[:4] == unbroken.steps[2:6]

    def test_and_again_where_that_run_was_stopped_before_it_had_composed_them_all(self, folder):
        first, second = folder / "first", folder / "second"
        fit(folder, real_net(), num_workers=2, callbacks=[every_step(first)], max_epochs=1)
        args = {"ckpt_path": first / "step=2.ckpt"}
        unbroken = fit(folder, real_net(), callbacks=[every_step(second)], max_epochs=1, fit_args=args)
        resumed = fit(folder, real_net(), max_epochs=1, fit_args={"ckpt_path": second / "step=3.ckpt"})
        assert_goes_on(resumed, unbroken, after=1)

    @pytest.mark.parametrize("every", ["step", "epoch"])
    def test_limited_epochs(self, folder, every):
        path = folder / f"limited-{every}"
        options = {"num_workers": 2, "limit_train_batches": 3, "max_epochs": 3}
        unbroken = fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), callbacks=[every_step(path)], **options)
        for step in (2, 3):
            args = {"ckpt_path": path / f"step={step}.ckpt"}
            resumed = fit(folder, real_net(), mixer=Learn2Mix(0.5, every=every), fit_args=args, **options)
            assert_goes_on(resumed, unbroken, step)


@pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)
class TestNamespaces:
    def test_with_its_own_checkpoints_loaded_safely(self, tmp_path, namespace):
        def module():
            return real_net(namespace=namespace)

        saves = namespace.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        unbroken = fit(tmp_path, module(), namespace=namespace, callbacks=[saves])
        args = {"ckpt_path": tmp_path / "step=5.ckpt", "weights_only": True}
        assert_goes_on(fit(tmp_path, module(), namespace=namespace, fit_args=args), unbroken, 5)


class TestTrainerOptions:
    @pytest.mark.parametrize("step", [2, 3, 4, 6])
    @pytest.mark.parametrize("every", ["step", "epoch", 4])
    def test_limited_epochs(self, tmp_path, every, step):
        options = {"limit_train_batches": 3, "max_epochs": 4}
        unbroken = fit(
            tmp_path, real_net(), mixer=Learn2Mix(0.5, every=every), callbacks=[every_step(tmp_path)], **options
        )
        args = {"ckpt_path": tmp_path / f"step={step}.ckpt"}
        resumed = fit(tmp_path, real_net(), mixer=Learn2Mix(0.5, every=every), fit_args=args, **options)
        assert_goes_on(resumed, unbroken, step)

    @pytest.mark.parametrize("step", [1, 3, 4])
    def test_accumulated_gradients(self, tmp_path, step):
        options = {"accumulate_grad_batches": 3, "max_epochs": 2}
        unbroken = fit(tmp_path, real_net(), callbacks=[every_step(tmp_path)], **options)
        resumed = fit(tmp_path, real_net(), fit_args={"ckpt_path": tmp_path / f"step={step}.ckpt"}, **options)
        assert_goes_on(resumed, unbroken, after={1: 3, 3: 8, 4: 11}[step])

    @pytest.mark.parametrize("step", [3, 8])
    def test_manual_optimization(self, tmp_path, step):
        unbroken = fit(tmp_path, real_net(manual=True), callbacks=[every_step(tmp_path)])
        resumed = fit(tmp_path, real_net(manual=True), fit_args={"ckpt_path": tmp_path / f"step={step}.ckpt"})
        assert_goes_on(resumed, unbroken, step)

    @pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.RMSprop])
    def test_momentum(self, tmp_path, optimizer):
        class Net(tools.module_class()):
            def configure_optimizers(self):
                return optimizer(self.parameters(), lr=0.1, momentum=0.9)

        def module():
            return Net("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))

        unbroken = fit(tmp_path, module(), callbacks=[every_step(tmp_path)])
        assert_goes_on(fit(tmp_path, module(), fit_args={"ckpt_path": tmp_path / "step=5.ckpt"}), unbroken, 5)

    @pytest.mark.parametrize("interval", [1.0, 3])
    def test_saved_when_validation_ends(self, tmp_path, interval):
        options = {"val": True, "val_check_interval": interval, "mixer": None}
        saves = ModelCheckpoint(tmp_path, "{step}", monitor="validation", save_top_k=-1)
        unbroken = fit(tmp_path, real_net(), callbacks=[saves], **options)
        for step in {1.0: [8], 3: [3, 6, 11]}[interval]:
            resumed = fit(tmp_path, real_net(), fit_args={"ckpt_path": tmp_path / f"step={step}.ckpt"}, **options)
            assert_goes_on(resumed, unbroken, step)

    def test_limited_epochs_saved_when_validation_ends(self, tmp_path):
        options = {"val": True, "limit_train_batches": 3, "max_epochs": 3}
        saves = ModelCheckpoint(tmp_path, "{step}", monitor="validation", save_top_k=-1)
        unbroken = fit(tmp_path, real_net(), mixer=Learn2Mix(0.5, every="epoch"), callbacks=[saves], **options)
        args = {"ckpt_path": tmp_path / "step=3.ckpt"}
        resumed = fit(tmp_path, real_net(), mixer=Learn2Mix(0.5, every="epoch"), fit_args=args, **options)
        assert_goes_on(resumed, unbroken, 3)

    @pytest.mark.parametrize("name", ["step=3", "step=8", "epoch=0"])
    def test_loaders_made_anew_every_epoch(self, tmp_path, name):
        def run(callbacks=(), **fit_args):
            mixing = MixingCallback()
            record = tools.Recorder(mixing)
            module = real_net()
            module.train_dataloader = lambda: tools.make_loader(tools.make_sampler())
            settings = {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 3}
            trainer = tools.make_trainer(tmp_path, [mixing, record, *callbacks], **settings)
            trainer.fit(module, **fit_args)
            return tools.Run(trainer, module, mixing.sampler, mixing, record)

        unbroken = run([every_step(tmp_path), every_epoch(tmp_path)])
        after = {"step=3": 3, "step=8": 8, "epoch=0": 8}[name]
        assert_goes_on(run(ckpt_path=tmp_path / f"{name}.ckpt"), unbroken, after)

    @pytest.mark.parametrize(("num_workers", "steps"), [(0, [1, 5, 8, 11]), (2, [5])])
    def test_a_loader_with_a_state_of_its_own(self, tmp_path, num_workers, steps):
        stateful = pytest.importorskip("torchdata.stateful_dataloader")

        def run(callbacks=(), **fit_args):
            mixing, module, sampler = MixingCallback(), real_net(), tools.make_sampler()
            record = tools.Recorder(mixing)
            loader = stateful.StatefulDataLoader(tools.Data(), batch_sampler=sampler, num_workers=num_workers)
            trainer = tools.make_trainer(tmp_path, [mixing, record, *callbacks])
            trainer.fit(module, loader, **fit_args)
            return tools.Run(trainer, module, sampler, mixing, record)

        unbroken = run([every_step(tmp_path)])
        assert_goes_on(fit(tmp_path, real_net(), num_workers=num_workers), unbroken, after=0)
        for step in steps:
            assert_goes_on(run(ckpt_path=tmp_path / f"step={step}.ckpt"), unbroken, step)

    @pytest.mark.parametrize("after", [3, 8, 11])
    def test_stopped_by_max_steps(self, tmp_path, after):
        unbroken = fit(tmp_path, real_net(), max_steps=20, max_epochs=-1)
        stopped = fit(tmp_path, real_net(), max_steps=after, max_epochs=-1)
        stopped.trainer.save_checkpoint(tmp_path / "stopped.ckpt")
        args = {"ckpt_path": tmp_path / "stopped.ckpt"}
        resumed = fit(tmp_path, real_net(), max_steps=20, max_epochs=-1, fit_args=args)
        assert resumed.indices == unbroken.indices[after:]
        assert resumed.steps == unbroken.steps[after:]
        assert resumed.weights == unbroken.weights

    def test_after_an_epoch_that_a_hook_cut_short(self, tmp_path):
        class Net(tools.module_class()):
            def on_train_batch_start(self, batch, batch_idx):
                return -1 if batch_idx == 3 and self.current_epoch == 0 else None

        def run(**settings):
            module = Net("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))
            return fit(tmp_path, module, mixer=Learn2Mix(0.5, every="epoch"), max_steps=16, max_epochs=-1, **settings)

        unbroken = run(callbacks=[every_epoch(tmp_path)])
        assert_goes_on(run(fit_args={"ckpt_path": tmp_path / "epoch=0.ckpt"}), unbroken, after=3)

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_stopped_early_begins_a_new_epoch(self, tmp_path, num_workers):
        # Lightning counts an epoch that was left early as done: so does the sampler, and no batch is lost.
        class Stops(pl.Callback):
            def on_train_batch_end(self, trainer, *_):
                trainer.should_stop = trainer.global_step == 3

        options = {"mixer": Learn2Mix(0.5, every="epoch"), "num_workers": num_workers}
        stopped = fit(tmp_path, callbacks=[Stops(), every_epoch(tmp_path)], **options)
        options["mixer"] = Learn2Mix(0.5, every="epoch")
        resumed = fit(tmp_path, fit_args={"ckpt_path": tmp_path / "epoch=0.ckpt"}, **options)
        wanted = expected(3, every="epoch")
        assert [counts for _, counts in stopped.steps + resumed.steps[:3]] == [counts for _, counts in wanted]
        assert len(resumed.steps) == EPOCH

    def test_an_epoch_cut_short_by_max_steps_and_resumed_by_epochs(self, tmp_path):
        stopped = fit(tmp_path, max_steps=3, max_epochs=-1)
        stopped.trainer.save_checkpoint(tmp_path / "stopped.ckpt")
        resumed = fit(tmp_path, max_epochs=2, fit_args={"ckpt_path": tmp_path / "stopped.ckpt"})
        assert len(resumed.steps) == EPOCH  # a whole epoch, the Trainer's second
        longer = fit(tmp_path, max_epochs=2)
        assert stopped.indices + resumed.indices == longer.indices[: 3 + EPOCH]


class TestWhoSaves:
    """A callback or hook that writes its checkpoint before the losses of the batch would have been observed."""

    @pytest.mark.parametrize("at", [3, 8])
    @pytest.mark.parametrize("where", ["before", "callbacks"])
    def test_any_callback_at_a_batch_end(self, tmp_path, where, at):
        saves = Saves(tmp_path, "on_train_batch_end", at)
        unbroken = fit(tmp_path, real_net(), **{where: [saves]})
        resumed = fit(tmp_path, real_net(), fit_args={"ckpt_path": saves.path})
        assert_goes_on(resumed, unbroken, at)

    @pytest.mark.parametrize("limit", [3, 1.0])
    @pytest.mark.parametrize("where", ["before", "callbacks"])
    def test_any_callback_at_an_epoch_end(self, tmp_path, where, limit):
        saves = Saves(tmp_path, "on_train_epoch_end", 1)
        options = {"limit_train_batches": limit, "max_epochs": 3}
        unbroken = fit(tmp_path, real_net(), mixer=Learn2Mix(0.5, every="epoch"), **{where: [saves]}, **options)
        args = {"ckpt_path": saves.path}
        resumed = fit(tmp_path, real_net(), mixer=Learn2Mix(0.5, every="epoch"), fit_args=args, **options)
        assert_goes_on(resumed, unbroken, 3 if limit == 3 else EPOCH)

    @pytest.mark.parametrize("num_workers", [0, 2])
    @pytest.mark.parametrize("at", [0, 4])
    @pytest.mark.parametrize("mixer", [lambda: Learn2Mix(0.5), lambda: FixedMix("uniform")])
    def test_a_crash_in_a_training_step(self, tmp_path, mixer, at, num_workers):
        class Crashes(tools.module_class()):
            def training_step(self, batch, batch_idx):
                if self.num_steps == at:
                    raise RuntimeError("crash")
                return super().training_step(batch, batch_idx)

        def module(cls):
            return cls("criterion", criterion=torch.nn.CrossEntropyLoss(reduction="none"))

        options = {"num_workers": num_workers, "max_epochs": 1}
        saves = OnExceptionCheckpoint(tmp_path, "crash")
        with pytest.raises(RuntimeError, match=r"^crash$"):
            fit(tmp_path, module(Crashes), mixer=mixer(), callbacks=[saves], **options)
        unbroken = fit(tmp_path, real_net(), mixer=mixer(), **options)
        args = {"ckpt_path": tmp_path / "crash.ckpt"}
        assert_goes_on(fit(tmp_path, real_net(), mixer=mixer(), fit_args=args, **options), unbroken, at)


class TestWhatIsRestored:
    def test_nothing_where_the_checkpoint_has_nothing(self, tmp_path):
        sampler = tools.make_sampler()
        trainer = tools.make_trainer(tmp_path, [every_epoch(tmp_path)], max_epochs=1)
        with pytest.warns(UserWarning, match="none of the 8 batches handed out was observed"):
            trainer.fit(net(loader=tools.make_loader(sampler)))
        with pytest.warns(UserWarning, match="saved without this callback"):
            resumed = fit(tmp_path, fit_args={"ckpt_path": tmp_path / "epoch=0.ckpt"})
        # The module's script goes on at step 8, the mix begins anew.
        later = expected(num_epochs=1, loss_of=lambda step, *sample: tools.scripted_loss(step + EPOCH, *sample))
        assert [counts for _, counts in resumed.steps] == [counts for _, counts in later]

    @pytest.mark.parametrize("labels", [tools.LABELS[::-1].copy(), np.concatenate([tools.LABELS, [2] * 40])])
    def test_the_mix_and_the_passes_where_the_data_are_others_of_the_same_groups(self, tmp_path, labels):
        fit(tmp_path, callbacks=[every_step(tmp_path)], max_epochs=1)
        saved = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["callbacks"]["MixingCallback"]
        mixing, sampler = MixingCallback(), tools.make_sampler(labels=labels)
        record = tools.Recorder(mixing)
        trainer = tools.make_trainer(tmp_path, [mixing, record])
        loader = torch.utils.data.DataLoader(tools.Data(labels), batch_sampler=sampler)
        with pytest.warns(UserWarning, match=r"state: its fingerprint is .*, but this sampler's is .*The mix .* go on"):
            trainer.fit(net(), loader, ckpt_path=tmp_path / "step=3.ckpt")
        assert record.steps[0][0] == saved["feedback"]["mixer"]["proportions"]
        assert sampler.lag == 0

    def test_no_state_where_the_labels_are_not_those_of_the_data(self, tmp_path):
        fit(tmp_path, callbacks=[every_step(tmp_path)], max_epochs=1)
        sampler = tools.make_sampler(labels=tools.LABELS[:50])
        trainer = tools.make_trainer(tmp_path, [MixingCallback()])
        with (
            pytest.warns(UserWarning, match="state: its fingerprint is"),
            pytest.raises(ValueError, match="dataset: it has 60 samples, but the sampler has labels of 50"),
        ):
            trainer.fit(net(), tools.make_loader(sampler), ckpt_path=tmp_path / "step=3.ckpt")

    @pytest.mark.parametrize("mixer", [FixedMix()])
    def test_no_state_of_another_mixer(self, tmp_path, mixer):
        fit(tmp_path, callbacks=[every_step(tmp_path)], max_epochs=1)
        with pytest.raises(ValueError, match="saved by a Learn2Mix mixer, but this sampler has a FixedMix"):
            fit(tmp_path, mixer=mixer, fit_args={"ckpt_path": tmp_path / "step=3.ckpt"})

    @pytest.mark.parametrize("evaluate", ["validate", "test"])
    def test_not_what_came_with_weights_to_evaluate(self, tmp_path, evaluate):
        def run(stop):
            run = fit(tmp_path, max_epochs=1, callbacks=[every_step(tmp_path)])
            if stop:
                loader = torch.utils.data.DataLoader(tools.Data(), batch_size=20)
                path = tmp_path / "step=3.ckpt"
                getattr(run.trainer, evaluate)(run.module, loader, ckpt_path=path, verbose=False)
                assert same_state(run.mixing.state_dict(), run.sampler.state_dict())
            run.trainer.fit_loop.max_epochs = 2
            run.trainer.fit(net(), tools.make_loader(run.sampler))
            return run

        assert run(stop=True).steps == run(stop=False).steps

    def test_a_state_is_saved_again_before_the_sampler_is_known(self, tmp_path):
        saves = Saves(tmp_path, "on_fit_start", 2)
        fit(tmp_path, real_net(), callbacks=[every_step(tmp_path)])
        saves.seen = 1  # on_fit_start comes once a fit
        fit(tmp_path, real_net(), callbacks=[saves], fit_args={"ckpt_path": tmp_path / "step=5.ckpt"})
        saved = torch.load(saves.path, weights_only=True)["callbacks"]["MixingCallback"]
        wanted = torch.load(tmp_path / "step=5.ckpt", weights_only=True)["callbacks"]["MixingCallback"]
        assert same_state(saved, wanted)

    def test_a_run_that_was_done_goes_on_when_it_is_given_more_epochs(self, tmp_path):
        unbroken = fit(tmp_path, real_net(), callbacks=[every_epoch(tmp_path)])
        run = fit(tmp_path, real_net(), max_epochs=1, fit_args={"ckpt_path": tmp_path / "epoch=0.ckpt"})
        assert run.steps == []
        run.trainer.save_checkpoint(tmp_path / "again.ckpt")
        args = {"ckpt_path": tmp_path / "again.ckpt"}
        assert_goes_on(fit(tmp_path, real_net(), fit_args=args), unbroken, EPOCH)
        run.trainer.fit_loop.max_epochs = 2
        run.trainer.fit(run.module, tools.make_loader(run.sampler))
        assert run.indices == unbroken.indices[EPOCH:]
