"""The networks against sizes worked out by hand, and what they do against loops written out."""

import math

import numpy as np
import pytest
import torch

from data_files import data_of
from experiments.datasets import Data, Split
from experiments.datasets.images import random_changes
from experiments.errors import UserError
from experiments.models import NETWORKS, Normalise, Transformer, chosen_model, sinusoids
from experiments.settings import MODEL_NAMES
from experiments.tasks import TASKS
from experiments.tasks.task import RECONSTRUCTION


def images(*shape: int, num_classes: int = 10, reconstruct: bool = False) -> Data:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(256, size=(2 * num_classes, *shape), dtype=np.uint8))
    classes = torch.arange(num_classes).repeat(2)
    split = Split(pixels, pixels if reconstruct else classes, classes)
    return Data(split, split, tuple(str(label) for label in range(num_classes)))


def tokens(num_words: int = 50, length: int = 12) -> Data:
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(1, num_words, size=(6, length)))
    ids[0, 0] = num_words - 1
    classes = torch.arange(2).repeat(3)
    return Data(Split(ids, classes, classes), Split(ids, classes, classes), ("negative", "positive"))


def features(num_features: int, *, classify: int = 0) -> Data:
    rows = torch.randn(6, num_features, generator=torch.Generator().manual_seed(0))
    groups = torch.arange(max(classify, 1)).repeat(6)[:6]
    split = Split(rows, groups if classify else rows.sum(dim=1), groups)
    return Data(split, split, tuple(str(group) for group in range(max(classify, 1))))


def conv(size: int, inner: int, outer: int) -> int:
    return size * size * inner * outer + outer


def linear(inner: int, outer: int) -> int:
    return inner * outer + outer


LENET5 = conv(5, 1, 6) + conv(5, 6, 16) + linear(16 * 4 * 4, 120) + linear(120, 84) + linear(84, 10)
LARGE_LENET = conv(3, 3, 16) + conv(3, 16, 32) + conv(3, 32, 64) + linear(64 * 4 * 4, 500) + linear(500, 100)
# Without biases, but with a scale and a shift of each channel.
SMALL_CONV = 9 * (3 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + linear(64, 10)
# Torchvision states these for ImageNet's 1000 classes; the last layer is ours.
MOBILENET = 2_542_856 - linear(1024, 1000) + linear(1024, 100)
RESNET18 = 11_689_512 - linear(512, 1000) + linear(512, 10)
AUTOENCODER = linear(784, 128) + linear(128, 32) + linear(32, 128) + linear(128, 784)
ATTENTION = linear(64, 3 * 64) + linear(64, 64)
ENCODER = ATTENTION + linear(64, 128) + linear(128, 64) + 2 * 2 * 64
TRANSFORMER = 50 * 64 + ENCODER + linear(64, 32) + linear(32, 2)


@pytest.mark.parametrize(
    ("name", "data", "size", "shape"),
    [
        ("lenet5", images(1, 28, 28), LENET5, (10,)),
        ("large-lenet", images(3, 32, 32, num_classes=100), LARGE_LENET, (100,)),
        ("small-conv", images(3, 16, 16), SMALL_CONV, (10,)),
        ("mobilenet-v3-small", images(3, 32, 32, num_classes=100), MOBILENET, (100,)),
        # Grey pictures are three equal channels.
        ("mobilenet-v3-small", images(1, 28, 28, num_classes=100), MOBILENET, (100,)),
        ("resnet18", images(3, 64, 64), RESNET18, (10,)),
        ("resnet18", images(1, 28, 28), RESNET18, (10,)),
        ("autoencoder", images(1, 28, 28, reconstruct=True), AUTOENCODER, (1, 28, 28)),
        ("transformer", tokens(), TRANSFORMER, (2,)),
        ("two-layer", features(11), linear(11, 64) + linear(64, 1), (1,)),
        ("two-layer", features(11, classify=3), linear(11, 64) + linear(64, 3), (3,)),
    ],
)
def test_networks_have_the_papers_sizes(name, data, size, shape):
    model = chosen_model(data, {"model": name})
    assert sum(parameter.numel() for parameter in model.parameters()) == size
    assert model(data.test.inputs[:4]).shape == (4, *shape)


def test_every_network_can_be_named():
    assert tuple(NETWORKS) == MODEL_NAMES


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_names_a_network_for_its_inputs(task):
    network = NETWORKS[task.settings["model"].value]
    expected = "images again" if task.objective.kind == "reconstruction" else task.inputs
    assert network.takes == expected


@pytest.mark.parametrize(
    ("data", "model", "words"),
    [
        (images(1, 28, 28), "transformer", "for tokens; these data are images, for: lenet5"),
        (images(1, 28, 28), "autoencoder", "for images again"),
        (images(1, 28, 28, reconstruct=True), "lenet5", "for: autoencoder"),
        (tokens(), "two-layer", "for: transformer"),
        (features(3), "resnet18", "for: two-layer"),
    ],
)
def test_a_network_for_other_data_is_an_error_that_lists_what_fits(data, model, words):
    with pytest.raises(UserError, match=words):
        chosen_model(data, {"model": model})


def test_another_network_can_be_chosen():
    data = data_of("mnist-5k")
    model = TASKS["mnist-5k"].model(data, {"model": "mobilenet-v3-small"})
    assert model(data.test.inputs[:2]).shape == (2, 10)


def test_the_large_lenet_drops_half_of_its_units_in_training_alone():
    data = images(3, 32, 32)
    model = chosen_model(data, {"model": "large-lenet"})
    model[-1] = torch.nn.Identity()  # what the last layer would see: 500 units, about half of them 0 by the ReLU
    trained = model.train()(data.test.inputs)
    tested = model.eval()(data.test.inputs)
    assert ((trained == 0) | torch.isclose(trained, 2 * tested)).all()
    assert ((trained == 0) & (tested > 0)).sum() / (tested > 0).sum() == pytest.approx(0.5, abs=0.05)


def test_pixels_are_scaled_as_the_authors_do():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert Normalise()(pixels).tolist() == pytest.approx([-1, -0.6, 1])
    assert Normalise(0, 1)(pixels).tolist() == pytest.approx([0, 0.2, 1])
    grey = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    assert torch.equal(Normalise(channels=3)(grey), Normalise()(torch.cat([grey] * 3, dim=1)))


class TestTransformer:
    @pytest.fixture
    def model(self) -> Transformer:
        torch.manual_seed(0)
        return Transformer(vocabulary_size=50, max_tokens=20, num_classes=2).eval()

    @pytest.fixture
    def ids(self) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(0).integers(1, 50, size=(5, 8)))

    def test_padding_does_not_change_the_outputs(self, model, ids):
        padded = torch.cat([ids, torch.zeros(5, 12, dtype=torch.int64)], dim=1)
        assert torch.allclose(model(ids), model(padded), atol=1e-6)
        with torch.no_grad():  # the layer has another path then
            assert torch.allclose(model(ids), model(padded), atol=1e-6)

    def test_a_text_says_the_same_beside_longer_ones(self, model, ids):
        ids[0, 3:] = 0
        assert torch.allclose(model(ids)[0], model(ids[:1, :3])[0], atol=1e-6)

    def test_the_order_of_words_matters(self, model, ids):
        assert not torch.allclose(model(ids), model(ids.flip(1)), atol=1e-3)

    def test_training_and_testing_differ_by_dropout_alone(self, model, ids):
        ids[0, 3:] = 0
        tested = model(ids)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
        assert torch.allclose(model.train()(ids), tested, atol=1e-5)

    def test_a_text_without_tokens_has_finite_outputs_and_gradients(self, model, ids):
        ids[0] = 0
        outputs = model.train()(ids)
        outputs.sum().backward()
        assert outputs.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())

    def test_padding_is_not_learnt(self, model, ids):
        ids[0, 3:] = 0
        model.train()(ids).sum().backward()
        assert model._embedding.weight.grad[0].abs().max() == 0

    def test_positions_are_sines_and_cosines(self):
        table = sinusoids(7, 6)
        for position in range(7):
            for pair in range(3):
                angle = position / 10_000 ** (2 * pair / 6)
                assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
                assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


class TestObjectives:
    def test_reconstruction_sums_squared_errors_over_the_pixels(self):
        rng = np.random.default_rng(0)
        outputs, pixels = rng.random((4, 3, 5, 6)), rng.integers(256, size=(4, 3, 5, 6), dtype=np.uint8)
        by_hand = [((outputs[place] - pixels[place] / 255) ** 2).sum() for place in range(4)]
        for of_sample in (RECONSTRUCTION.losses, RECONSTRUCTION.errors):
            found = of_sample(torch.from_numpy(outputs).float(), torch.from_numpy(pixels))
            assert found.tolist() == pytest.approx(by_hand, rel=1e-5)
            as_floats = of_sample(torch.from_numpy(outputs).float(), torch.from_numpy(pixels).float() / 255)
            assert as_floats.tolist() == pytest.approx(by_hand, rel=1e-5)

    def test_an_autoencoders_first_errors_are_near_those_of_grey(self):
        # A sigmoid at rest says 0.5 everywhere.
        data = images(1, 28, 28, reconstruct=True)
        outputs = chosen_model(data, {"model": "autoencoder"})(data.test.inputs)
        grey = ((data.test.inputs.double() / 255 - 0.5) ** 2).sum(dim=(1, 2, 3))
        assert RECONSTRUCTION.errors(outputs, data.test.targets).tolist() == pytest.approx(grey.tolist(), rel=0.05)


class TestAugmentation:
    @pytest.fixture
    def batch(self) -> torch.Tensor:
        return images(3, 8, 10, num_classes=30).train.inputs

    @staticmethod
    def variants(image: np.ndarray) -> dict[bytes, tuple[bool, int, int]]:
        """All that may become of an image, by brute force."""
        found = {}
        for flip in (False, True):
            padded = np.pad(image[:, :, ::-1] if flip else image, ((0, 0), (4, 4), (4, 4)))
            for down in range(9):
                for right in range(9):
                    found[padded[:, down : down + 8, right : right + 10].tobytes()] = (flip, down, right)
        return found

    def test_each_image_is_flipped_and_shifted_on_its_own(self, batch):
        torch.manual_seed(0)
        changed = random_changes(batch, {})
        assert (changed.shape, changed.dtype) == (batch.shape, torch.uint8)
        drawn = [self.variants(before.numpy())[after.numpy().tobytes()]
                 for before, after in zip(batch, changed, strict=True)]  # fmt: skip
        flips, downs, rights = (set(values) for values in zip(*drawn, strict=True))
        assert flips == {False, True}
        assert downs == rights == set(range(9))
        assert len(set(drawn)) > 40

    def test_it_is_drawn_anew_for_each_batch_and_the_same_from_the_same_seed(self, batch):
        torch.manual_seed(0)
        first, second = random_changes(batch, {}), random_changes(batch, {})
        torch.manual_seed(0)
        assert not torch.equal(first, second)
        assert torch.equal(first, random_changes(batch, {}))

    def test_the_batch_itself_stays_as_it_is(self, batch):
        before = batch.clone()
        random_changes(batch, {})
        assert torch.equal(batch, before)

    def test_it_is_for_training_on_cifar(self):
        augmented = {name for name, task in TASKS.items() if task.augment is not None}
        assert augmented == {"cifar10", "cifar10-mobilenet", "cifar10-imbalanced", "cifar10-long-tail", "cifar100",
                             "cifar100-lenet", "fashion-mnist-long-tail", "fashion-pairs"}  # fmt: skip
