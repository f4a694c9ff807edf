"""The mix where one looks: callback_metrics, EarlyStopping, ModelCheckpoint, progress bars, loggers of all kinds."""

import contextlib
import io
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

import lightning_modules as tools
from learn2mix import AnnealedMix, FixedMix, Learn2Mix, MixedStream, MixingCallback
from learn2mix.mix_entry import tags_of
from lightning_modules import BATCH_SIZE, EPOCH, NAMESPACES, expected, fit

pytestmark = pytest.mark.filterwarnings("error:.*sync_dist", "error:.*no logger configured", *tools.BENIGN)
one_thread = tools.one_thread


class Look(Callback):
    """Notes what the callbacks after the batch, the epoch or a validation run find of the mix."""

    def __init__(self):
        self.after_batch, self.after_epoch, self.after_validation = [], [], []

    def found(self, trainer):
        return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("mix/")}

    def on_train_batch_end(self, trainer, *args):
        self.after_batch.append(self.found(trainer))

    def on_train_epoch_end(self, trainer, *args):
        self.after_epoch.append(self.found(trainer))

    def on_validation_end(self, trainer, *args):
        if not trainer.sanity_checking:
            self.after_validation.append(self.found(trainer))


def look(tmp_path, **options):
    callback = Look()
    run = fit(tmp_path, callbacks=[callback, *options.pop("callbacks", ())], **options)
    return callback, run


def means(steps):
    requested = np.mean([mix for mix, _ in steps], axis=0)
    realised = np.sum([counts for _, counts in steps], axis=0) / (BATCH_SIZE * len(steps))
    return {f"mix/requested/{group}": requested[group] for group in range(3)} | {
        f"mix/realised/{group}": realised[group] for group in range(3)
    }


def assert_holds(found, wanted):
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)


class TestCallbackMetrics:
    @pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)
    @pytest.mark.parametrize("logger", [True, False])
    def test_at_the_end_of_each_epoch_they_are_of_the_batches_since_the_last_entry(self, tmp_path, namespace, logger):
        logger = namespace.loggers.CSVLogger(tmp_path) if logger else False
        record = {}

        class Looks(namespace.callbacks.Callback):
            def on_train_epoch_end(self, trainer, *args):
                record[trainer.current_epoch] = dict(trainer.callback_metrics)

        fit(tmp_path, namespace=namespace, callbacks=[Looks()], logger=logger, log_every_n_steps=5)
        steps = expected()
        for epoch, (begin, end) in enumerate([(5, 8), (15, 16)]):  # entries after batches 5, 10 and 15
            assert_holds(record[epoch], means(steps[begin:end]))
            assert "mix/entropy" in record[epoch]
            assert "mix/loss/2" in record[epoch]
            assert record[epoch]["mix/lag"] == 0

    @pytest.mark.parametrize("interval", [1.0, 3, 0.5])
    def test_at_each_validation_run(self, tmp_path, interval):
        callback, _ = look(tmp_path, val=True, val_check_interval=interval, log_every_n_steps=100)
        every, steps = int(interval if isinstance(interval, int) else EPOCH * interval), expected()
        ends = [epoch * EPOCH + end for epoch in range(2) for end in range(every, EPOCH + 1, every)]
        assert len(callback.after_validation) == len(ends)
        for found, end in zip(callback.after_validation, ends, strict=True):
            assert_holds(found, means(steps[:end]))

    def test_what_a_callback_monitors_after_every_batch(self, tmp_path):
        stops = EarlyStopping("mix/requested/0", check_finite=False, patience=100, strict=False)
        callback, _ = look(tmp_path, callbacks=[stops], log_every_n_steps=1)
        asked = [mix[0] for mix, _ in expected()]
        assert [found["mix/requested/0"] for found in callback.after_batch] == pytest.approx(asked, rel=1e-9)
        assert callback.after_batch[0].keys() == {"mix/requested/0"}

    def test_what_a_checkpoint_is_named_by_after_every_batch(self, tmp_path):
        name = "{step} {mix/requested/0:.9f}"
        saves = ModelCheckpoint(tmp_path, name, auto_insert_metric_name=False, every_n_train_steps=2, save_top_k=-1)
        fit(tmp_path, callbacks=[saves], log_every_n_steps=1)
        asked = {f"{step} {expected()[step - 1][0][0]:.9f}.ckpt" for step in range(2, 17, 2)}
        assert {path.name for path in tmp_path.glob("*.ckpt")} == asked

    def test_what_a_schedule_of_the_learning_rate_monitors_after_every_batch(self, tmp_path):
        class Net(tools.module_class()):
            def configure_optimizers(self):
                optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
                self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
                self.given, step = [], self.schedule.step
                self.schedule.step = lambda metric: (self.given.append(float(metric)), step(metric))
                when = {"interval": "step", "frequency": 3, "monitor": "mix/requested/0"}
                return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule, **when}}

        module = Net()
        fit(tmp_path, module=module, log_every_n_steps=1)
        asked = [mix[0] for mix, _ in expected()]
        assert module.given == pytest.approx([asked[place] for place in (2, 5, EPOCH + 2, EPOCH + 5)])

    def test_at_the_end_of_a_run_that_max_steps_cuts_short(self, tmp_path):
        run = fit(tmp_path, max_steps=EPOCH + 3, log_every_n_steps=1)
        wanted = means(expected()[EPOCH + 2 : EPOCH + 3])
        assert_holds({name: float(value) for name, value in run.trainer.callback_metrics.items()}, wanted)

    def test_not_unless_asked(self, tmp_path):
        callback, _ = look(tmp_path, mixing=MixingCallback(log=False))
        assert callback.after_epoch == [{}, {}]

    @pytest.mark.parametrize("options", [{"fast_dev_run": 3}, {"barebones": True}])
    def test_short_and_bare_runs(self, tmp_path, options):
        barebones = {"logger": None, "enable_checkpointing": None, "enable_progress_bar": None}
        options |= {**barebones, "enable_model_summary": None} if "barebones" in options else {"logger": True}
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="You are trying to `self.log")
            warnings.filterwarnings("ignore", message=".*self.log.*loss")

            class Net(tools.module_class()):
                def log(self, name, *args, **kwargs):
                    if name != "loss":
                        super().log(name, *args, **kwargs)

            callback, run = look(tmp_path, module=Net(), **options)
        assert len(run.steps) == (3 if "fast_dev_run" in options else 2 * EPOCH)
        assert ("mix/entropy" in callback.after_epoch[0]) == ("fast_dev_run" in options)

    def test_accumulated_gradients(self, tmp_path):
        callback, _ = look(tmp_path, accumulate_grad_batches=3, log_every_n_steps=100)
        assert_holds(callback.after_epoch[1], means(expected()))

    def test_a_run_stops_once_the_mix_stands_still(self, tmp_path):
        mixer = AnnealedMix("uniform", None, num_steps=3 * EPOCH)
        stops = EarlyStopping("mix/entropy", mode="min", min_delta=1e-6, patience=1)
        run = fit(tmp_path, mixer=mixer, callbacks=[stops], max_epochs=50, log_every_n_steps=1)
        assert stops.stopped_epoch == 3  # it moves until the third epoch ends
        assert len(run.steps) == 4 * EPOCH

    @pytest.mark.parametrize("every", [{"every_n_train_steps": 2}, {"every_n_epochs": 1}])
    def test_a_checkpoint_of_the_most_even_mix(self, tmp_path, every):
        saves = ModelCheckpoint(tmp_path, "{step}", monitor="mix/entropy", mode="max", save_top_k=1, **every)
        fit(tmp_path, callbacks=[saves], log_every_n_steps=1, logger=CSVLogger(tmp_path))
        steps = range(2, 17, 2) if "every_n_train_steps" in every else (8, 16)
        entropies = {step: -sum(a * np.log(a) for a in expected()[step - 1][0]) for step in steps}
        best = max(entropies, key=entropies.get)
        assert saves.best_model_path.endswith(f"step={best}.ckpt")
        assert float(saves.best_model_score) == pytest.approx(entropies[best], rel=1e-6)


NAMES = [
    [0, 7, 10, 99, 100],
    [1, "1", "1-2", "1 "],
    ["hot dog", "hot/dog", "hot:dog", "", ".", "..", "../up", "ünïcode", "犬", "猫", "a" * 300, "a" * 301],
    [("cat", 2), "cat-2", ("cat", "2"), -3],
]


class TestNames:
    @pytest.mark.parametrize("names", NAMES)
    def test_no_two_are_the_same_and_every_logger_takes_them(self, names):
        tags = tags_of(names)
        assert len(set(tags)) == len(names)
        for tag in tags:
            name = f"mix/requested/{tag}"
            # MLFlowLogger drops anything else, TensorBoard replaces it, and MLflow itself takes 250 characters.
            assert re.fullmatch(r"mix/requested/[a-zA-Z0-9_.-]{1,200}", name)
            assert re.search("[a-zA-Z0-9]", tag), "a part of a path that leads elsewhere"

    def test_numbers_come_in_their_order(self):
        tags = tags_of(list(range(0, 1200, 5)))
        assert sorted(tags) == tags
        assert tags[1] == "0005"

    def test_the_same_names_give_the_same_tags(self):
        assert tags_of([3, 1, 2]) == ["3", "1", "2"]
        assert tags_of(["a b", "a_b"]) == ["a_b", "a_b-2"]


class TestGroupsLogged:
    def entry(self, tmp_path, log_groups, num_groups=25):
        labels = np.repeat(np.arange(num_groups), 2)
        seen = Look()
        sampler = tools.make_sampler(FixedMix("uniform"), labels=labels, batch_size=10)
        loader = torch.utils.data.DataLoader(tools.Data(labels), batch_sampler=sampler)
        trainer = tools.make_trainer(tmp_path, [MixingCallback(log_groups=log_groups), seen], max_epochs=1)
        trainer.fit(Plain(), loader)
        return [name for name in seen.after_epoch[0] if name.startswith("mix/requested")]

    def test_all(self, tmp_path):
        assert self.entry(tmp_path, None) == [f"mix/requested/{group:02d}" for group in range(25)]
        assert self.entry(tmp_path, 25) == [f"mix/requested/{group:02d}" for group in range(25)]

    def test_some(self, tmp_path):
        assert self.entry(tmp_path, [3, 17]) == ["mix/requested/03", "mix/requested/17"]

    def test_extremes(self, tmp_path):
        extremes = ["min", "min_group", "max", "max_group"]
        assert self.entry(tmp_path, 24) == [f"mix/requested/{name}" for name in extremes]

    def test_what_is_no_group_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match=r"log_groups: there is no group 'eel'; the groups are \[0, 1"):
            self.entry(tmp_path, ["eel"])
        with pytest.raises(TypeError, match="log_groups must be a whole number, got 'all'"):
            MixingCallback(log_groups="all")
        with pytest.raises(ValueError, match="log_groups must be at least 0, got -1"):
            MixingCallback(log_groups=-1)


class Plain(tools.module_class()):
    """Has one loss for all."""

    def training_step(self, batch, batch_idx):
        loss = self.net(batch[0]).square().mean()
        return {"loss": loss, "losses": torch.ones(len(batch[0]))}


class TestProgressBar:
    @pytest.mark.parametrize("kind", [TQDMProgressBar, RichProgressBar, ProgressBar])
    @pytest.mark.parametrize(("setting", "count"), [(False, 0), (True, 3), (2, 2)])
    def test_the_groups_that_moved_most(self, tmp_path, kind, setting, count):
        bar, lines = kind(), []

        class Reads(Callback):
            def on_train_batch_end(self, trainer, pl_module, *args):
                lines.append(trainer.progress_bar_callback.get_metrics(trainer, pl_module).get("mix"))

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            mixing = MixingCallback(progress_bar=setting)
            run = fit(tmp_path, mixing=mixing, callbacks=[bar, Reads()], enable_progress_bar=True, val=True)
        if not count:
            assert set(lines) == {None}
            return
        start, mix = np.array(expected()[0][0]), run.sampler.mixer.proportions
        groups = sorted(range(3), key=lambda group: -abs(mix[group] - start[group]))[:count]
        wanted = [f"{group} {mix[group]:.2f}" + ("↑" if mix[group] > start[group] else "↓") for group in groups]
        assert lines[-1] == " ".join(wanted)
        assert "get_metrics" not in vars(bar)  # left as it was

    def test_it_is_written(self, tmp_path):
        written = io.StringIO()
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            fit(
                tmp_path,
                mixing=MixingCallback(progress_bar=True),
                enable_progress_bar=True,
                callbacks=[TQDMProgressBar()],
            )
        assert re.search(r"mix=\d 0\.\d\d", written.getvalue())

    def test_without_a_bar_nothing_happens(self, tmp_path):
        fit(tmp_path, mixing=MixingCallback(progress_bar=True))

    def test_a_wrong_number_is_an_error(self):
        with pytest.raises(ValueError, match="progress_bar must be at least 0, got -1"):
            MixingCallback(progress_bar=-1)
        for value in (2.7, "all"):
            with pytest.raises(TypeError, match=f"progress_bar must be a whole number, got {value!r}"):
                MixingCallback(progress_bar=value)


class FakeLogger(Logger):
    """What MLFlowLogger and WandbLogger have that takes a figure."""

    name, version, run_id = "fake", 0, "run 1"

    def __init__(self, kind):
        super().__init__()
        self.figures = []
        note = lambda *args, **kwargs: self.figures.append((args, kwargs))  # noqa: E731
        self.experiment = SimpleNamespace(log_figure=note) if kind == "mlflow" else SimpleNamespace()
        if kind == "wandb":
            self.log_image = note

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *args, **kwargs):
        pass


class TestFigure:
    def test_tensorboard(self, tmp_path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        logger = TensorBoardLogger(tmp_path, name="", version="")
        fit(tmp_path, mixing=MixingCallback(figure=True), logger=logger)
        (image,) = EventAccumulator(str(tmp_path)).Reload().Images("mix/history")
        assert image.step == 2 * EPOCH
        assert image.width > 300

    def test_mlflow_and_wandb(self, tmp_path):
        loggers = [FakeLogger("mlflow"), FakeLogger("wandb")]
        fit(tmp_path, mixing=MixingCallback(figure=True), logger=loggers)
        ((run_id, figure, name), _) = loggers[0].figures[0]
        assert (run_id, name) == ("run 1", "mix/history.png")
        ((key, images), options) = loggers[1].figures[0]
        assert (key, options) == ("mix/history", {"step": 2 * EPOCH})
        assert images == [figure]
        assert len(figure.axes) > 0

    def test_a_logger_that_takes_none_is_named(self, tmp_path):
        with pytest.warns(UserWarning, match="figure=True, but CSVLogger takes no figure"):
            fit(tmp_path, mixing=MixingCallback(figure=True), logger=CSVLogger(tmp_path))

    def test_without_a_logger_it_is_said_at_the_start(self, tmp_path):
        with pytest.warns(UserWarning, match="figure=True, but the Trainer has no logger"):
            fit(tmp_path, mixing=MixingCallback(figure=True), logger=False, max_steps=1)

    def test_a_logger_whose_log_figure_is_another_one_is_named(self, tmp_path):
        """Comet's takes the name first, and knows no run_id."""
        logger = FakeLogger("mlflow")
        logger.run_id = None
        with pytest.warns(UserWarning, match="figure=True, but FakeLogger takes no figure"):
            fit(tmp_path, mixing=MixingCallback(figure=True), logger=logger)

    def test_without_matplotlib_it_is_an_error_before_the_training(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "learn2mix.plotting", None)
        with pytest.raises(ImportError, match=r'figure=True\) needs matplotlib: pip install "learn2mix\[plot\]"'):
            fit(tmp_path, mixing=MixingCallback(figure=True))


class TestRealLoggers:
    """Where they are installed."""

    NAMES = ("hot dog", "1", 1, "a/b", "..", "ü")

    def fit(self, tmp_path, logger):
        sources = {name: [(torch.ones(4) * number, number, number)] * 8 for number, name in enumerate(self.NAMES)}
        stream = MixedStream(sources, Learn2Mix(0.5), batch_size=12)
        loader = torch.utils.data.DataLoader(stream, batch_size=None)
        options = {"logger": logger, "log_every_n_steps": 2, "max_epochs": 1, "limit_train_batches": 4}
        trainer = tools.make_trainer(tmp_path, [MixingCallback(figure=True)], **options)
        trainer.fit(Plain(), loader)

    def test_mlflow(self, tmp_path, monkeypatch):
        pytest.importorskip("mlflow", exc_type=ImportError)
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its other stores need a database
        from pytorch_lightning.loggers import MLFlowLogger

        logger = MLFlowLogger(tracking_uri=f"file:{tmp_path}/runs")
        self.fit(tmp_path, logger)
        metrics = logger.experiment.get_run(logger.run_id).data.metrics
        tags = tags_of(self.NAMES)
        assert {f"mix/requested/{tag}" for tag in tags} <= set(metrics)
        artifacts = logger.experiment.list_artifacts(logger.run_id, "mix")
        assert [artifact.path for artifact in artifacts] == ["mix/history.png"]

    def test_wandb(self, tmp_path, monkeypatch):
        pytest.importorskip("wandb", exc_type=ImportError)
        from pytorch_lightning.loggers import WandbLogger

        monkeypatch.setenv("WANDB_MODE", "offline")
        monkeypatch.setenv("WANDB_SILENT", "true")
        logger = WandbLogger(save_dir=tmp_path, offline=True)
        self.fit(tmp_path, logger)
        summary = dict(logger.experiment.summary)
        logger.experiment.finish()
        assert {f"mix/requested/{tag}" for tag in tags_of(self.NAMES)} <= set(summary)
        assert "mix/history" in summary
