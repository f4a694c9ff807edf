"""What MixingCallback writes to the loggers: exact values, at the steps at which self.log writes."""

import csv
import math

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_modules as tools
import reference
from learn2mix import FixedMix, Learn2Mix, MixingCallback
from lightning_modules import BATCH_SIZE, EPOCH, NAMESPACES, expected, fit

pytestmark = pytest.mark.filterwarnings(*tools.BENIGN)
one_thread = tools.one_thread


def read(folder):
    """The rows that hold something of the mix, and those of self.log, without empty cells."""
    with (folder / "metrics.csv").open() as file:
        rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if "mix/lag" in row], [row for row in rows if "loss" in row]


def csv_logger(folder, namespace=None):
    return (namespace.loggers.CSVLogger if namespace else CSVLogger)(folder, name="", version="")


def axis(rows):
    return [(int(row["step"]), int(row["epoch"])) for row in rows]


def entries(steps, window, *, lag=0, loss_of=tools.scripted_loss):
    """What is to be logged of a run with every="step": means over each window, losses of its last batch."""
    found = []
    for last in range(window - 1, len(steps), window):
        batches = steps[last + 1 - window : last + 1]
        requested = [math.fsum(mix[group] for mix, _ in batches) / window for group in range(3)]
        realised = [sum(counts[group] for _, counts in batches) / (window * BATCH_SIZE) for group in range(3)]
        groups = [group for group, count in enumerate(steps[last][1]) for _ in range(count)]
        losses = reference.pooled_means([(g, loss_of(last, g, place)) for place, g in enumerate(groups)], 3)
        entry = {f"mix/requested/{group}": share for group, share in enumerate(requested)}
        entry |= {f"mix/realised/{group}": share for group, share in enumerate(realised)}
        entry |= {f"mix/loss/{group}": loss for group, loss in enumerate(losses) if loss is not None}
        entry |= {"mix/entropy": -math.fsum(a * math.log(a) for a in requested if a), "mix/lag": lag}
        found.append(entry)
    return found


def assert_entries(rows, wanted, rel=1e-12):
    assert len(rows) == len(wanted)
    for row, entry in zip(rows, wanted, strict=True):
        values = {key: float(value) for key, value in row.items() if key not in ("step", "epoch")}
        assert values == pytest.approx(entry, rel=rel, abs=1e-15)


class TestValues:
    @pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)
    @pytest.mark.parametrize("window", [1, 3])
    def test_in_a_csv_file(self, tmp_path, namespace, window):
        options = {"logger": csv_logger(tmp_path, namespace), "log_every_n_steps": window}
        fit(tmp_path, namespace=namespace, **options)
        rows, _ = read(tmp_path)
        assert_entries(rows, entries(expected(), window))
        assert [int(row["step"]) for row in rows] == list(range(window - 1, 2 * EPOCH, window))

    def test_in_tensorboard(self, tmp_path):
        fit(tmp_path, logger=TensorBoardLogger(tmp_path, name="", version=""), log_every_n_steps=4)
        events = EventAccumulator(str(tmp_path)).Reload()
        wanted = entries(expected(), 4)
        for tag in wanted[0]:
            found = events.Scalars(tag)
            assert [event.step for event in found] == [3, 7, 11, 15]
            # TensorBoard keeps float32.
            assert [event.value for event in found] == pytest.approx([entry[tag] for entry in wanted], rel=1e-6)
        assert {tag for tag in events.Tags()["scalars"] if tag.startswith("mix/")} == set(wanted[0])

    def test_in_every_logger(self, tmp_path):
        loggers = [csv_logger(tmp_path / "one"), csv_logger(tmp_path / "two")]
        fit(tmp_path, logger=loggers, log_every_n_steps=4)
        assert read(tmp_path / "one") == read(tmp_path / "two")
        assert len(read(tmp_path / "one")[0]) == 4

    def test_lag_of_workers(self, tmp_path):
        fit(tmp_path, num_workers=2, max_epochs=1, logger=csv_logger(tmp_path), log_every_n_steps=1)
        assert [float(row["mix/lag"]) for row in read(tmp_path)[0]] == [4, 4, 4, 4, 3, 2, 1, 0]

    @pytest.mark.parametrize("num_batches", [EPOCH, 6])
    def test_losses_are_those_of_the_last_update(self, tmp_path, num_batches):
        options = {"limit_train_batches": num_batches, "logger": csv_logger(tmp_path), "log_every_n_steps": 2}
        run = fit(tmp_path, mixer=Learn2Mix(0.5, every="epoch"), **options)
        rows, _ = read(tmp_path)
        pairs = [
            (group, tools.scripted_loss(step, group, place))
            for step, (_, counts) in enumerate(run.steps[:num_batches])
            for place, group in enumerate(np.repeat([0, 1, 2], counts).tolist())
        ]
        first = {f"mix/loss/{group}": loss for group, loss in enumerate(reference.pooled_means(pairs, 3))}
        found = [{key: float(value) for key, value in row.items() if key.startswith("mix/loss")} for row in rows]
        # Before the first update no loss is known, and nothing is written: not NaN, and not zero. The last batch of an
        # epoch has moved the mix by the time it is logged.
        until = num_batches // 2 - 1
        assert found[:until] == [{}] * until
        assert found[until:-1] == [pytest.approx(first, rel=1e-12)] * (num_batches // 2)

    def test_realised_follows_requested_to_within_the_carried_remainder(self, tmp_path):
        fit(tmp_path, logger=csv_logger(tmp_path), log_every_n_steps=2, max_epochs=4)
        rows, _ = read(tmp_path)
        for group in range(3):
            requested, realised = (
                np.cumsum([float(row[f"mix/{name}/{group}"]) * 2 * BATCH_SIZE for row in rows])
                for name in ("requested", "realised")
            )
            behind = requested - realised
            assert behind.max() <= 1 / 2 + 1 / 3 + 1e-9  # apportion_owed: at most H(3) - 1
            assert behind.min() > -1
            assert abs(behind).max() > 0.01  # it is carried, not rounded away at once

    def test_of_a_fixed_mix(self, tmp_path):
        fit(tmp_path, mixer=FixedMix("uniform"), logger=csv_logger(tmp_path), log_every_n_steps=8)
        rows, _ = read(tmp_path)
        assert [float(row["mix/entropy"]) for row in rows] == pytest.approx([math.log(3)] * 2, rel=1e-12)

    def test_shares_of_zero_add_nothing_to_the_entropy(self, tmp_path):
        fit(tmp_path, mixer=FixedMix([0.5, 0.5, 0.0]), logger=csv_logger(tmp_path), log_every_n_steps=8)
        rows, _ = read(tmp_path)
        assert [float(row["mix/entropy"]) for row in rows] == pytest.approx([math.log(2)] * 2, rel=1e-12)


class TestWhen:
    @pytest.mark.parametrize("every_n", [1, 2, 3, 5, 50])
    def test_where_self_log_does(self, tmp_path, every_n):
        fit(tmp_path, logger=csv_logger(tmp_path), log_every_n_steps=every_n, max_epochs=3)
        path = tmp_path / "metrics.csv"
        if every_n == 50:
            assert not path.exists()
            return
        mix, own = read(tmp_path)
        assert axis(mix) == axis(own)
        assert len(mix) == 3 * EPOCH // every_n

    @pytest.mark.parametrize("every_n", [1, 2])
    def test_with_accumulated_gradients(self, tmp_path, every_n):
        options = {"accumulate_grad_batches": 3, "log_every_n_steps": every_n}
        fit(tmp_path, logger=csv_logger(tmp_path), **options)
        mix, own = read(tmp_path)
        assert axis(mix) == axis(own)
        assert len(mix) == 6 // every_n
        # Each entry has all the batches since the last: 3, 3 and 2 of them an epoch.
        wanted, last = expected(), 0
        for row, end in zip(mix, [3, 6, 8, 11, 14, 16][every_n - 1 :: every_n], strict=True):
            given = np.sum([counts for _, counts in wanted[last:end]], axis=0)
            found = [float(row[f"mix/realised/{group}"]) for group in range(3)]
            assert found == pytest.approx((given / given.sum()).tolist(), rel=1e-12)
            last = end

    def test_with_two_optimizers(self, tmp_path):
        # trainer.global_step counts the steps of both.
        class Net(tools.module_class()):
            def configure_optimizers(self):
                return [torch.optim.SGD([parameter], lr=0.1) for parameter in self.net.parameters()]

            def training_step(self, batch, batch_idx):
                loss = self.per_sample(self.net(batch[0]), batch[1])
                self.script.step += 1
                self.log("loss", loss.detach())
                for optimizer in self.optimizers():
                    optimizer.zero_grad()
                self.manual_backward(loss)
                for optimizer in self.optimizers():
                    optimizer.step()

        run = fit(tmp_path, Net(manual=True), logger=csv_logger(tmp_path), log_every_n_steps=4)
        mix, own = read(tmp_path)
        assert run.trainer.global_step == 4 * EPOCH
        assert axis(mix) == axis(own)
        assert_entries(mix, entries(expected(), 4))

    def test_in_step_after_a_resume(self, tmp_path):
        saves = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        options = {"log_every_n_steps": 3}
        fit(tmp_path, callbacks=[saves], logger=csv_logger(tmp_path / "unbroken"), **options)
        args = {"ckpt_path": tmp_path / "step=6.ckpt"}
        fit(tmp_path, logger=csv_logger(tmp_path / "resumed"), fit_args=args, **options)
        unbroken, _ = read(tmp_path / "unbroken")
        resumed, own = read(tmp_path / "resumed")
        assert axis(resumed) == axis(own) == axis(unbroken)[2:]
        assert resumed == unbroken[2:]

    def test_a_second_fit_begins_a_new_window(self, tmp_path):
        mixing = MixingCallback()
        for name in ("one", "two"):
            # The first leaves 2 batches in its window.
            fit(tmp_path, mixing=mixing, max_epochs=1, logger=csv_logger(tmp_path / name), log_every_n_steps=3)
        assert read(tmp_path / "one")[0] == read(tmp_path / "two")[0]

    @pytest.mark.parametrize("settings", [{"log": False}, {"log": True}])
    def test_nothing_unless_asked(self, tmp_path, settings):
        mixing = MixingCallback(**settings)
        logger = False if settings["log"] else csv_logger(tmp_path)
        run = fit(tmp_path, mixing=mixing, logger=logger, log_every_n_steps=1)
        assert len(run.steps) == 2 * EPOCH
        if settings["log"]:
            assert list(tmp_path.iterdir()) == []
        else:
            header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
            assert sorted(header) == ["epoch", "loss", "step"]


class TestManyGroups:
    def run(self, tmp_path, num_groups):
        """Losses and shares in known order: group g has the label 10 * g and the loss of its label."""
        labels = np.repeat(np.arange(num_groups) * 10, 2)

        class Net(tools.module_class()):
            def training_step(self, batch, batch_idx):
                loss = self.net(batch[0]).square().mean()
                return {"loss": loss, "losses": batch[1] + 5}

        sampler = tools.make_sampler(Learn2Mix(1.0), labels=labels, batch_size=len(labels))
        loader = torch.utils.data.DataLoader(tools.Data(labels), batch_sampler=sampler)
        options = {"logger": csv_logger(tmp_path), "log_every_n_steps": 1, "max_epochs": 2}
        tools.make_trainer(tmp_path, [MixingCallback()], **options).fit(Net(), loader)
        return read(tmp_path)[0]

    def test_up_to_20_are_logged_one_by_one(self, tmp_path):
        first, row = self.run(tmp_path, 20)
        mix = [(10 * group + 5) / sum(10 * other + 5 for other in range(20)) for group in range(20)]
        assert [float(row[f"mix/requested/{10 * group:03d}"]) for group in range(20)] == pytest.approx(mix, rel=1e-12)
        assert len(first) == 3 * 20 + 2 + 2

    def test_of_more_only_the_extremes(self, tmp_path):
        first, second = self.run(tmp_path, 21)
        total = sum(10 * group + 5 for group in range(21))
        assert {key: float(value) for key, value in second.items()} == pytest.approx(
            {
                "step": 1,
                "epoch": 1,
                "mix/lag": 0,
                "mix/entropy": -sum((10 * g + 5) / total * math.log((10 * g + 5) / total) for g in range(21)),
                "mix/requested/min": 5 / total,
                "mix/requested/min_group": 0,
                "mix/requested/max": 205 / total,
                "mix/requested/max_group": 20,
                "mix/realised/min": 0,  # 42 * 5 / 2205 is nearer to 0 than to 1
                "mix/realised/min_group": 0,
                "mix/realised/max": 4 / 42,
                "mix/realised/max_group": float(second["mix/realised/max_group"]),
                "mix/loss/min": float(second["mix/loss/min"]),
                "mix/loss/min_group": (float(second["mix/loss/min"]) - 5) / 10,
                "mix/loss/max": 205,
                "mix/loss/max_group": 20,
            },
            rel=1e-12,
        )
        assert (float(first["mix/loss/min"]), float(first["mix/loss/min_group"])) == (5, 0)
        assert float(second["mix/loss/min"]) > 5  # group 0 was not in the second batch: not seen, not zero
