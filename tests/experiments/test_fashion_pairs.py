"""A hundred classes of two garments: what stands beside what, and files that the generic task reads."""

import numpy as np
import pytest

from data_files import data_of, write_npz
from experiments.datasets.labelled import Part
from experiments.errors import UserError
from experiments.fashion_pairs import main, pair_up, write_pairs


def test_both_halves_are_images_of_their_classes():
    # A class is one grey all over, so that a pair shows which classes it is made of.
    labels = np.arange(12) % 3
    images = np.repeat(np.repeat(labels[:, None, None, None], 4, axis=2), 4, axis=3).astype(np.uint8) * 10
    pairs = pair_up(Part(images, labels), 3, 2, np.random.default_rng(0))
    assert pairs.inputs.shape == (18, 1, 2, 4)
    for image, label in zip(pairs.inputs[:, 0], pairs.labels, strict=True):
        left, right = divmod(int(label), 3)
        assert image.tolist() == [[10 * left] * 2 + [10 * right] * 2] * 2
    assert np.bincount(pairs.labels).tolist() == [2] * 9


def test_a_class_with_too_few_images_is_an_error():
    part = Part(np.zeros((4, 1, 2, 2), dtype=np.uint8), np.array([0, 0, 0, 1]))
    with pytest.raises(UserError, match="has 1 images, fewer than the 2"):
        pair_up(part, 2, 2, np.random.default_rng(0))


def test_the_files_make_a_task(tmp_path):
    written = write_npz(tmp_path, "fashion-mnist", num_train=60)
    write_pairs(tmp_path, tmp_path / "fashion-pairs", {"train": 3, "test": 2})
    data = data_of("fashion-pairs", tmp_path)
    assert data.train.inputs.shape == (300, 1, 14, 28)
    assert data.counts(data.train) == [3] * 100
    assert data.counts(data.test) == [2] * 100
    assert data.group_names[37] == "3 + 7"
    # Each part of its own part: a left half is the average of one of that part's images.
    for part, split in (("train", data.train), ("test", data.test)):
        own = {
            image.reshape(14, 2, 14, 2).mean(axis=(1, 3)).round().astype(np.uint8).tobytes() for image in written[part]
        }
        assert all(image[0, :, :14].numpy().tobytes() in own for image in split.inputs)


def test_they_are_the_same_every_time(tmp_path):
    write_npz(tmp_path, "fashion-mnist", num_train=60)
    for folder in ("a", "b"):
        write_pairs(tmp_path, tmp_path / folder, {"train": 2, "test": 1})
    first, second = (np.load(tmp_path / folder / "train.npz")["images"] for folder in ("a", "b"))
    assert np.array_equal(first, second)


def test_the_command_says_what_is_missing(tmp_path, capsys):
    write_npz(tmp_path, "fashion-mnist", num_train=60)
    assert main(["--data-root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "fewer than the 500" in capsys.readouterr().err
