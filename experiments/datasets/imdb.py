"""The 50,000 labelled reviews of IMDB (Maas et al., 2011), from any of the layouts that they come in."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from torchvision.datasets.utils import download_url

from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.splits import missing
from experiments.datasets.tokens import encode, word_tokenizer
from experiments.errors import UserError

ARCHIVE = "aclImdb_v1.tar.gz"
URL = f"https://ai.stanford.edu/~amaas/data/sentiment/{ARCHIVE}"
MD5 = "7c2ac02c03563afcf9b574c7e56c153a"

CLASSES = ("negative", "positive")
# The authors', for their split into 40,000 and 10,000 reviews; it is the same for every seed.
TEST_SHARE, SPLIT_SEED = 0.2, 42

# A review of the archive: its part, class, number and rating; the unlabelled ones do not match.
_MEMBER = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_\d+\.txt$")


class Review(NamedTuple):
    """A review and where it stood in the archive; sorting reviews puts them in the same order from every layout."""

    part: str
    number: int
    label: int
    text: str


@lru_cache(maxsize=1)
def load_imdb(root: Path, max_tokens: int) -> Labelled:
    """The reviews as token ids, four fifths of each class for training; words as the training part has them.

    Raises:
        UserError: if they are not there and cannot be downloaded, or a file is broken.
    """
    reviews = read_reviews(root)
    labels = np.array([review.label for review in reviews])
    train, test = train_test_split(
        np.arange(len(reviews)), test_size=TEST_SHARE, stratify=labels, random_state=SPLIT_SEED
    )
    tokenizer = word_tokenizer([reviews[place].text for place in train], max_tokens)
    train_part, test_part = (
        Part(encode(tokenizer, [reviews[place].text for place in part]), labels[part]) for part in (train, test)
    )
    return Labelled(train_part, test_part, CLASSES)


def read_reviews(root: Path) -> list[Review]:
    """Both parts of the original, in an order that does not hang on the layout."""
    if any((root / "imdb").glob("*.jsonl.xz")):
        reviews = list(_read_lines(root))
    elif (root / "aclImdb").is_dir():
        reviews = list(_read_folder(root))
    else:
        reviews = list(_read_archive(root))
    return sorted(reviews)


def _read_lines(root: Path) -> Iterator[Review]:
    """One JSON object a line, ``id``, ``label`` and ``text``, packed with xz."""
    for part in ("train", "test"):
        path = root / "imdb" / f"{part}.jsonl.xz"
        if not path.is_file():
            raise _missing(root, "put both files there")
        try:
            with lzma.open(path, "rt", encoding="utf-8") as lines:
                for row in map(json.loads, lines):
                    yield Review(part, row["id"], row["label"], row["text"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, lzma.LZMAError) as error:
            raise _cut(path, error) from error


def _read_folder(root: Path) -> Iterator[Review]:
    """The archive, unpacked."""
    for part in ("train", "test"):
        for label, folder in enumerate(("neg", "pos")):
            paths = sorted((root / "aclImdb" / part / folder).glob("*.txt"))
            if not paths:
                raise _missing(root, f"unpack {ARCHIVE} anew: aclImdb/{part}/{folder} has no reviews")
            for path in paths:
                text = path.read_text(encoding="utf-8")
                if not text:
                    raise _cut(path, "it is empty")
                yield Review(part, int(path.stem.partition("_")[0]), label, text)


def _read_archive(root: Path) -> Iterator[Review]:
    """The archive as it is; it is fetched first if it is not there."""
    path = root / ARCHIVE
    if not path.is_file():
        try:
            download_url(URL, str(root), ARCHIVE, MD5)
        except (OSError, RuntimeError) as error:
            failed = f"The download just failed: {error}"
            raise _missing(root, f"put the file {URL} there, packed or unpacked. {failed}") from error
    try:
        # Unpacked by gzip itself: tarfile's own "r|gz" takes the end of a file that was cut short for the archive's.
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            for member in archive:
                if found := _MEMBER.search(member.name):
                    part, folder, number = found.groups()
                    file = archive.extractfile(member)
                    text = "" if file is None else file.read().decode("utf-8")
                    yield Review(part, int(number), int(folder == "pos"), text)
            # Behind the last member lies the check sum of the whole.
            while unpacked.read(2**20):
                continue
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise _cut(path, error) from error


def _missing(root: Path, fetch: str) -> UserError:
    layout = ["imdb/train.jsonl.xz and test.jsonl.xz", "aclImdb/{train,test}/{neg,pos}/*.txt", ARCHIVE]
    return missing("the data set 'imdb', in one of three layouts,", root, layout, fetch)


def _cut(path: Path, why: object) -> UserError:
    return UserError(f"{path} cannot be read, it may be cut short: {why}; get it anew")
