"""A hundred classes of two garments: what stands beside what, and that they are always the same."""

import numpy as np
import pytest

from data_files import data_of, write_npz
from experiments.datasets.images import fashion_pairs, shrink
from experiments.errors import UserError


def test_pairs_are_made_of_both_parts_and_always_the_same(tmp_path):
    written = write_npz(tmp_path, "fashion-mnist", num_train=60)
    data, again = (fashion_pairs(tmp_path, (3, 2)) for _ in range(2))
    assert np.array_equal(data.train.inputs, again.train.inputs)
    assert data.train.inputs.shape == (300, 1, 14, 28)
    assert (data.counts(data.train), data.counts(data.test)) == ([3] * 100, [2] * 100)
    assert data.group_names[37] == "3 + 7"
    # Each half is the average of an image of its class in the same part, whose labels are 0 to 9 again and again.
    for part, split in (("train", data.train), ("test", data.test)):
        own = {image.tobytes(): place % 10 for place, image in enumerate(shrink(written[part][:, None], 14))}
        for image, label in zip(split.inputs.numpy(), split.groups.tolist(), strict=True):
            left, right = (own[np.ascontiguousarray(half).tobytes()] for half in (image[..., :14], image[..., 14:]))
            assert 10 * left + right == label
        halves = split.inputs.numpy().reshape(100, -1, 14, 28)[:, :, :, :14]
        assert all(len({half.tobytes() for half in of_class}) == len(of_class) for of_class in halves)


def test_a_class_with_too_few_images_is_an_error(tmp_path):
    write_npz(tmp_path, "fashion-mnist", num_train=60)
    with pytest.raises(UserError, match="has 6 images, fewer than the 500"):
        data_of("fashion-pairs", tmp_path)
