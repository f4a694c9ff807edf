"""Long tails: the recipe's sizes, an order of the classes for each seed, images averaged down, shifts of any width."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import data_of, write_imdb_lines, write_npz, write_sizes
from experiments.datasets import Data, choose_kept
from experiments.datasets.images import load_images, random_changes, shrink
from experiments.errors import UserError
from experiments.execution import load_data
from experiments.methods import METHODS
from experiments.plan import plan
from experiments.tasks import TASKS, find_task, generic
from experiments.training import Training
from tiny import Made, run_of


def planned(name: str, method: str, root: Path, **overrides: object) -> tuple[Made, Data]:
    """A run of a data set in files, as the command line makes it, and its data."""
    (run,) = plan([name], [method], 1, overrides, data_root=root)
    task = find_task(name, root)
    return Made(run, task, METHODS[method]), load_data(task, run, root)


SIZES = [2000, 1198, 718, 430, 258, 154, 92, 55, 33, 20]  # 2000 * 100 ** (-k / 9), rounded down


@pytest.mark.parametrize(
    ("task", "source"), [("cifar10-long-tail", "cifar10"), ("fashion-mnist-long-tail", "fashion-mnist")]
)
def test_each_seed_cuts_other_classes_to_the_recipes_sizes(tmp_path, task, source):
    write_sizes(tmp_path, source, [2500] * 10)
    counts = [(data := data_of(task, tmp_path, seed, image_size="none")).counts(data.train) for seed in range(3)]
    assert [sorted(of_seed, reverse=True) for of_seed in counts] == [SIZES] * 3
    assert len({tuple(of_seed) for of_seed in counts}) == 3
    again = data_of(task, tmp_path, 2, image_size="none")
    assert again.counts(again.train) == counts[2]
    assert data.counts(data.test) == [1] * 10


def test_the_recipe_is_that_of_the_prototypes():
    values = {name: setting.value for name, setting in TASKS["cifar10-long-tail"].settings.items()}
    assert values == {
        "epochs": 16, "batch_size": 128, "model": "small-conv", "width": 16, "optimizer": "SGD", "lr": 0.1,
        "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine", "shift": 2, "flip": "yes",
        "imbalance": "long-tail:100", "class_order": "seed", "per_class": 2000, "image_size": 16,
    }  # fmt: skip
    fashion = {name: setting.value for name, setting in TASKS["fashion-mnist-long-tail"].settings.items()}
    assert fashion == values | {"epochs": 10, "width": 12, "image_size": "none"}


def test_a_larger_group_counts_as_one_of_the_size_given():
    groups = np.repeat([0, 1, 2], [10, 6, 4])
    for shares, sizes in (([1, 1, 1], [5, 5, 4]), ([0.5, 0.5, 0.5], [2, 2, 2]), ([1, 0.2, 0.6], [5, 1, 2])):
        kept = choose_kept(groups, shares, np.random.default_rng(0), per_group=5)
        assert np.bincount(groups[kept]).tolist() == sizes


def test_a_cap_alone_cuts_too(tmp_path):
    write_npz(tmp_path, "pets", num_train=60, shape=(4, 4))
    data = data_of("pets", tmp_path, per_class=4)
    assert data.counts(data.train) == [4] * 10


def test_images_are_averaged_over_squares(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(5, 3, 8, 12), dtype=np.uint8)
    small = shrink(images, 2)
    assert (small.dtype, small.shape) == (np.uint8, (5, 3, 2, 3))
    for place in np.ndindex(small.shape):
        number, channel, row, column = place
        square = images[number, channel, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert abs(small[place] - square.astype(float).mean()) <= 0.5


@pytest.mark.parametrize("size", [3, 12, 16])
def test_a_size_that_does_not_divide_is_an_error(tmp_path, size):
    write_npz(tmp_path, "pets", shape=(8, 8))
    with pytest.raises(UserError, match=f"image_size.* 8 x 8, got {size}"):
        data_of("pets", tmp_path, image_size=size)


def test_both_parts_are_averaged_down(tmp_path):
    written = write_npz(tmp_path, "pets", shape=(8, 8))
    data = load_images(tmp_path, "pets", 4)
    assert np.array_equal(data.train.inputs, shrink(written["train"][:, None], 4))
    assert np.array_equal(data.test.inputs, shrink(written["test"][:, None], 4))
    assert len(data.group_names) == 10


def test_imagenette_needs_a_size():
    with pytest.raises(UserError, match="image_size"):
        data_of("imagenette", image_size="none")


class TestChanges:
    @pytest.fixture
    def images(self) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(0).integers(1, 256, size=(200, 1, 6, 6), dtype=np.uint8))

    @pytest.mark.parametrize(("shift", "flip"), [(2, "yes"), (1, "no"), (0, "yes")])
    def test_shift_and_flip_are_as_set(self, images, shift, flip):
        torch.manual_seed(0)
        changed = random_changes(images, {"shift": shift, "flip": flip}).numpy()
        drawn = set()
        for before, after in zip(images[:, 0].numpy(), changed[:, 0], strict=True):
            for mirrored in (False, True):
                padded = np.pad(before[:, ::-1] if mirrored else before, shift)
                for down in range(2 * shift + 1):
                    for right in range(2 * shift + 1):
                        if np.array_equal(padded[down : down + 6, right : right + 6], after):
                            drawn.add((mirrored, down, right))
        flips, downs, rights = (set(values) for values in zip(*drawn, strict=True))
        assert flips == ({False, True} if flip == "yes" else {False})
        assert downs == rights == set(range(2 * shift + 1))

    def test_nothing_set_changes_nothing_and_draws_nothing(self, images):
        state = torch.get_rng_state()
        assert random_changes(images, {"shift": 0, "flip": "no"}) is images
        assert torch.equal(torch.get_rng_state(), state)


def test_data_of_ones_own_take_the_whole_recipe(tmp_path):
    write_npz(tmp_path, "pets", num_train=300, shape=(16, 16, 3))
    recipe = {name: setting.value for name, setting in TASKS["cifar10-long-tail"].settings.items()}
    assert recipe.keys() == generic("pets").settings.keys()
    changes = {**recipe, "epochs": 2, "imbalance": "long-tail:20", "image_size": 8, "width": 2, "batch_size": 16}
    run, data = planned("pets", "balanced", tmp_path, **changes)
    assert sorted(data.counts(data.train))[::9] == [1, 30]
    assert data.train.inputs.shape[1:] == (3, 8, 8)
    rows = list(Training(*run, data).epochs())
    assert len(rows) == 2
    assert np.isfinite(rows[-1]["test_loss"])


def test_reviews_can_be_cut_to_a_tail(tmp_path):
    write_imdb_lines(
        tmp_path, ((part, label, n, f"film {n}") for part in ("train", "test") for n in range(50) for label in (0, 1))
    )
    data = data_of("imdb", tmp_path, max_tokens=2, imbalance="long-tail:10")
    assert data.counts(data.train) == [80, 8]
    run = run_of(TASKS["imdb"], "logit-adjusted-loss", max_tokens=2)
    (row,) = Training(*run, data).epochs()
    assert row["test_by_group"][0] is not None


def test_small_images_are_tested_a_thousand_at_a_time(tmp_path):
    write_npz(tmp_path, "pets", shape=(8, 8), num_classes=600, num_train=600)
    run, data = planned("pets", "classical", tmp_path, epochs=1, model="small-conv", width=1)
    training = Training(*run, data)
    sizes = []
    training.model.register_forward_pre_hook(lambda module, inputs: sizes.append((module.training, len(inputs[0]))))
    assert len(list(training.epochs())) == 1
    assert [size for is_training, size in sizes if not is_training] == [1000, 200]
