"""The 50,000 labelled reviews of IMDB (Maas et al., 2011), packed in either of two ways, as token ids."""

import gzip
import json
import lzma
import re
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from torchvision.datasets.utils import download_url

from experiments.datasets import Data, obtaining, reading

ARCHIVE = "aclImdb_v1.tar.gz"
URL, MD5 = f"https://ai.stanford.edu/~amaas/data/sentiment/{ARCHIVE}", "7c2ac02c03563afcf9b574c7e56c153a"
WHAT = "the data set 'imdb', in one of two layouts,"
LAYOUTS = ["imdb/train.jsonl.xz and test.jsonl.xz", ARCHIVE]

# A review of the archive: its part, class, number and rating; the unlabelled ones do not match.
_MEMBER = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_\d+\.txt$")


class Review(NamedTuple):
    part: str
    number: int
    label: int
    text: str


@lru_cache(maxsize=1)
def load_imdb(root: Path, max_tokens: int) -> Data:
    """The reviews as token ids, four fifths of each class for training; words as the training part has them."""
    reviews = read_reviews(root)
    texts, labels = np.array([review.text for review in reviews], object), np.array([one.label for one in reviews])
    # The authors' split into 40,000 and 10,000 reviews; it is the same for every seed.
    parts = train_test_split(np.arange(len(reviews)), test_size=0.2, stratify=labels, random_state=42)
    tokenizer = word_tokenizer(texts[parts[0]].tolist(), max_tokens)
    inputs = (encode(tokenizer, texts[part].tolist(), max_tokens) for part in parts)
    return Data.labelled(inputs, (labels[part] for part in parts), ("negative", "positive"))


def word_tokenizer(texts: Sequence[str], max_tokens: int) -> Tokenizer:
    """Learn the lower-cased words and runs of punctuation that are seen at least twice in these texts.

    Id 0 is padding and 1 any other word. Texts are cut or filled up to ``max_tokens``.
    """
    tokenizer = Tokenizer(WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("<br />", " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    unbounded, special = 2**31 - 1, ["<pad>", "<unk>"]  # the library's own default is 30,000 words
    trainer = WordLevelTrainer(vocab_size=unbounded, min_frequency=2, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>", length=max_tokens)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> np.ndarray:
    """Token ids, int64, shape ``(num_texts, max_tokens)``."""
    ids = np.empty((len(texts), max_tokens), dtype=np.int64)
    for start in range(0, len(texts), 1000):  # all at once, Python's numbers take nine times the memory
        ids[start : start + 1000] = [one.ids for one in tokenizer.encode_batch(texts[start : start + 1000])]
    return ids


def read_reviews(root: Path) -> list[Review]:
    """Both parts of the original, in an order that does not hang on the layout."""
    return sorted(_read_lines(root) if any((root / "imdb").glob("*.jsonl.xz")) else _read_archive(root))


def _read_lines(root: Path) -> Iterator[Review]:
    """One JSON object a line, ``id``, ``label`` and ``text``, packed with xz."""
    for part in ("train", "test"):
        path = root / "imdb" / f"{part}.jsonl.xz"
        with obtaining(WHAT, root, LAYOUTS, "put both files there"):
            path.stat()
        with reading(path), lzma.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                yield Review(part, row["id"], row["label"], row["text"])


def _read_archive(root: Path) -> Iterator[Review]:
    """The authors' archive; it is fetched first if it is not there."""
    path = root / ARCHIVE
    if not path.is_file():
        with obtaining(WHAT, root, LAYOUTS, f"put the file {URL} there"):
            download_url(URL, str(root), ARCHIVE, MD5)
    # Unpacked by gzip itself: tarfile's own "r|gz" takes the end of a file that was cut short for the archive's.
    with reading(path), gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for member in archive:
            if (of := _MEMBER.search(member.name)) and (file := archive.extractfile(member)):
                yield Review(of[1], int(of[3]), int(of[2] == "pos"), file.read().decode("utf-8"))
        while unpacked.read(2**20):  # behind the last member lies the check sum of the whole
            continue
