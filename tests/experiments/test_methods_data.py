"""What smote, importance and curriculum make of the data, against their definitions in plain loops."""

import time
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from scipy.spatial.distance import cdist
from scipy.stats import chisquare

from experiments.datasets import Data, Split
from experiments.methods import METHODS
from experiments.methods.data import oversample
from experiments.methods.method import Context
from experiments.methods.weighing import draw_by_loss
from experiments.tasks import TASKS
from experiments.training import Training
from tiny import BATCH_SIZE, COUNTS, run_of, tiny_data

IMAGES, ROWS, PICTURES = TASKS["mnist"], TASKS["mean-estimation"], TASKS["mnist-reconstruction"]


# ---------------------------------------------------------------- smote


def trains_on(name: str, context: Context) -> Split:
    return METHODS[name](context).context.data.train


def oversampled(task, data=None):
    data = data or tiny_data(task)
    return data.train, trains_on("smote", run_of(task, "smote").context(data))


def is_between_neighbours(row: np.ndarray, group: np.ndarray, tolerance: float) -> bool:
    """Whether a row lies on the way from a row of its group to one of that one's 5 nearest in the group."""
    distances = cdist(group, group)
    for first in range(len(group)):
        for second in distances[first].argsort(kind="stable")[1:6]:
            way = group[second] - group[first]
            step = np.clip((row - group[first]) @ way / (way @ way), 0, 1)
            if np.abs(group[first] + step * way - row).max() <= tolerance:
                return True
    return len(group) == 1 and bool((row == group[0]).all())


@pytest.mark.parametrize("task", [IMAGES, ROWS, PICTURES], ids=lambda task: task.name)
def test_smote_fills_every_group_up_with_what_lies_between_neighbours(task):
    before, after = oversampled(task)
    assert torch.bincount(after.groups).tolist() == [max(COUNTS)] * 4
    size = sum(COUNTS)
    for name in ("inputs", "targets", "groups"):
        old, new = getattr(before, name), getattr(after, name)
        assert new.dtype == old.dtype
        assert torch.equal(new[:size], old)
    rounding = 0.55 if task.inputs == "images" else 1e-4
    for group in range(4):
        members = before.inputs[before.groups == group].flatten(1).double().numpy()
        made = after.inputs[size:][after.groups[size:] == group].flatten(1).double().numpy()
        assert len(made) == max(COUNTS) - COUNTS[group]
        assert all(is_between_neighbours(row, members, rounding) for row in made)


def test_smote_gives_made_up_samples_their_targets():
    _, digits = oversampled(IMAGES)
    assert torch.equal(digits.targets, digits.groups)
    _, pictures = oversampled(PICTURES)
    assert torch.equal(pictures.targets, pictures.inputs)
    _, rows = oversampled(ROWS)  # whose targets are the sums of their features, so between two rows as well
    assert rows.targets.numpy() == pytest.approx(rows.inputs.sum(dim=1).numpy(), abs=1e-4)
    assert rows.targets.ndim == 1


def test_smote_is_imbalanced_learns_where_groups_are_large_enough():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(60, 3)).astype(np.float32)
    groups = np.repeat([0, 1, 2], [30, 20, 10])
    made, labels = oversample(samples, groups, seed=7)
    expected, expected_labels = SMOTE(random_state=7).fit_resample(samples, groups)
    assert np.array_equal(made, expected)
    assert np.array_equal(labels, expected_labels)


def test_smote_is_decided_by_the_seed():
    data = tiny_data(ROWS)
    first, again, other = (trains_on("smote", run_of(ROWS, "smote", seed).context(data)).inputs for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_smote_leaves_balanced_data_as_they_are():
    data = tiny_data(IMAGES)
    balanced = replace(data, train=data.test)
    before, after = oversampled(IMAGES, balanced)
    assert torch.equal(after.inputs, before.inputs)


def test_an_epoch_with_smote_is_no_longer_than_without():
    assert (
        len(list(Training(*run_of(IMAGES, "smote"), tiny_data(IMAGES)).method.batches()))
        == sum(COUNTS) // BATCH_SIZE
        == 2
    )


def test_smote_refuses_token_ids():
    assert "token ids" in METHODS["smote"].unsuitable(TASKS["imdb"])
    assert METHODS["smote"].unsuitable(IMAGES) is None


# ---------------------------------------------------------------- importance


def test_importance_draws_each_next_sample_in_proportion_to_its_loss():
    losses, num_draws = np.array([1.0, 2.0, 3.0, 6.0]), 4000
    generator = torch.Generator().manual_seed(0)
    pairs = list(permutations(range(4), 2))
    expected = {pair: losses[pair[0]] / 12 * losses[pair[1]] / (12 - losses[pair[0]]) for pair in pairs}
    sets = [frozenset(pair) for pair in pairs]
    drawn = [frozenset(draw_by_loss(torch.tensor(losses), 2, generator).tolist()) for _ in range(num_draws)]
    different = sorted(set(sets), key=sorted)
    counts = [drawn.count(one) for one in different]
    shares = [sum(expected[pair] for pair in pairs if frozenset(pair) == one) for one in different]
    assert sum(shares) == pytest.approx(1)
    assert chisquare(counts, np.array(shares) * num_draws).pvalue > 0.001


@pytest.mark.parametrize("losses", [[0.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 1e-9, 1e9]])
def test_importance_takes_samples_without_loss_only_to_fill_up(losses):
    for seed in range(20):
        kept = draw_by_loss(torch.tensor(losses), 2, torch.Generator().manual_seed(seed)).tolist()
        assert len(set(kept)) == 2
        assert {place for place, loss in enumerate(losses) if loss} <= set(kept)


def test_importance_steps_on_half_of_each_batch_scored_in_evaluation_mode():
    scored, stepped, modes = [], [], []

    class Tells(torch.nn.Linear):
        def forward(self, inputs):
            modes.append((self.training, torch.is_grad_enabled()))
            (stepped if self.training else scored).append(inputs)
            return super().forward(inputs)

    run = run_of(replace(ROWS, model=lambda *_: Tells(5, 1)), "importance")
    training = Training(*run, tiny_data(ROWS))
    judged = training.train_epoch()
    assert modes == [(False, False), (True, True)] * 2
    assert [len(one) for one in scored] == [BATCH_SIZE] * 2
    assert len(judged.losses) == 2 * BATCH_SIZE // 2
    for whole, half in zip(scored, stepped, strict=True):
        drawn, kept = ({tuple(row) for row in rows.tolist()} for rows in (whole, half))
        assert len(half) == len(kept) == BATCH_SIZE // 2
        assert kept < drawn


def test_importance_keeps_one_sample_of_one():
    judged = Training(*run_of(ROWS, "importance", batch_size=1), tiny_data(ROWS)).train_epoch()
    assert len(judged.losses) == sum(COUNTS)


# ---------------------------------------------------------------- curriculum


def curriculum_context(task, **overrides) -> Context:
    return run_of(task, "curriculum", **overrides).context(tiny_data(task))


@pytest.mark.parametrize("task", [IMAGES, ROWS], ids=lambda task: task.name)
def test_curriculum_sorts_by_what_a_classical_run_finds_easy(task, monkeypatch):
    models = []
    keep_model = Training.__init__
    monkeypatch.setattr(
        Training, "__init__", lambda self, *args, **kwargs: (keep_model(self, *args, **kwargs), models.append(self))[0]
    )
    context = curriculum_context(task, epochs=3)
    train = trains_on("curriculum", context)
    (warm_up,) = models
    warm_up.model.eval()
    with torch.no_grad():
        outputs = warm_up.model(train.inputs)
    if task is IMAGES:
        scores = 1 - outputs.softmax(dim=1)[range(len(train)), train.targets]
    else:
        scores = (outputs[:, 0] - train.targets) ** 2
    assert scores.diff().min() > -1e-6
    assert scores.diff().max() > 1e-4
    given = {tuple(row) for row in context.data.train.inputs.flatten(1).tolist()}
    assert {tuple(row) for row in train.inputs.flatten(1).tolist()} == given


def test_curriculum_warms_up_no_longer_than_it_trains(monkeypatch):
    epochs = []
    train_epoch = Training.train_epoch
    monkeypatch.setattr(Training, "train_epoch", lambda self: (epochs.append(self), train_epoch(self))[1])
    for asked, has, trained in ((2, 5, 2), (5, 2, 2)):
        epochs.clear()
        METHODS["curriculum"](curriculum_context(ROWS, warm_up_epochs=asked, epochs=has))
        assert len(epochs) == trained


def test_curriculum_lets_in_half_then_grows_by_a_fifth_every_ten_epochs(monkeypatch):
    sorted_already = torch.arange(18.0)
    monkeypatch.setattr("experiments.methods.data.warm_up", lambda context: sorted_already)
    context = curriculum_context(ROWS)
    groups = np.array([0] * 9 + [1] * 6 + [2] * 2 + [3])
    train = context.data.train
    sorted_data = Data(Split(train.inputs, train.targets, torch.from_numpy(groups)), context.data.test, tuple("abcd"))
    method = METHODS["curriculum"](replace(context, data=sorted_data))
    for size in (9, 10, 12, 15, 18, 18):  # 18 * min(0.5 * 1.2 ** n, 1), rounded down
        drawn = []
        for _ in range(10):
            assert method.proportions == pytest.approx(np.bincount(groups[:size], minlength=4) / size)
            drawn += [place for index in method.batches() for place in index]
        assert len(drawn) == 10 * 2 * BATCH_SIZE
        # Pass after pass over these and no others.
        passes = [sorted(drawn[first : first + size]) for first in range(0, len(drawn) - size, size)]
        assert size == 18 or all(one == list(range(size)) for one in passes)
        assert set(drawn) == set(range(size))


def test_curriculum_counts_only_its_own_epochs_in_the_time(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    (row,) = Training(*run_of(ROWS, "curriculum"), tiny_data(ROWS)).epochs()
    assert row["train_seconds"] == 1
    assert next(clock) == 2
