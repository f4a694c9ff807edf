"""Any map-style data in memory: the samples are those of the data set, or an error says why they cannot be."""

import random
import sys
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from in_memory import LABELS, PIXELS
from learn2mix import FixedMix, MixedBatchSampler, MixedLoader
from learn2mix.data import InMemory

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def batches_of(data):
    """What a loader that reads sample by sample makes of all of it."""
    (batch,) = DataLoader(data, batch_size=len(data))
    return batch


def assert_same(data, wanted):
    found = batches_of(data)
    found, wanted = (list(batch.values()) if isinstance(batch, dict) else batch for batch in (found, wanted))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


class Samples(Dataset):
    """Made of a function of the index, with a note of what was read."""

    def __init__(self, make, size=100):
        self.make, self.size, self.read = make, size, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        return self.make(index)


# ------------------------------------------------------------------ taken as they are


def test_the_arrays_of_a_tensor_data_set_are_shared():
    images, labels = torch.tensor(PIXELS), torch.tensor(LABELS)
    found, again = InMemory.of(TensorDataset(images, labels)).arrays
    assert found is images
    assert again is labels
    first = InMemory(images, labels, transform=lambda batch: batch / 2)
    second = InMemory.of(first, transform=lambda batch: batch + 1)
    assert second.arrays[0] is images
    assert torch.equal(second[3][0], images[3] / 2 + 1)


@pytest.mark.parametrize("indices", [[4, 1, 4], range(3, 9), torch.tensor([2, 0])])
def test_a_subset_has_its_rows(indices):
    whole = TensorDataset(torch.tensor(PIXELS), torch.tensor(LABELS))
    data = InMemory.of(Subset(Subset(whole, range(29, -1, -1)), indices))
    assert_same(data, batches_of(Subset(Subset(whole, range(29, -1, -1)), [int(index) for index in indices])))


def test_one_of_another_class_is_read_for_it_may_give_other_samples():
    class Numbered(TensorDataset):
        def __getitem__(self, index):
            return (*super().__getitem__(index), index)

    class Doubled(InMemory):
        def __getitem__(self, index):
            return tuple(2 * part for part in super().__getitem__(index))

        __getitems__ = None

    data = Numbered(torch.tensor(LABELS))
    assert_same(InMemory.of(data), [torch.tensor(LABELS), torch.arange(30)])
    assert_same(InMemory.of(Doubled(LABELS)), [torch.tensor(2 * LABELS)])


# ------------------------------------------------------------------ torchvision's

SETS = {"MNIST": (28, 28), "FashionMNIST": (28, 28), "CIFAR10": (32, 32, 3), "CIFAR100": (32, 32, 3)}


def vision(name, **given):
    """One of torchvision's data sets as its constructor leaves it, but for where the pixels come from."""
    datasets = pytest.importorskip("torchvision.datasets")
    rng = np.random.default_rng(0)
    pixels, targets = rng.integers(0, 256, (40, *SETS[name]), dtype=np.uint8), rng.integers(0, 10, 40)
    made = getattr(datasets, name).__new__(getattr(datasets, name))
    datasets.VisionDataset.__init__(made, root="", **given)
    gray = "MNIST" in name
    made.data, made.targets = (torch.tensor(pixels), torch.tensor(targets)) if gray else (pixels, targets.tolist())
    return made


class Normalize:
    """Has the name of one of torchvision's; what it does to a batch nobody knows."""

    def __call__(self, image):
        return 2 * image


def transforms_of(name):
    from torchvision import transforms as v1
    from torchvision.transforms import v2
    from torchvision.tv_tensors import Image

    some = {
        "none": None,
        "ToTensor": v1.ToTensor(),
        "Normalize": v1.Compose([v1.ToTensor(), v1.Normalize(0.3, 0.2)]),
        "ConvertImageDtype": v1.Compose([v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]),
        "v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.3], [0.2])]),
        "of the user's": v1.Compose([v1.ToTensor(), Normalize()]),
        # Not for batches of tensors, but always the same: read once.
        "CenterCrop": v1.Compose([v1.CenterCrop(20), v1.ToTensor()]),
        "Lambda": v1.Compose([v1.ToTensor(), v1.Lambda(lambda image: image.mean(0))]),
        "by kind": v2.Compose([v2.ToImage(), v2.ToDtype({Image: torch.float32}, scale=True)]),
    }
    return some[name]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    "transform",
    ["none", "ToTensor", "Normalize", "ConvertImageDtype", "v2", "of the user's", "CenterCrop", "Lambda", "by kind"],
)
def test_torchvision_s_samples_are_kept_with_their_transforms(name, transform):
    from torchvision.transforms import v2

    data = vision(name, transform=transforms_of(transform))
    wanted = batches_of(data if data.transform else vision(name, transform=v2.PILToTensor()))
    found = InMemory.of(data)
    assert_same(found, wanted)
    bytes_kept = transform not in ("of the user's", "CenterCrop", "Lambda", "by kind")
    assert (found.arrays[0].dtype == torch.uint8) == bytes_kept
    if bytes_kept and "MNIST" in name:
        assert found.arrays[0].data_ptr() == data.data.data_ptr(), "no copy"
        assert found.arrays[1].data_ptr() == data.targets.data_ptr()
    assert_same(InMemory.of(Subset(data, [5, 2])), [part[[5, 2]] for part in wanted])


@pytest.mark.parametrize("target_transform", [lambda label: label % 2, lambda label: torch.eye(10)[label]])
def test_labels_keep_their_transform(target_transform):
    from torchvision.transforms import ToTensor

    data = vision("CIFAR10", transform=ToTensor(), target_transform=target_transform)
    assert_same(InMemory.of(data), batches_of(data))


def test_a_subclass_that_gives_other_samples_is_read():
    datasets = pytest.importorskip("torchvision.datasets")

    class Numbered(datasets.MNIST):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, label, index

    data = vision("MNIST")
    data.__class__ = Numbered
    pixels, labels, numbers = InMemory.of(data)[:]
    assert torch.equal(pixels, data.data[:, None])
    assert torch.equal(labels, data.targets)
    assert numbers.tolist() == list(range(40))


def test_a_random_transform_is_refused_with_the_way_out():
    from torchvision import transforms

    flip = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    with torch.random.fork_rng(), pytest.raises(ValueError, match=r"random transform.*InMemory.of\(.*transform="):
        InMemory.of(vision("CIFAR10", transform=flip))


def test_the_samples_are_those_that_the_sampler_asks_for():
    data = vision("CIFAR10")
    sampler = MixedBatchSampler(data.targets, FixedMix("uniform"), batch_size=8)
    loader = MixedLoader(InMemory.of(data), sampler)
    again = MixedBatchSampler(data.targets, FixedMix("uniform"), batch_size=8)
    for (images, labels), indices in zip(loader, again, strict=True):
        assert images.permute(0, 2, 3, 1).numpy().tolist() == data.data[indices].tolist()
        assert labels.tolist() == [data.targets[index] for index in indices]


# ------------------------------------------------------------------ read sample by sample

MADE = {
    "tuples": lambda index: (torch.full((2, 3), index), index, index / 2, np.float32(index), bool(index % 2)),
    "lists": lambda index: [np.full(2, index, np.int16), index],
    "dicts": lambda index: {"x": torch.full((2,), index / 3), "label": index},
}


@pytest.mark.parametrize("form", MADE)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_sample_is_what_torch_s_loader_makes_of_it(form, num_workers):
    data = InMemory.of(Samples(MADE[form]), num_workers=num_workers)
    assert_same(data, batches_of(Samples(MADE[form])))
    assert isinstance(data[0], dict) == (form == "dicts")


def test_each_sample_is_read_once_but_for_a_few_that_are_compared():
    data = Samples(lambda index: index, size=1000)
    assert InMemory.of(data)[:][0].tolist() == list(range(1000))
    counts = np.bincount(data.read)
    assert sorted(set(counts)) == [1, 3]
    assert (counts == 3).sum() <= 10


def test_data_that_read_several_at_once_are_asked_to():
    class AtOnce(Samples):
        def __getitem__(self, index):
            raise NotImplementedError

        def __getitems__(self, indices):
            assert all(type(index) is int for index in indices)
            return [(index, 2 * index) for index in indices]

    assert InMemory.of(AtOnce(None))[50:52][1].tolist() == [100, 102]


def test_of_data_that_read_several_at_once_the_one_that_cannot_be_read_is_named():
    class AtOnce(Samples):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    with pytest.raises(RuntimeError, match="sample 70 cannot be read: OSError"):
        InMemory.of(AtOnce(broken_at_70))


ODD = {
    "channels first": (np.zeros((30, 3, 8, 8), np.uint8), LABELS.tolist()),
    "labels that are names": (PIXELS, [str(label) for label in LABELS]),
    "floats": (PIXELS / 255, LABELS),
    "something else": ([1, 2], {"a": 3}),
    "objects": (np.array([None] * 30), LABELS),
}


@pytest.mark.parametrize("odd", ODD)
def test_attributes_of_the_same_names_that_hold_something_else_are_left_alone(odd):
    data = Samples(lambda index: (torch.full((2,), index), index), size=30)
    data.data, data.targets = ODD[odd]
    data.transform = pytest.importorskip("torchvision.transforms").Normalize([0.5] * 3, [0.5] * 3)
    assert_same(InMemory.of(data), batches_of(data))


def test_a_transform_comes_after_what_the_data_do_themselves():
    data = InMemory.of(Samples(lambda index: (index, index)), transform=lambda batch: batch * 10)
    assert data[7] == (70, 7)


class Flip:
    def __init__(self, rng):
        self.rng = rng

    def __call__(self, index):
        return torch.full((3,), index + self.rng()), index


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("rng", [random.random, lambda: torch.rand(1).item(), np.random.rand])
def test_random_samples_are_refused(rng, num_workers):
    with pytest.raises(ValueError, match="same each time"):
        InMemory.of(Samples(Flip(rng)), num_workers=num_workers)


def broken_at_70(index):
    if index == 70:
        raise OSError("no such file")
    return index


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (broken_at_70, RuntimeError, "sample 70 cannot be read: OSError: no such file"),
        (lambda index: torch.zeros(2 if index < 70 else 3), ValueError, "one structure and shape"),
        (lambda index: torch.zeros(2 if index < 64 else 3), ValueError, "one structure"),
        (lambda index: torch.zeros(2, dtype=torch.float32 if index < 64 else torch.float64), ValueError, "type"),
        (lambda index: (index,) * (1 + (index >= 64)), ValueError, "one structure"),
        (lambda index: {"text": "abc", "label": index}, TypeError, "'text' is neither"),
        (lambda index: (index, [index, index]), TypeError, "1 is neither"),
        (lambda index: None, ValueError, "tensors and numbers"),
    ],
)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_cannot_be_read_is_an_error_that_says_why(make, error, match, num_workers):
    with pytest.raises(error, match=match):
        InMemory.of(Samples(make), num_workers=num_workers)


def test_samples_are_equal_also_where_they_are_not_numbers():
    assert InMemory.of(Samples(lambda index: float("nan")))[:][0].isnan().all()


def test_data_without_a_sample_are_an_error():
    with pytest.raises(ValueError, match="at least 1 sample"):
        InMemory.of(Samples(None, size=0))


def test_hugging_face_s_data_are_read():
    datasets = pytest.importorskip("datasets", exc_type=ImportError)
    table = {"x": [[float(row), 1.0] for row in range(40)], "label": list(range(40))}
    data = datasets.Dataset.from_dict(table).with_format("torch")
    found = InMemory.of(data)[[3, 39]]
    assert {name: part.tolist() for name, part in found.items()} == {"x": [[3, 1], [39, 1]], "label": [3, 39]}


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_on_a_terminal_where_it_is_asked_for(capsys, monkeypatch, progress, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    InMemory.of(Samples(lambda index: time.sleep(0.3 * (index in (70, 140))) or index, size=200), progress=progress)
    assert ("200/200" in capsys.readouterr().err) == (progress and terminal)
