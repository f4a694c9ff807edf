"""Texts as token ids, with a vocabulary of whole words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer

PADDING, UNKNOWN = "<pad>", "<unk>"
LEAST_SEEN = 2
# Rows are turned into an array so many at a time, as Python's numbers take nine times the memory.
CHUNK = 1000


def word_tokenizer(texts: Sequence[str], max_tokens: int) -> Tokenizer:
    """Learn the words that are seen at least twice in these texts.

    Lower-cased words and runs of punctuation are tokens; the line breaks ``<br />`` of the reviews are none. Id 0 is
    padding and 1 any other word. Texts are cut or filled up to ``max_tokens``.
    """
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("<br />", " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # A vocabulary without bound: the library's own default is 30,000 words.
    trainer = WordLevelTrainer(
        vocab_size=2**31 - 1, min_frequency=LEAST_SEEN, special_tokens=[PADDING, UNKNOWN], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=0, pad_token=PADDING, length=max_tokens)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Token ids, int64, shape ``(num_texts, max_tokens)``."""
    return np.concatenate(list(_encode_chunks(tokenizer, texts)))


def _encode_chunks(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[np.ndarray]:
    for start in range(0, len(texts), CHUNK):
        yield np.array([one.ids for one in tokenizer.encode_batch(texts[start : start + CHUNK])], dtype=np.int64)
