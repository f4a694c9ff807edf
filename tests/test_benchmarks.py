"""The benchmark measures what it says, marks and finds what got worse, and its page holds the stored figures."""

import csv
import itertools
import math
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks.__main__ as command
from benchmarks import composing, huge, lightning_step, peers, timing, training_step
from benchmarks.bars import BARS, missed
from benchmarks.check import check, worse
from benchmarks.composing import Shape
from benchmarks.page import BEGIN, END, figures, write_page
from benchmarks.picture import digest
from benchmarks.rows import RESULTS, Row, find, load
from benchmarks.tables import tables

DOCS = Path(__file__).parent.parent / "docs"
TINY = Shape(num_groups=5, batch_size=8, least_samples=80)


def row(ratio=1.0, **changes):
    return replace(Row("composing", "ours", 10, 32, 60_000, 2.0, "µs a batch", ratio), **changes)


@pytest.fixture
def one_round(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_ROUNDS", 1)


class TestMeasures:
    """In a tiny mode: every row is there, and its figures are numbers."""

    @pytest.mark.parametrize("name", composing.CONTENDERS)
    def test_a_contender_s_epochs_are_whole_batches_of_samples(self, name):
        batches = composing.CONTENDERS[name](TINY)
        for epoch in (list(batches), list(batches)):
            assert [len(batch) for batch in epoch] == [8] * 10
            assert all(0 <= index < 80 for batch in epoch for index in batch)

    @pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.package)
    def test_a_peer_s_epochs_are_whole_batches_balanced_over_the_groups(self, peer):
        shape = Shape(num_groups=5, batch_size=10, least_samples=2000)
        try:
            batches = peer.make(shape)
        except ImportError:
            pytest.skip(f"{peer.package} is not installed")
        for epoch in (list(batches), list(batches)):
            assert [len(batch) for batch in epoch] == [10] * 200
            drawn = [shape.labels[index] for batch in epoch for index in batch]
            assert all(300 < drawn.count(group) < 500 for group in range(5))

    def test_composing(self, one_round, monkeypatch):
        monkeypatch.setattr(composing, "PEERS", (peers.PEERS[0], peers.Peer("absent", "nowhere", self.not_installed)))
        rows = composing.measure([TINY, Shape(5, 16, 80)], duration=0.0, with_peers=[TINY])
        names = [*composing.CONTENDERS, peers.PEERS[0].name, "absent"]
        assert [row.name for row in rows] == [*names, *composing.CONTENDERS]
        *measured, absent = rows[: len(names)]
        assert (absent.value, absent.ratio, absent.note) == (None, None, "nowhere is not installed")
        assert all(row.value > 0 and row.ratio == row.value / measured[0].value for row in measured)
        assert {(row.num_groups, row.batch_size, row.num_samples) for row in measured} == {(5, 8, 80)}

    @staticmethod
    def not_installed(shape):
        raise ImportError("nowhere")

    def test_a_training_step(self, one_round):
        rows = training_step.measure([4], duration=0.0)
        assert [row.name for row in rows] == [training_step.MLP, training_step.LENET]
        assert all(row.value > 0 for row in rows)

    @pytest.mark.heavy
    def test_a_lightning_step(self, one_round):
        rows = lightning_step.measure(duration=0.0, num_steps=101)
        without, both, added = rows[:3]
        assert added.name == "added by MixingCallback, no logger"
        assert added.value == both.value - without.value
        assert both.ratio == both.value / without.value
        assert all(math.isfinite(row.value) for row in rows)
        assert len(rows) == 6

    @pytest.mark.heavy
    def test_a_size_in_a_process_of_its_own(self):
        rows = huge.measure(sizes=(10**4,), class_sizes=(10**4,), groups=(2,))
        assert [row.name for row in rows] == [*huge.NAMES["dataset"], *huge.NAMES["class"]]
        assert all(row.value >= 0 and row.num_samples == 10**4 for row in rows)
        assert 0.1 < find(rows, huge.MEASURE, huge.STEADY).ratio < 10

    def test_a_size_that_takes_too_long_has_rows_that_say_so(self, monkeypatch):
        late = subprocess.CompletedProcess([], -signal.SIGPROF, "", "")
        monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: late)
        rows = huge.measure(sizes=(10**9,), class_sizes=(), groups=(10,), limit=7)
        assert [(row.value, row.note) for row in rows] == [(None, "not done in 7 s")] * 3

    def test_a_size_that_breaks_is_an_error_with_what_the_process_said(self, monkeypatch):
        broken = subprocess.CompletedProcess([], 1, "", "ZeroDivisionError: division by zero")
        monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: broken)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            huge.measure(sizes=(10**9,), class_sizes=(), groups=(10,))


def test_the_least_of_three_turns_counts_and_the_first_does_not():
    times = {"a": iter([1.0, 5.0, 4.0, 6.0]), "b": iter([9.0, 8.0, 8.0, 7.0])}
    assert timing.take_turns({name: values.__next__ for name, values in times.items()}, 0.0) == {"a": 4.0, "b": 7.0}


class TestCheck:
    @pytest.mark.parametrize(
        ("then", "now", "tolerance", "is_worse"),
        [(1.0, 1.2, 0.25, False), (1.0, 1.3, 0.25, True), (1.0, 1.3, 0.5, False), (2.0, 1.0, 0.0, False)],
    )
    def test_a_row_is_worse_if_its_ratio_grew_by_more_than_the_tolerance(self, then, now, tolerance, is_worse):
        assert bool(worse([row(now)], [row(then)], tolerance)) is is_worse

    def test_a_row_that_took_too_long_is_worse_and_a_new_one_is_not(self):
        late = row(None, value=None, note="not done in 20 s")
        assert worse([late], [row()]) == [(late, row())]
        assert worse([row(9.0, name="new")], [row()]) == []

    def test_the_exit_code_is_1_and_the_row_is_named(self, capsys):
        assert check([lambda: [row(1.5), row(1.0, batch_size=8)]], [row(), row(batch_size=8)]) == 1
        said = capsys.readouterr().out
        assert "worse: composing: ours (K = 10, M = 32, N = 60,000): ratio 1.50, stored 1.00" in said
        assert "M = 8" not in said

    def test_noise_is_measured_again(self):
        ratios, others = iter([1.5, 1.4, 1.1, 1.0]), iter([1.1, 1.0])
        measures = [lambda: [row(next(ratios))], lambda: [row(next(others), batch_size=8)]]
        assert check(measures, [row(), row(batch_size=8)]) == 0
        assert list(ratios) == [1.0], "until it is fine"
        assert list(others) == [1.0], "what is fine is not measured again"

    def test_nothing_to_compare_with_is_no_success(self, capsys):
        assert check([lambda: [row()]], [row(name="another")]) == 2
        assert "make benchmark" in capsys.readouterr().out

    @pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (2.0, 1)])
    def test_the_command_compares_with_the_stored_ratios(self, monkeypatch, factor, code):
        _, stored = load(RESULTS)
        now = [replace(row, ratio=factor * row.ratio) for row in stored if row.ratio is not None]
        monkeypatch.setattr(command, "own_measures", lambda: [lambda: now])
        assert command.main(["check"]) == code


class TestPage:
    def test_the_page_holds_the_stored_figures(self):
        text = (DOCS / "performance.md").read_text(encoding="utf8")
        between = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip("\n")
        assert between == figures(*load(RESULTS)), "run `python -m benchmarks page`"

    def test_the_pictures_are_of_the_stored_figures(self):
        text = (DOCS / "performance.md").read_text(encoding="utf8")
        pictures = re.findall(r'(?:src|srcset)="(.*?)"', text)
        assert len(pictures) == 2
        for picture in pictures:
            drawn = (DOCS / picture).read_text(encoding="utf8")
            assert digest(load(RESULTS)[1]) in drawn, "run `python -m benchmarks page`"

    def test_the_csv_holds_the_same_rows(self):
        _, rows = load(RESULTS)
        with RESULTS.with_suffix(".csv").open(encoding="utf8") as file:
            stored = list(csv.DictReader(file))
        as_text = ["" if row.value is None else str(row.value) for row in rows]
        assert [line["value"] for line in stored] == as_text
        assert [line["name"] for line in stored] == [row.name for row in rows]

    def test_every_bar_is_of_a_row_that_is_measured(self):
        _, rows = load(RESULTS)
        assert [bar for bar in BARS if bar.row(rows) is None] == []

    def test_no_two_rows_are_of_the_same(self):
        _, rows = load(RESULTS)
        assert len({row.key for row in rows}) == len(rows)

    def test_every_contender_and_size_stands_in_a_table(self):
        _, rows = load(RESULTS)
        text = "\n\n".join(table.as_text() for table in tables(rows))
        of_composing = {(row.name, row.batch_size) for row in rows if row.measure == composing.MEASURE}
        assert all(name in text for name, _ in of_composing)
        assert all(f"M = {size:,}" in text for _, size in of_composing)
        assert all(f"K = {size:,}" in text for size in (10, 100, 1000, 10_000, 100_000))
        assert all(f"N = {size:,}" in text for size in huge.SIZES)

    def test_one_command_measures_prints_stores_and_writes(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "performance.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf8")
        for measured, value in itertools.pairwise([None, 7.0, 8.0]):
            rows = [row(name=composing.OBSERVED, value=value)]
            monkeypatch.setattr(command, "measure_all", lambda rows=rows: rows)
            arguments = ["--results", str(tmp_path / "rows.json"), "--docs", str(tmp_path)]
            assert command.main(arguments) == 0
            assert load(tmp_path / "rows.json")[1] == rows
            page, printed = (tmp_path / "performance.md").read_text(encoding="utf8"), capsys.readouterr().out
            assert page.startswith("before\n")
            assert page.endswith("after\n")
            assert "old" not in page
            assert f"{value:.2f} (1.00)" in page
            assert f"{value:.2f} (1.00)" in printed
            assert measured is None or f"{measured:.2f} (1.00)" not in page

    @pytest.mark.parametrize("text", ["no markers", BEGIN, END])
    def test_a_page_without_markers_is_left_alone(self, tmp_path, text):
        (tmp_path / "performance.md").write_text(text, encoding="utf8")
        with pytest.raises(ValueError, match="figures: begin"):
            write_page(tmp_path, load(RESULTS)[0], [row()])
        assert (tmp_path / "performance.md").read_text(encoding="utf8") == text


class TestBars:
    @pytest.mark.parametrize(("value", "is_missed"), [(18.9, False), (19.1, True), (None, True)])
    def test_what_is_above_its_bar_is_marked(self, value, is_missed):
        rows = [row(name=composing.OBSERVED, value=value)]
        assert [found for _, found in missed(rows)] == rows * is_missed
        assert ("!" in tables(rows)[0].as_text()) is is_missed

    @pytest.mark.parametrize(("ratio", "is_missed"), [(0.44, False), (0.46, True)])
    def test_a_bar_of_a_ratio_looks_at_the_ratio(self, ratio, is_missed):
        rows = [row(ratio, name=composing.GROUPED, batch_size=1000, value=1e9)]
        assert bool(missed(rows)) is is_missed
