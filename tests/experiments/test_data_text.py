"""The reviews of IMDB from every layout, and their tokens against a count in plain Python."""

import lzma
import re
from collections import Counter

import numpy as np
import pytest
import torch

from data_files import cut_short, data_of, write_imdb_archive, write_imdb_lines
from experiments.datasets import text
from experiments.datasets.text import encode, load_imdb, read_reviews, word_tokenizer
from experiments.errors import UserError

WORDS = ["The", "film", "was", "GOOD", "bad,", "awful!!", "it's", "Crème", "<br /><br />", "1984.", "...", "so"]
WRITERS = (write_imdb_lines, write_imdb_archive)


def reviews(num: int = 10) -> list[tuple[str, int, int, str]]:
    rng = np.random.default_rng(0)
    return [
        (part, label, number, " ".join(rng.choice(WORDS, size=rng.integers(1, 12))))
        for part in ("train", "test")
        for number in range(num)
        for label in (0, 1)
    ]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError("no network here")

    monkeypatch.setattr(text, "download_url", refuse)


@pytest.mark.parametrize("write", WRITERS)
def test_every_layout_gives_the_same_reviews(tmp_path, write):
    written = reviews()
    write(tmp_path, written)
    assert read_reviews(tmp_path) == sorted((part, number, label, text) for part, label, number, text in written)


def test_a_fifth_of_each_class_is_for_testing(tmp_path):
    write_imdb_lines(tmp_path, reviews(20))
    data = load_imdb(tmp_path, 8)
    assert data.group_names == ("negative", "positive")
    assert (data.counts(data.train), data.counts(data.test)) == ([32, 32], [8, 8])
    assert data.train.inputs.shape == (64, 8)
    assert data.train.inputs.dtype == torch.int64


def test_negative_reviews_are_cut(tmp_path):
    write_imdb_lines(tmp_path, reviews(25))
    data = data_of("imdb", tmp_path)
    assert data.counts(data.train) == [12, 40]
    assert data.counts(data.test) == [10, 10]
    assert data.train.inputs.shape == (52, 500)


def plain_tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text.replace("<br />", " ").lower())


def test_tokens_are_those_of_a_plain_count():
    texts = [text for *_, text in reviews(30)] + ["Seen once only", "film film"]
    tokenizer = word_tokenizer(texts, max_tokens=6)
    counts = Counter(token for text in texts for token in plain_tokens(text))
    known = {token for token, count in counts.items() if count >= 2}
    vocabulary = tokenizer.get_vocab()
    assert vocabulary.keys() - {"<pad>", "<unk>"} == known
    assert sorted(vocabulary.values()) == list(range(len(known) + 2))
    assert (vocabulary["<pad>"], vocabulary["<unk>"]) == (0, 1)
    new_texts = [*texts, "an unheard-of FILM", "", "good " * 50]
    expected = [[vocabulary.get(token, 1) for token in plain_tokens(text)][:6] for text in new_texts]
    ids = encode(tokenizer, new_texts, 6)
    assert ids.tolist() == [row + [0] * (6 - len(row)) for row in expected]


def test_more_words_are_learnt_than_the_librarys_default():
    texts = [f"word{number} word{number}" for number in range(31_000)]
    assert word_tokenizer(texts, 4).get_vocab_size() == 31_002


def test_words_of_the_test_part_are_not_learnt(tmp_path):
    write_imdb_lines(tmp_path, ((*review[:3], "w{}{}x{} ".format(*review) * 2) for review in reviews()))
    data = load_imdb(tmp_path, 2)
    assert (data.train.inputs > 1).all()
    assert (data.test.inputs == 1).all()


def test_a_missing_set_names_the_folder_the_layouts_and_the_source(tmp_path, no_network):
    with pytest.raises(UserError) as caught:
        data_of("imdb", tmp_path)
    for part in (str(tmp_path), "imdb/train.jsonl.xz", "aclImdb_v1.tar.gz", "https://", "no network here"):
        assert part in str(caught.value)


@pytest.mark.parametrize("missing", ["imdb/test.jsonl.xz", "imdb/train.jsonl.xz"])
def test_half_a_set_is_missing(tmp_path, missing):
    write_imdb_lines(tmp_path, reviews())
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match="put both files there"):
        read_reviews(tmp_path)


@pytest.mark.parametrize(
    ("write", "file"),
    [(write_imdb_lines, "imdb/test.jsonl.xz"), (write_imdb_archive, "aclImdb_v1.tar.gz")],
)
@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_cut_file_is_named(tmp_path, write, file, share):
    write(tmp_path, reviews())
    cut_short(tmp_path / file, share)
    with pytest.raises(UserError, match=rf"{file} cannot be read"):
        read_reviews(tmp_path)


@pytest.mark.parametrize("line", ["{", '{"id": 1, "label": 0}', "[]"])
def test_a_line_of_another_form_is_named(tmp_path, line):
    write_imdb_lines(tmp_path, reviews())
    with lzma.open(tmp_path / "imdb" / "train.jsonl.xz", "at") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"imdb/train\.jsonl\.xz cannot be read"):
        read_reviews(tmp_path)


def test_real_reviews(real_data):
    found = read_reviews(real_data)
    assert len(found) == 50_000
    assert sum(review.label for review in found) == 25_000
    assert [review.number for review in found[:4]] == [0, 0, 1, 1]
