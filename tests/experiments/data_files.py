"""Data sets in small, written in the layouts that the readers know."""

import io
import json
import lzma
import struct
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from experiments.datasets import Data
from experiments.datasets.tables import WINE_COLUMNS
from experiments.execution import load_data
from experiments.plan import plan
from experiments.tasks import find_task

NOWHERE = Path("no-such-folder")

# Training images of each digit, as published.
MNIST_SIZES = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)


def data_of(task: str, root: Path = NOWHERE, seed: int = 0, **overrides: object) -> Data:
    """A task's data as a run has them."""
    run = plan([task], ["classical"], seed + 1, overrides, data_root=root)[seed]
    return load_data(find_task(task, root), run, root)


def cut_short(path: Path, share: float = 0.5) -> None:
    """Leave the beginning of a file, as a download that broke off does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def write_npz(
    root: Path, name: str, num_train: int = 60, shape: tuple[int, ...] = (28, 28), num_classes: int = 10
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    (root / name).mkdir(parents=True)
    written = {}
    for part, size in (("train", num_train), ("test", 2 * num_classes)):
        images = rng.integers(256, size=(size, *shape), dtype=np.uint8)
        np.savez(root / name / f"{part}.npz", images=images, labels=np.arange(size) % num_classes)
        written[part] = images
    return written


def write_sizes(root: Path, name: str, sizes: Sequence[int]) -> None:
    """Images of a single pixel, as many of each class as the real data set has."""
    (root / name).mkdir(parents=True)
    for part, counts in (("train", sizes), ("test", [1] * len(sizes))):
        labels = np.repeat(np.arange(len(sizes)), counts)
        np.savez(root / name / f"{part}.npz", images=np.zeros((len(labels), 1, 1), np.uint8), labels=labels)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_digits(root: Path, folder: str = "MNIST", num_images: int = 12) -> np.ndarray:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(256, size=(num_images, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(num_images) % 10)
    return images


IMAGENETTE_CLASSES = (
    "n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
    "n03445777", "n03888257",
)  # fmt: skip


def write_imagenette(root: Path, num_train: int = 10, num_test: int = 2, size: tuple[int, int] = (40, 30)) -> None:
    """Every picture is one grey all over: ten times its class, plus its number."""
    for part, count in (("train", num_train), ("val", num_test)):
        for label, wnid in enumerate(IMAGENETTE_CLASSES):
            folder = root / "imagenette2" / part / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("L", size, 10 * label + number).save(folder / f"{wnid}_{number}.JPEG", quality=95)


Reviews = Iterable[tuple[str, int, int, str]]  # part, label, number, text


def write_imdb_lines(root: Path, reviews: Reviews) -> None:
    (root / "imdb").mkdir(parents=True)
    rows = {"train": [], "test": []}
    for part, label, number, text in reviews:
        rows[part].append(json.dumps({"id": number, "label": label, "rating": 10, "text": text}))
    for part, lines in rows.items():
        with lzma.open(root / "imdb" / f"{part}.jsonl.xz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def _member(part: str, label: int, number: int) -> str:
    return f"aclImdb/{part}/{('neg', 'pos')[label]}/{number}_{1 + 9 * label}.txt"


def write_imdb_archive(root: Path, reviews: Reviews) -> None:
    with tarfile.open(root / "aclImdb_v1.tar.gz", "w:gz") as archive:
        extra = [("aclImdb/README", "about"), ("aclImdb/train/unsup/0_0.txt", "unlabelled")]
        for name, text in [*((_member(*review[:3]), review[3]) for review in reviews), *extra]:
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_wine(root: Path, num_red: int = 40, num_white: int = 100) -> None:
    rng = np.random.default_rng(0)
    (root / "tabular").mkdir(parents=True, exist_ok=True)
    for color, size, shift in (("red", num_red, 0), ("white", num_white, 7)):
        table = pd.DataFrame({name: shift + rng.normal(size=size) for name in WINE_COLUMNS[:-1]})
        table["quality"] = rng.integers(3, 9, size=size)
        table.to_csv(root / "tabular" / f"winequality-{color}.csv", sep=";", index=False)


PROXIMITIES = ("INLAND", "<1H OCEAN", "NEAR OCEAN", "NEAR BAY", "ISLAND")


def write_housing(root: Path, sizes: Sequence[int] = (40, 80, 120, 160, 5), num_gaps: int = 0) -> pd.DataFrame:
    """Rows of each proximity, in 100,000 dollars; gaps in the first rows."""
    rng = np.random.default_rng(0)
    names = ("longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population",
             "households", "median_income")  # fmt: skip
    table = pd.DataFrame({name: rng.normal(size=sum(sizes)) for name in names})
    table["median_house_value"] = rng.integers(14999, 500002, size=sum(sizes)) / 100_000
    table["ocean_proximity"] = np.repeat(PROXIMITIES, sizes)
    table.loc[: num_gaps - 1, "total_bedrooms"] = np.nan
    (root / "tabular").mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "tabular" / "housing.csv", index=False)
    return table
