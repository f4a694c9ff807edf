"""Any data set at all: ``<root>/<name>/{train,test}.npz`` with arrays ``images`` or ``features``, and ``labels``."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.splits import missing
from experiments.errors import UserError

BROKEN = (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


def npz_layout(name: str) -> list[str]:
    """The files that make up a data set, as errors show them."""
    return [f"{name}/train.npz  (arrays images or features, and labels)", f"{name}/test.npz"]


def has_npz(root: Path, name: str) -> bool:
    """Whether at least one of the two files is there."""
    return any((root / name / f"{part}.npz").is_file() for part in ("train", "test"))


def has_features(root: Path, name: str) -> bool:
    """Whether the data set holds rows of numbers instead of images; nothing is unpacked to find out."""
    return "features" in _open(root / name / "train.npz", only_names=True)


def load_npz(root: Path, name: str) -> Labelled:
    """Read both files.

    Labels are whole numbers or text; with an array ``class_names`` in the training file they are places in it.

    Raises:
        UserError: if a file is missing, broken or of another form, or the parts do not fit together.
    """
    paths = root / name / "train.npz", root / name / "test.npz"
    train, test = (_open(path) for path in paths)
    inputs = [_inputs_of(arrays, path) for arrays, path in zip((train, test), paths, strict=True)]
    if inputs[0].shape[1:] != inputs[1].shape[1:]:
        raise UserError(
            f"{paths[1]}: samples have shape {inputs[1].shape[1:]}, those for training {inputs[0].shape[1:]}"
        )
    known = np.arange(len(train["class_names"])) if "class_names" in train else np.unique(train["labels"])
    names = train.get("class_names", known)
    labels = [_places(arrays["labels"], known, path) for arrays, path in zip((train, test), paths, strict=True)]
    train_part, test_part = map(Part, inputs, labels)
    return Labelled(train_part, test_part, tuple(str(class_name) for class_name in names))


def _open(path: Path, *, only_names: bool = False) -> Mapping[str, np.ndarray]:
    """The arrays of a file, or just their names."""
    try:
        # Opened here, as numpy leaves a broken archive open.
        with path.open("rb") as file, np.load(file) as arrays:
            return dict.fromkeys(arrays.files, np.empty(0)) if only_names else dict(arrays)
    except FileNotFoundError:
        folder = path.parent
        what = f"a part of the data set {folder.name!r}"
        raise missing(what, folder.parent, npz_layout(folder.name), "put both files there") from None
    except BROKEN as error:
        raise UserError(f"{path} cannot be read, it may be cut short: {error}; get it anew") from error


def _inputs_of(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Images with their channels first, or features as float32."""
    inputs = arrays.get("images", arrays.get("features"))
    labels = arrays.get("labels")
    if inputs is None or labels is None:
        raise UserError(f"{path}: expected arrays images or features, and labels; it has {', '.join(arrays)}")
    if labels.shape != inputs.shape[:1] or not len(labels):
        raise UserError(f"{path}: each sample needs a label, got inputs {inputs.shape} with labels {labels.shape}")
    if "images" not in arrays:
        if inputs.ndim != 2 or inputs.dtype.kind not in "fiub":
            raise UserError(f"{path}: features must be numbers (N, d), got {inputs.dtype} {inputs.shape}")
        return inputs.astype(np.float32)
    if inputs.dtype != np.uint8 or inputs.ndim not in (3, 4):
        raise UserError(
            f"{path}: images must be uint8 (N, H, W) or (N, H, W, C) with labels (N,), "
            f"got {inputs.dtype} {inputs.shape}"
        )
    return inputs[:, None] if inputs.ndim == 3 else np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


def _places(labels: np.ndarray, known: np.ndarray, path: Path) -> np.ndarray:
    """The class of each label as its place among the known ones, which are sorted."""
    are_texts = labels.dtype.kind == "U"
    if labels.dtype.kind not in "iuU" or are_texts != (known.dtype.kind == "U"):
        raise UserError(f"{path}: labels must be whole numbers or text in both files, got {labels.dtype}")
    places = np.searchsorted(known, labels)
    strange = np.unique(labels[known[np.minimum(places, len(known) - 1)] != labels])
    if len(strange):
        raise UserError(f"{path}: labels without training samples or a name: {', '.join(map(str, strange[:10]))}")
    return places.astype(np.int64)
