"""The tables' numbers, against scipy, plain loops and values worked out by hand."""

import io
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from experiments.errors import UserError
from experiments.report import report
from experiments.report.collect import collect
from experiments.report.intervals import HIGHER, LOWER, NOT_SHOWN, Effect, Interval
from experiments.report.sections import AT, Section
from experiments.report.tables import (
    OVERVIEW,
    PROBLEMS,
    PUBLISHED,
    Table,
    error_table,
    overview_table,
    section_tables,
)
from made_up import record, write, write_failure, write_unsuitable
from report_tables import cell, named, rows, section_of


def at(section: Section, share: float, method: str = "classical") -> list[float]:
    (at_share,) = (name for name, one in AT.items() if one == share)
    return section.measures[at_share][method].tolist()


class TestIntervals:
    def test_the_mean_has_students_interval(self):
        values = [3.1, 2.7, 4.4, 3.0, 2.9]
        low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
        interval = Interval.of(values)
        assert interval.mean == pytest.approx(np.mean(values))
        assert (interval.mean - interval.half_width, interval.mean + interval.half_width) == pytest.approx((low, high))

    def test_one_seed_has_no_interval(self):
        assert Interval.of([2.0]).show() == "2.00"

    @pytest.mark.parametrize(
        ("mean", "half_width", "text"),
        [
            (18.234, 0.567, "18.2 ± 0.6"),
            (0.0737, 0.01, "0.0737 ± 0.0100"),
            (312.4, 5.5, "312 ± 6"),
            (0, 0, "0.00 ± 0.00"),
            (math.nan, math.nan, "-"),
        ],
    )
    def test_three_digits_are_shown(self, mean, half_width, text):
        assert Interval(mean, half_width).show() == text

    def test_a_ratio_is_that_of_the_paired_t_test_of_the_logarithms(self):
        ours, theirs = [1.0, 2.5, 2.0, 4.0], [2.0, 3.0, 3.5, 5.0]
        test = stats.ttest_rel(np.log(ours), np.log(theirs))
        low, high = np.exp(test.confidence_interval(0.95))
        ratio = Effect.of(ours, theirs)
        assert ratio.mean == pytest.approx(math.prod(a / b for a, b in zip(ours, theirs, strict=True)) ** (1 / 4))
        assert (ratio.low, ratio.high) == pytest.approx((low, high))

    @pytest.mark.parametrize("trial", range(50))
    def test_a_difference_is_named_only_where_the_paired_test_rejects(self, trial):
        rng = np.random.default_rng(trial)
        ours, theirs = np.exp(rng.normal(rng.normal(scale=0.3), 0.3, 5)), np.exp(rng.normal(0, 0.3, 5))
        test = stats.ttest_rel(np.log(ours), np.log(theirs))
        expected = NOT_SHOWN if test.pvalue >= 0.05 else LOWER if test.statistic < 0 else HIGHER
        assert Effect.of(ours, theirs).word == expected

    @pytest.mark.parametrize(
        ("low", "high", "words"),
        [
            (0.5, 0.9, LOWER),
            (1.1, 1.3, HIGHER),
            (0.9, 1.1, NOT_SHOWN),
            (0.9, 1.0, NOT_SHOWN),
            (1.0, 1.1, NOT_SHOWN),
            (1.0, 1.0, NOT_SHOWN),
            (math.nan, math.nan, NOT_SHOWN),
        ],
    )
    def test_the_words_follow_from_the_interval_alone(self, low, high, words):
        assert Effect(0.7, low, high).word == words

    def test_one_seed_shows_no_difference(self):
        assert Effect.of([1.0], [2.0]).show() == f"0.500 (one seed) {NOT_SHOWN}"

    def test_no_seeds_zeros_and_unknown_errors_have_no_ratio(self):
        for ours, theirs in (([], []), ([0.0, 1.0], [1.0, 1.0]), ([math.nan, 1.0], [1.0, 1.0])):
            assert Effect.of(ours, theirs).show() == "-"
            assert Effect.of(ours, theirs).word == NOT_SHOWN

    def test_enough_digits_are_shown_to_see_the_difference(self):
        assert Effect(0.9991, 0.9984, 0.99984).show() == "0.9991 [0.9984, 0.9998] lower"
        assert Effect(1.00002, 1.00001, 1.00003).show() == "1.00002 [1.00001, 1.00003] higher"
        assert Effect(1.0, 0.9999, 1.0001).show() == f"1.000 [1.000, 1.000] {NOT_SHOWN}"


class TestLength:
    def test_quarters_are_rounded_up_to_whole_epochs(self, folder):
        section = section_of(folder, record("classical", 0, [float(epoch) for epoch in range(1, 31)]))
        assert [at(section, share) for share in (1 / 4, 1 / 2, 1)] == [[8], [15], [30]]

    def test_short_runs_have_quarters_too(self, folder):
        section = section_of(folder, record("classical", 0, [1.0, 2.0]))
        assert [at(section, share) for share in (1 / 4, 1 / 2, 1)] == [[1], [1], [2]]

    def test_quarters_of_a_budget_are_counted_in_seconds(self, folder):
        budget = {"config": {"time_budget": 4.0, "epochs": 100}}
        slow, fast = record("classical", 0, [1.0, 2.0], **budget), record("classical", 1, [1.0, 2, 3, 4, 5], **budget)
        for run, seconds in ((slow, (3.0, 3.0)), (fast, (0.2, 0.2, 0.7, 1.5, 2.0))):
            for row, of_row in zip(run["history"], seconds, strict=True):
                row["train_seconds"] = of_row
        section = section_of(folder, slow, fast)
        # The first epoch that ends at 1, 2, 4 seconds or later: after 3, 3, 6 seconds, and after 1.1, 2.6, 4.6.
        assert [at(section, share) for share in (1 / 4, 1 / 2, 1)] == [[1, 3], [1, 4], [2, 5]]
        assert "the budget of 4 s" in error_table(section).note

    def test_a_run_that_ends_before_its_budget_is_read_at_its_end(self, folder):
        run = record("classical", 0, [5.0, 4.0], config={"time_budget": 100.0})
        assert at(section_of(folder, run), 1) == [4]


class TestErrors:
    def test_are_means_over_seeds_in_the_tasks_unit(self, folder):
        runs = [
            record("classical", seed, errors, objective={"kind": "classification", "error_name": "e, %", "scale": 100})
            for seed, errors in enumerate(([0.4, 0.2], [0.6, 0.3]))
        ]
        table = error_table(section_of(folder, *runs))
        assert table.title == "e, %"
        half_width = stats.t.ppf(0.975, 1) * stats.sem([20, 30])
        assert cell(table, "classical", "at the end") == f"25.0 ± {half_width:.1f}"

    def test_the_worst_group_is_found_for_each_seed(self, folder):
        runs = [record("classical", seed, [1.0]) for seed in (0, 1)]
        runs[0]["history"][-1]["test_by_group"] = [7.0, 2.0]
        runs[1]["history"][-1]["test_by_group"] = [3.0, None]
        section = section_of(folder, *runs)
        assert section.measures["worst group"]["classical"].tolist() == [7, 3]

    def test_rows_stand_in_the_order_of_the_registry(self, folder):
        section = section_of(folder, *(record(name, 0, [1.0]) for name in ("my-own", "balanced", "classical")))
        assert list(error_table(section).cells.index) == ["classical", "balanced", "my-own"]


def catching_up(section: Section, method: str) -> str:
    return cell(error_table(section), method, "catches up, epochs")


class TestCatchingUp:
    def test_is_paired_by_seed(self, folder):
        section = section_of(
            folder,
            record("learn2mix", 0, [4, 3, 2, 1]),  # at classical's 3 after 2
            record("learn2mix", 1, [9, 8, 7, 2]),  # at classical's 2 after 4
            record("classical", 0, [5, 4, 4, 3]),
            record("classical", 1, [5, 1, 3, 2]),
        )
        assert catching_up(section, "learn2mix") == Interval.of([2, 4]).show(1)
        assert catching_up(section, "classical") == Interval.of([4, 2]).show(1)

    def test_seeds_that_never_do_are_told(self, folder):
        records = [record("classical", seed, [5, 1]) for seed in (0, 1)]
        section = section_of(folder, *records, record("learn2mix", 0, [5, 4]), record("learn2mix", 1, [1, 4]))
        assert catching_up(section, "learn2mix") == "1.0 (1/2 seeds)"

    def test_seeds_that_only_one_of_both_has_do_not_count(self, folder):
        both = [record("classical", seed, [5, 4]) for seed in (0, 1)]
        more = section_of(folder / "a", *both, record("learn2mix", 0, [4, 3]))
        assert catching_up(more, "learn2mix") == "1.0"
        both = [record("learn2mix", seed, [4, 3]) for seed in (0, 1)]
        fewer = section_of(folder / "b", record("classical", 0, [5, 4]), *both)
        assert catching_up(fewer, "learn2mix") == "1.0"

    def test_no_seed_may_do(self, folder):
        section = section_of(folder, record("classical", 0, [5, 1]), record("learn2mix", 0, [5, 4]))
        assert catching_up(section, "learn2mix") == "never"
        assert catching_up(section_of(folder / "other", record("learn2mix", 0, [5])), "learn2mix") == "-"


def against(sections: list[Section], which: int) -> Table | None:
    """All against classical, then learn2mix against each half-way and at the end."""
    return overview_table(
        [title for title in OVERVIEW if (" against " in title and "each" in title) or "All" in title][which], sections
    )


class TestRatios:
    def test_are_paired_by_seed(self, folder):
        ours, theirs = {0: 1.0, 1: 2.0, 3: 4.0}, {0: 2.0, 1: 3.0, 2: 100.0, 3: 6.0}
        section = section_of(
            folder,
            *(record("learn2mix", seed, [error]) for seed, error in ours.items()),
            *(record("classical", seed, [error]) for seed, error in theirs.items()),
        )
        expected = Effect.of([1, 2, 4], [2, 3, 6]).show()
        assert cell(named(section, "Ratio to classical"), "learn2mix", "at the end") == expected
        assert cell(against([section], 0), "toy", "learn2mix") == expected

    def test_of_learn2mix_to_every_other_method_need_no_baseline(self, folder):
        errors = {"learn2mix": [[4.0, 1.0], [6.0, 2.5], [5.0, 2.0]], "balanced": [[2.0, 2.0], [9.0, 3.0], [8.0, 3.5]]}
        section = section_of(
            folder, *(record(name, seed, of_seed) for name, runs in errors.items() for seed, of_seed in enumerate(runs))
        )
        for fraction, place in ((1 / 2, 0), (1.0, 1)):
            ours, theirs = ([run[place] for run in errors[name]] for name in ("learn2mix", "balanced"))
            low, high = np.exp(stats.ttest_rel(np.log(ours), np.log(theirs)).confidence_interval(0.95))
            table = against([section], 1 if fraction < 1 else 2)
            assert list(table.cells) == ["balanced"]
            shown = cell(table, "toy", "balanced")
            assert shown.startswith(f"{stats.gmean(np.divide(ours, theirs)):.3f} [{low:.3f}, {high:.3f}] ")
        assert against([section_of(folder / "other", record("balanced", 0, [1.0]))], 2) is None

    def test_need_a_baseline(self, folder):
        section = section_of(folder, record("learn2mix", 0, [1.0]))
        assert named(section, "Ratio to classical") is None
        assert against([section], 0) is None
        assert overview_table("learn2mix against classical", [section]) is None

    def test_without_common_seeds_there_are_none(self, folder):
        section = section_of(folder, record("learn2mix", 0, [1.0]), record("classical", 1, [1.0]))
        assert cell(named(section, "Ratio to classical"), "learn2mix", "at the end") == "-"

    def test_no_table_claims_a_difference_that_is_not_shown(self, folder):
        rng = np.random.default_rng(0)
        methods = ("learn2mix", "classical", "balanced", "importance")
        section = section_of(
            folder, *(record(name, seed, rng.uniform(1, 3, 8).tolist()) for name in methods for seed in range(4))
        )
        num_named = 0
        of_all = (
            overview_table("learn2mix against classical", [section]),
            *(against([section], which) for which in range(3)),
        )
        for table in (named(section, "Ratio to classical"), *of_all):
            for text in (text for row in rows(table) for text in row if "[" in text):
                low, high = (float(bound) for bound in text.split("[")[1].split("]")[0].split(", "))
                words = " ".join(text.split("]")[1].split())
                assert words == (LOWER if high < 1 else HIGHER if low > 1 else NOT_SHOWN)
                num_named += 1
        assert num_named > 10


class TestGroups:
    def test_the_largest_group_is_the_one_with_most_training_samples(self, folder):
        section = section_of(folder, record("learn2mix", 0, [4.0]), record("classical", 0, [2.0]))
        assert cell(error_table(section), "learn2mix", "worst group") == "8.00"
        assert cell(named(section, "Ratio to classical"), "learn2mix", "worst group").startswith("2.000")
        assert cell(named(section, "Ratio to classical"), "learn2mix", "largest group (common)").startswith("2.000")


class TestTime:
    @pytest.fixture
    def runs(self):
        return [record(name, seed, [1.0] * 3) for name in ("learn2mix", "classical") for seed in (0, 1)]

    def give_seconds(self, runs, *seconds) -> None:
        for run, of_run in zip(runs, seconds, strict=True):
            for row, of_row in zip(run["history"], of_run, strict=True):
                row["train_seconds"] = of_row

    def test_is_each_seeds_median_epoch_and_its_ratio(self, folder, runs):
        self.give_seconds(runs, [1, 2, 9], [3, 4, 8], [1, 1, 1], [5, 2, 1])
        table = named(section_of(folder, *runs), "Time")
        assert cell(table, "learn2mix", "s an epoch") == Interval.of([2, 4]).show()
        assert cell(table, "learn2mix", "ratio") == Effect.of([2, 4], [1, 2]).show()
        assert cell(table, "learn2mix", "preparation, s") == "0.500 ± 0.000"
        assert cell(table, "classical", "ratio") == "-"

    def test_seeds_whose_seconds_differ_by_more_than_a_factor_of_2_have_none(self, folder, runs):
        self.give_seconds(runs, [1, 1, 1], [2.1, 2.1, 2.1], [1, 1, 1], [1, 1, 1])
        section = section_of(folder, *runs)
        assert named(section, "Time") is None
        assert not any(" s " in f" {name} " for table in section_tables(section) for name in table.cells)


class TestPublished:
    def test_is_an_accuracy_where_there_are_classes(self, folder):
        classes = {"kind": "classification", "error_name": "test error, %", "scale": 100.0}
        runs = [record(name, 0, [0.25], task="cifar10", objective=classes) for name in ("learn2mix", "classical")]
        table = overview_table("learn2mix against classical", [section_of(folder, *runs)])
        assert cell(table, "cifar10", "measure") == "test accuracy, %"
        assert cell(table, "cifar10", "classical, end") == "75.0 (paper 59.62 ± 0.16)"

    def test_there_is_none_for_other_tasks(self, folder):
        runs = [record(name, 0, [8.0]) for name in ("learn2mix", "classical")]
        table = overview_table("learn2mix against classical", [section_of(folder, *runs)])
        assert cell(table, "toy", "classical, end") == "8.00"

    def test_learn2mix_has_all_three_numbers_of_every_task_of_the_paper(self):
        ours = PUBLISHED.xs("learn2mix", level="method")
        assert len(ours) == len(PUBLISHED.index.unique("task")) == 12
        assert (ours != "").all(axis=None)

    def test_is_in_the_overview(self, folder):
        runs = [record(name, 0, [8.0, 2.0], task="wine-quality") for name in ("learn2mix", "classical")]
        (row,) = rows(overview_table("learn2mix against classical", [section_of(folder, *runs)]))
        assert row[0] == "wine-quality"
        assert "1 seed, 2 epochs (the task's: 300)" in row[1]
        assert "8.00 (paper 4.26 ± 1.55)" in row


class TestSettings:
    def test_runs_with_other_settings_of_the_task_are_sections_of_their_own(self, folder):
        write(folder / "a", record("classical", 0, [1.0]), record("learn2mix", 0, [1.0]))
        write(folder / "b", record("classical", 0, [1.0], config={"lr": 0.5}))
        sections, _ = collect([folder])
        assert [section.title for section in sections] == ["toy (lr=0.01)", "toy (lr=0.5)"]
        assert [len(section.trained) for section in sections] == [2, 1]
        assert [section.slug for section in sections] == ["toy-lr-0.01", "toy-lr-0.5"]

    @pytest.fixture
    def several_rates(self, folder):
        for rate, error in ((0.1, 4.0), (0.5, 3.0), (0.02, 5.0)):
            runs = (record("learn2mix", seed, [9.0, error + seed], config={"mixing_rate": rate}) for seed in (0, 1))
            write(folder / f"rate-{rate}", *runs)
        write(folder, *(record("classical", seed, [9.0, 6.0]) for seed in (0, 1)))
        (section,), _ = collect([folder])
        return section

    def test_several_mixing_rates_are_variants_of_one_method(self, several_rates):
        assert list(several_rates.methods) == [
            "learn2mix (mixing_rate=0.02)",
            "learn2mix",
            "learn2mix (mixing_rate=0.5)",
            "classical",
        ]
        assert several_rates.compared == ["learn2mix", "classical"]

    def test_a_run_that_is_stored_twice_counts_once_and_is_told(self, folder):
        write(folder / "a", record("classical", 0, [1.0]))
        write(folder / "b", record("classical", 0, [2.0]))
        (section,), notes = collect([folder])
        assert at(section, 1) == [1.0]
        assert len(notes) == 1
        assert "toy classical seed 0 is stored twice" in notes[0]
        (section,), notes = collect([folder / "a", folder / "a"])
        assert notes == []

    def test_runs_on_other_groups_are_not_joined(self, folder):
        other = record("learn2mix", 0, [1.0])
        other["groups"]["names"] = ["red", "white"]
        write(folder, record("classical", 0, [1.0]), other)
        with pytest.raises(UserError, match="learn2mix seed 0 and classical seed 0 were trained on different groups"):
            collect([folder])


CONFIG = {"epochs": 1, "lr": 0.01}


class TestProblems:
    def test_missing_failed_and_left_out_runs_are_shown(self, folder):
        write(folder, *(record("classical", seed, [1.0]) for seed in (0, 1, 2)), record("balanced", 1, [1.0]))
        for seed in (0, 2):
            write_failure(folder, "importance", seed, "MemoryError: all gone", CONFIG)
        write_unsuitable(folder, "focal", "there is no class", CONFIG)
        (section,), _ = collect([folder])
        num_seeds = error_table(section).cells["seeds"].to_dict()
        assert num_seeds == {"classical": "3", "balanced": "1", "focal": "0", "importance": "0"}
        assert rows(overview_table(PROBLEMS, [section])) == [
            ("toy", "balanced", "0, 2", "missing"),
            ("toy", "focal", "all", "left out: there is no class"),
            ("toy", "importance", "0, 2", "failed: MemoryError: all gone"),
            ("toy", "importance", "1", "missing"),
        ]

    def test_a_failure_that_has_been_mended_is_forgotten(self, folder):
        write_failure(folder, "classical", 0, "no", CONFIG)
        section = section_of(folder, record("classical", 0, [1.0]))
        assert overview_table(PROBLEMS, [section]) is None

    def test_failures_alone_make_a_report(self, folder):
        write_failure(folder, "classical", 0, "ValueError: [x]", CONFIG)
        screen = Console(file=io.StringIO(), width=120)
        report([folder], screen)
        assert "ValueError: [x]" in screen.file.getvalue()
        assert "ValueError: [x]" in (folder / "report.html").read_text()

    def test_an_empty_folder_is_an_error(self, folder):
        with pytest.raises(UserError, match="no runs in"):
            report([folder], Console(file=io.StringIO()))


def test_commands_settings_and_hardware_are_stated(folder):
    config = {"config": {"lr": 0.5}, "command": "python -m experiments run toy --set lr=0.5"}
    section = section_of(folder, *(record("classical", seed, [1.0] * 4, **config) for seed in (0, 1)))
    made = named(section, "How the runs were made")
    assert cell(made, "command", "what") == "python -m experiments run toy --set lr=0.5"
    assert '"processor": "an abacus", "cpus": 2' in cell(made, "made on", "what")
    assert '"lr": 0.5' in cell(made, "settings", "what")
    without = named(section_of(folder / "other", record("classical", 0, [1.0])), "How the runs were made")
    assert cell(without, "command", "what") == "-"


def test_a_folder_with_some_of_the_runs_is_reported(folder):
    write(folder, record("learn2mix", 0, [3.0, 1.0]), record("learn2mix", 2, [5.0, 3.0]))
    screen = Console(file=io.StringIO(), width=120)
    report([folder], screen)
    text = screen.file.getvalue()
    assert "toy: test MSE" in text
    assert "2.00 ± 12.71" in text  # t(0.975, 1) = 12.706 times the standard error, 1
    assert "<svg" in (folder / "toy-curves.svg").read_text()


def test_the_page_goes_where_it_is_asked_for(folder):
    write(folder / "runs", record("learn2mix", 0, [3.0, 1.0]))
    screen = Console(file=io.StringIO(), width=300)
    report([folder / "runs"], screen, folder / "one" / "page.html")
    assert [path.name for path in (folder / "one").iterdir()] == ["page.html"]
    report([folder / "runs"], screen, folder / "all")
    assert {"report.html", "tables.md", "toy-curves.svg"} <= {path.name for path in (folder / "all").iterdir()}
    assert not (folder / "runs" / "report.html").exists()
    assert f"page: {folder / 'all' / 'report.html'}" in screen.file.getvalue()
