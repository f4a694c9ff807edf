"""Images and rows of numbers from files: npz of any name, torchvision's layouts, JPEG."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from data_files import cut_short, data_of, write_digits, write_imagenette, write_npz
from experiments.datasets.images import load_imagenette, load_images
from experiments.errors import UserError
from experiments.tasks import TASKS, find_task, generic
from experiments.tasks.task import CLASSIFICATION


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail at once, and the same everywhere."""

    def refuse(*_arguments, **_options):
        raise OSError("no network here")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    monkeypatch.setattr("torchvision.datasets.imagenette.download_and_extract_archive", refuse)


class TestNpz:
    def test_files_are_read_by_name(self, tmp_path):
        written = write_npz(tmp_path, "mnist")
        data = load_images(tmp_path, "mnist")
        assert np.array_equal(data.train.inputs[:, 0], written["train"])
        assert np.array_equal(data.test.inputs[:, 0], written["test"])
        assert data.test.groups.tolist() == [*range(10), *range(10)]
        assert data.group_names == tuple("0123456789")

    def test_color_comes_out_channels_first(self, tmp_path):
        written = write_npz(tmp_path, "some-colors", shape=(8, 9, 3))
        data = load_images(tmp_path, "some-colors")
        assert data.train.inputs.shape == (60, 3, 8, 9)
        assert np.array_equal(data.train.inputs[5, 2], written["train"][5, :, :, 2])

    def test_classes_may_have_names(self, tmp_path):
        self.write(tmp_path, [1, 0, 1], [0, 1], class_names=np.array(["cat", "dog"]))
        assert load_images(tmp_path, "pets").group_names == ("cat", "dog")
        assert load_images(tmp_path, "pets").train.groups.tolist() == [1, 0, 1]

    @pytest.mark.parametrize(("labels", "names"), [([7, 3, 7], ("3", "7")), (["dog", "cat", "dog"], ("cat", "dog"))])
    def test_labels_may_be_any_numbers_or_texts(self, tmp_path, labels, names):
        self.write(tmp_path, labels, labels[:2])
        data = load_images(tmp_path, "pets")
        assert data.group_names == names
        assert (data.train.groups.tolist(), data.test.groups.tolist()) == ([1, 0, 1], [1, 0])

    @staticmethod
    def write(root: Path, train_labels: list, test_labels: list, **extra: np.ndarray) -> None:
        (root / "pets").mkdir()
        for part, labels in (("train", train_labels), ("test", test_labels)):
            images = np.zeros((len(labels), 4, 4), np.uint8)
            np.savez(root / "pets" / f"{part}.npz", images=images, labels=np.array(labels), **extra)

    @pytest.mark.parametrize(
        ("test_labels", "words"),
        [([1, 5], "labels without training samples or a name: 5"), (["1", "2"], "labels must be whole numbers or text"),
         ([0.5, 1.0], "labels must be whole numbers or text"), ([], "each sample needs a label")],
    )  # fmt: skip
    def test_labels_that_do_not_fit_are_named(self, tmp_path, test_labels, words):
        self.write(tmp_path, [0, 1, 2], test_labels)
        with pytest.raises(UserError, match=rf"pets/test\.npz: {words}"):
            load_images(tmp_path, "pets")

    def test_half_a_set_is_missing(self, tmp_path):
        write_npz(tmp_path, "mnist")
        (tmp_path / "mnist" / "test.npz").unlink()
        with pytest.raises(UserError, match=r"mnist/test\.npz"):
            load_images(tmp_path, "mnist")

    @pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
    def test_a_cut_file_is_named(self, tmp_path, share):
        write_npz(tmp_path, "mnist")
        cut_short(tmp_path / "mnist" / "train.npz", share)
        with pytest.raises(UserError, match=r"mnist/train\.npz cannot be read"):
            load_images(tmp_path, "mnist")

    def test_a_damaged_file_is_named(self, tmp_path):
        write_npz(tmp_path, "mnist")
        path = tmp_path / "mnist" / "train.npz"
        content = bytearray(path.read_bytes())
        content[5000] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"mnist/train\.npz cannot be read"):
            load_images(tmp_path, "mnist")

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"images": np.zeros((3, 28, 28)), "labels": np.zeros(3, int)}, "images must be uint8 .* got float64"),
            ({"images": np.zeros((3, 28), np.uint8), "labels": np.zeros(3, int)}, r"images must be uint8 .*\(3, 28\)"),
            ({"images": np.zeros((3, 28, 28), np.uint8), "labels": np.zeros(2, int)}, "each sample needs a label"),
            ({"features": np.zeros((3, 2, 2)), "labels": np.zeros(3, int)}, "features must be numbers"),
            ({"pictures": np.zeros(3), "labels": np.zeros(3, int)}, "it has pictures, labels"),
        ],
    )
    def test_arrays_of_another_form_are_named(self, tmp_path, arrays, words):
        write_npz(tmp_path, "mnist")
        np.savez(tmp_path / "mnist" / "train.npz", **arrays)
        with pytest.raises(UserError, match=rf"train\.npz: .*{words}"):
            load_images(tmp_path, "mnist")

    def test_parts_of_different_shapes_are_named(self, tmp_path):
        write_npz(tmp_path, "mnist")
        np.savez(tmp_path / "mnist" / "test.npz", images=np.zeros((3, 8, 8), np.uint8), labels=np.zeros(3, int))
        with pytest.raises(
            UserError, match=r"test\.npz: samples have shape \(1, 8, 8\), those for training \(1, 28, 28\)"
        ):
            load_images(tmp_path, "mnist")


class TestDataThatNoCodeHasSeen:
    def test_a_hundred_classes_make_a_task(self, tmp_path):
        write_npz(tmp_path, "mydata", num_train=300, shape=(32, 32, 3), num_classes=100)
        task = find_task("mydata", tmp_path)
        data = data_of("mydata", tmp_path)
        assert data.counts(data.train) == [3] * 100
        model = task.model(data, {name: setting.value for name, setting in task.settings.items()})
        outputs = model(data.train.inputs[:5])
        assert outputs.shape == (5, 100)
        assert task.objective.losses(outputs, data.train.targets[:5]).shape == (5,)

    def test_rows_of_numbers_do_too(self, tmp_path):
        (tmp_path / "rows").mkdir()
        for part in ("train", "test"):
            features = np.random.default_rng(0).normal(size=(9, 4))
            np.savez(tmp_path / "rows" / f"{part}.npz", features=features, labels=np.arange(9) % 3)
        task = find_task("rows", tmp_path)
        data = data_of("rows", tmp_path)
        assert data.train.inputs.dtype == torch.float32
        assert task.model(data, {"model": task.settings["model"].value})(data.train.inputs).shape == (9, 3)

    def test_a_stored_record_is_understood_without_the_data(self):
        task = find_task("mydata", None)
        assert (task.name, task.objective) == ("mydata", CLASSIFICATION)
        assert task.settings == generic("mydata").settings

    def test_a_task_of_that_name_comes_first(self, tmp_path):
        write_npz(tmp_path, "mnist")
        assert find_task("mnist", tmp_path) is TASKS["mnist"]

    @pytest.mark.parametrize("name", ["mydata", "..", "a/b", ""])
    def test_an_unknown_name_lists_what_there_is_and_how_to_add_to_it(self, tmp_path, name):
        write_npz(tmp_path, "a/b")
        with pytest.raises(UserError) as caught:
            find_task(name, tmp_path)
        for part in (repr(name), "wine-quality", str(tmp_path), "train.npz", "images", "labels"):
            assert part in str(caught.value)

    def test_a_cut_file_is_named(self, tmp_path):
        write_npz(tmp_path, "mydata")
        cut_short(tmp_path / "mydata" / "train.npz")
        with pytest.raises(UserError, match=r"mydata/train\.npz cannot be read"):
            find_task("mydata", tmp_path)


class TestDigits:
    @pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
    def test_torchvisions_layout_is_read(self, tmp_path, name, folder):
        images = write_digits(tmp_path, folder)
        data = load_images(tmp_path, name)
        assert np.array_equal(data.train.inputs[:, 0], images)
        assert np.array_equal(data.test.inputs, data.train.inputs)
        assert data.train.groups.tolist() == [*range(10), 0, 1]
        assert data.group_names[9] == {"mnist": "9", "fashion-mnist": "Ankle boot"}[name]

    @pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
    @pytest.mark.parametrize("share", [0, 0.3, 0.99])
    def test_a_set_with_a_cut_file_is_named_with_its_files(self, tmp_path, no_network, file, share):
        write_digits(tmp_path)
        cut_short(tmp_path / "MNIST" / "raw" / file, share)
        with pytest.raises(
            UserError, match=r"'mnist' is not there, or not whole(.|\n)*MNIST/raw/train-images(.|\n)*delete(.|\n)*Error"
        ):
            load_images(tmp_path, "mnist")

    @pytest.mark.parametrize(
        ("task", "parts"),
        [
            ("mnist", ["mnist/train.npz", "MNIST/raw/train-images-idx3-ubyte"]),
            ("fashion-mnist-reconstruction", ["fashion-mnist/train.npz", "FashionMNIST/raw/train-images"]),
            ("cifar10", ["cifar10/train.npz", "cifar-10-batches-py/data_batch_1"]),
            ("cifar100", ["cifar100/train.npz", "cifar-100-python/train"]),
            ("imagenette", ["imagenette2/train/n01440764/*.JPEG"]),
        ],
    )
    def test_a_missing_set_names_the_folder_the_layouts_and_the_way_out(self, tmp_path, no_network, task, parts):
        with pytest.raises(UserError) as caught:
            data_of(task, tmp_path)
        for part in (str(tmp_path), *parts, "no network here", "--data-root", "LEARN2MIX_DATA"):
            assert part in str(caught.value)


@pytest.fixture
def small_cifar(monkeypatch, tmp_path) -> np.ndarray:
    """CIFAR-10 in torchvision's layout with 5 x 4 + 4 images, and torchvision's own list of hashes changed to fit."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(256, size=(24, 3072), dtype=np.uint8)

    def write(name: str, content: dict) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, calculate_md5(folder / name)]

    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    batches = [
        write(name, {"data": rows[start : start + 4], "labels": [place % 10 for place in range(start, start + 4)]})
        for name, start in zip(names, range(0, 24, 4), strict=True)
    ]
    _, md5 = write("batches.meta", {"label_names": [f"class {label}" for label in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", batches[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", batches[5:])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})
    return rows.reshape(-1, 3, 32, 32)


class TestCifar:
    def test_torchvisions_layout_is_read(self, tmp_path, small_cifar):
        data = load_images(tmp_path, "cifar10")
        assert np.array_equal(np.concatenate([data.train.inputs, data.test.inputs]), small_cifar)
        assert data.train.groups.tolist() == [*range(10)] * 2
        assert data.group_names[9] == "class 9"

    def test_a_set_with_a_cut_file_is_named_with_its_files(self, tmp_path, small_cifar, no_network):
        cut_short(tmp_path / "cifar-10-batches-py" / "data_batch_3")
        with pytest.raises(UserError, match=r"'cifar10' is not there, or not whole(.|\n)*-py/data_batch"):
            load_images(tmp_path, "cifar10")


class TestImagenette:
    def test_pictures_become_uint8_of_one_size(self, tmp_path):
        write_imagenette(tmp_path)
        data = load_imagenette(tmp_path, 16)
        assert (data.train.inputs.shape, data.train.inputs.dtype) == ((100, 3, 16, 16), torch.uint8)
        assert data.group_names[:2] == ("tench", "English springer")
        assert data.test.groups.tolist() == [label for label in range(10) for _ in range(2)]
        greys = data.train.inputs.reshape(100, -1).numpy()
        assert (greys.min(axis=1) == greys.max(axis=1)).all()
        assert np.abs(greys[:, 0].astype(int) - np.arange(100)).max() <= 2  # JPEG is lossy

    def test_the_classes_shares_fall_from_all_to_a_tenth(self, tmp_path):
        write_imagenette(tmp_path)
        data = data_of("imagenette", tmp_path, image_size=8)
        assert data.counts(data.train) == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        assert data.counts(data.test) == [2] * 10

    def test_a_cut_picture_is_named(self, tmp_path):
        write_imagenette(tmp_path)
        path = tmp_path / "imagenette2" / "val" / "n03028079" / "n03028079_1.JPEG"
        cut_short(path, 0.9)
        with pytest.raises(UserError, match=r"n03028079_1\.JPEG cannot be read"):
            load_imagenette(tmp_path, 16)

    def test_half_a_set_is_missing(self, tmp_path, no_network):
        write_imagenette(tmp_path)
        (tmp_path / "imagenette2" / "val").rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="imagenette2/val"):
            load_imagenette(tmp_path, 16)

    def test_real_pictures(self, real_data):
        data = data_of("imagenette", real_data)
        assert data.train.inputs.shape[1:] == (3, 224, 224)
        assert data.counts(data.train) == [42 * (10 - label) // 10 for label in range(10)]
        assert data.counts(data.test) == [14] * 10


def test_data_are_read_once_a_process(tmp_path):
    write_npz(tmp_path, "mnist")
    assert data_of("mnist", tmp_path).train.inputs.data_ptr() == data_of("mnist", tmp_path).train.inputs.data_ptr()


def test_mnist_real_files(real_data):
    data = data_of("mnist", real_data)
    assert data.counts(data.train) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.counts(data.test) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert len(data_of("mnist-reconstruction", real_data).train) == 36_475


def test_fashion_mnist_real_files(real_data):
    data = data_of("fashion-mnist", real_data)
    assert (data.counts(data.train), data.counts(data.test)) == ([6000] * 10, [1000] * 10)


def test_cifar10_real_files(real_data):
    data = data_of("cifar10", real_data)
    assert (data.counts(data.train), data.counts(data.test)) == ([2000] * 10, [1000] * 10)
    assert data.group_names[3:6] == ("cat", "deer", "dog")
    assert data.train.inputs.shape[1:] == (3, 32, 32)
