"""Any data set at all: ``<root>/<name>/{train,test}.npz`` with arrays ``images`` or ``features``, and ``labels``."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.datasets.splits import Data, missing, reading
from experiments.errors import UserError


def npz_layout(name: str) -> list[str]:
    """The files that make up a data set, as errors show them."""
    return [f"{name}/train.npz  (arrays images or features, and labels)", f"{name}/test.npz"]


def has_features(root: Path, name: str) -> bool:
    """Whether the data set holds rows of numbers instead of images; nothing is unpacked to find out."""
    return "features" in _open(root / name / "train.npz", only_names=True)


def load_npz(root: Path, name: str) -> Data:
    """Read both files; labels are whole numbers or text, with an array ``class_names`` they are places in it.

    Raises:
        UserError: if a file is missing, broken or of another form, or the parts do not fit together.
    """
    paths = root / name / "train.npz", root / name / "test.npz"
    both = [_open(path) for path in paths]
    inputs = list(map(_inputs_of, both, paths))
    shapes = [part.shape[1:] for part in inputs]
    if shapes[0] != shapes[1]:
        raise UserError(f"{paths[1]}: samples have shape {shapes[1]}, those for training {shapes[0]}")
    names = both[0].get("class_names")
    known = np.unique(both[0]["labels"]) if names is None else np.arange(len(names))
    labels = [_places(arrays["labels"], known, path) for arrays, path in zip(both, paths, strict=True)]
    return Data.labelled(inputs, labels, map(str, known if names is None else names))


def _open(path: Path, *, only_names: bool = False) -> Mapping[str, np.ndarray]:
    """The arrays of a file, or just their names."""
    root, name = path.parents[1], path.parent.name
    if not path.is_file():
        raise missing(f"a part of the data set {name!r}", root, npz_layout(name), "put both files there")
    # Opened here, as numpy leaves a broken archive open.
    with reading(path), path.open("rb") as file, np.load(file) as arrays:
        return dict.fromkeys(arrays.files, np.empty(0)) if only_names else dict(arrays)


def _inputs_of(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Images with their channels first, or features as float32."""
    inputs, labels = arrays.get("images", arrays.get("features")), arrays.get("labels")
    if inputs is None or labels is None:
        raise UserError(f"{path}: expected arrays images or features, and labels; it has {', '.join(arrays)}")
    if labels.shape != inputs.shape[:1] or not len(labels):
        raise UserError(f"{path}: each sample needs a label, got inputs {inputs.shape} with labels {labels.shape}")
    found = f"got {inputs.dtype} {inputs.shape}"
    if "images" not in arrays:
        if inputs.ndim != 2 or inputs.dtype.kind not in "fiub":
            raise UserError(f"{path}: features must be numbers (N, d), {found}")
        return inputs.astype(np.float32)
    if inputs.dtype != np.uint8 or inputs.ndim not in (3, 4):
        raise UserError(f"{path}: images must be uint8 (N, H, W) or (N, H, W, C) with labels (N,), {found}")
    return inputs[:, None] if inputs.ndim == 3 else np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


def _places(labels: np.ndarray, known: np.ndarray, path: Path) -> np.ndarray:
    """The class of each label as its place among the known ones, which are sorted."""
    if labels.dtype.kind not in "iuU" or (labels.dtype.kind == "U") != (known.dtype.kind == "U"):
        raise UserError(f"{path}: labels must be whole numbers or text in both files, got {labels.dtype}")
    places = np.searchsorted(known, labels)
    strange = np.unique(labels[known[np.minimum(places, len(known) - 1)] != labels])
    if len(strange):
        raise UserError(f"{path}: labels without training samples or a name: {', '.join(map(str, strange[:10]))}")
    return places
