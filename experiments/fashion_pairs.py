"""A hundred classes out of Fashion-MNIST: two garments side by side, to be named both.

``python -m experiments.fashion_pairs --data-root DIR --out DIR`` writes ``fashion-pairs/{train,test}.npz`` below the
second folder, as ``python -m experiments run fashion-pairs`` reads them: class ``10 * left + right``, 28 x 56 pixels
averaged to 14 x 28, 500 training and 50 test images of each class, those of the training part from the training part.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.datasets.images import load_images, shrink
from experiments.datasets.labelled import Part
from experiments.errors import UserError

NAME = "fashion-pairs"
SIZES = {"train": 500, "test": 50}
SEED = 0


def pair_up(part: Part, num_classes: int, per_pair: int, rng: np.random.Generator) -> Part:
    """Put two images of a part side by side, for each pair of its classes.

    Args:
        part: images ``(N, C, H, W)`` of ``num_classes`` classes.
        num_classes: of one image.
        per_pair: images of each pair; no left one comes twice in a pair, and no right one.
        rng: where the choice comes from.

    Returns:
        Images ``(num_classes ** 2 * per_pair, C, H / 2, W)``, by class.

    Raises:
        UserError: if a class has fewer images than a pair takes.
    """
    members = [np.flatnonzero(part.labels == label) for label in range(num_classes)]
    if min(map(len, members)) < per_pair:
        raise UserError(f"a class has {min(map(len, members))} images, fewer than the {per_pair} of each pair")
    images = []
    for left in members:
        for right in members:
            chosen = (rng.choice(side, per_pair, replace=False) for side in (left, right))
            images.append(np.concatenate([part.inputs[places] for places in chosen], axis=3))
    together = np.concatenate(images)
    return Part(shrink(together, together.shape[2] // 2), np.arange(num_classes**2).repeat(per_pair))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files; return the exit code, 2 for what the user has to mend."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.fashion_pairs", description="A hundred classes out of Fashion-MNIST."
    )
    data_root = Path(os.environ.get("LEARN2MIX_DATA", "data"))
    parser.add_argument(
        "--data-root", type=Path, default=data_root, metavar="DIR", help="default $LEARN2MIX_DATA, else data/"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"where the folder {NAME} goes")
    options = parser.parse_args(arguments)
    try:
        write_pairs(options.data_root, options.out / NAME)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.out / NAME}")
    return 0


def write_pairs(root: Path, folder: Path, sizes: dict[str, int] = SIZES) -> None:
    """Write both parts, the same every time."""
    source = load_images(root, "fashion-mnist")
    names = [f"{left} + {right}" for left in source.class_names for right in source.class_names]
    folder.mkdir(parents=True, exist_ok=True)
    for number, (part, per_pair) in enumerate(sizes.items()):
        pairs = pair_up(getattr(source, part), len(source.class_names), per_pair, np.random.default_rng([SEED, number]))
        np.savez_compressed(folder / f"{part}.npz", images=pairs.inputs[:, 0], labels=pairs.labels, class_names=names)


if __name__ == "__main__":
    sys.exit(main())
