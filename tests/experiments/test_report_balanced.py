"""Balanced accuracy and its thirds, by hand; groups that each seed orders otherwise are never mixed in silence."""

import numpy as np
import pytest
from scipy import stats

from experiments.report.collect import collect
from experiments.report.intervals import Effect, Interval
from experiments.report.pictures import draw_section
from experiments.report.sections import THIRDS, Section
from experiments.report.tables import overview_table
from made_up import record, write
from report_tables import named, section_of

CLASSES = {"kind": "classification", "error_name": "test error, %", "scale": 100.0}
NAMES = ["a", "b", "c", "d"]


def run_of(method: str, seed: int, counts: list[int], errors: list[float | None], **changes: object) -> dict:
    """A run of one epoch over four classes, with the mix in proportion to the counts."""
    run = record(method, seed, [np.mean([error for error in errors if error is not None])], **changes)
    mix = (np.array(counts) / sum(counts)).tolist()
    run["objective"] = CLASSES
    run["groups"] = {"names": NAMES, "train_counts": counts, "test_counts": [10] * 4, "initial_proportions": mix}
    run["history"][0] |= {"test_by_group": errors, "proportions": mix}
    return run


# Each seed has its own order of sizes: of a, b, c, d.
COUNTS = ([40, 30, 20, 10], [10, 40, 30, 20], [20, 10, 40, 30])
BALANCED = ([0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.2, 0.2], [0.3, 0.4, 0.2, 0.1])
FADING = ([0.1, 0.1, 0.2, 0.2], [0.3, 0.1, 0.1, 0.2], [0.2, 0.3, 0.2, 0.0])


@pytest.fixture
def section(folder) -> Section:
    runs = [
        run_of(method, seed, COUNTS[seed], errors[seed])
        for method, errors in (("balanced", BALANCED), ("importance", FADING))
        for seed in range(3)
    ]
    return section_of(folder, *runs)


def cell(table, row: str, column: str) -> str:
    return table.cells.loc[row, column]


def test_accuracies_count_every_class_alike(section):
    assert section.measures["balanced accuracy"]["balanced"].tolist() == pytest.approx([75.0, 75.0, 75.0])
    table = named(section, "Balanced accuracy")
    assert cell(table, "balanced", "balanced accuracy") == "75.0 ± 0.0"
    assert cell(table, "balanced", "worst class") == Interval.of([60.0, 50.0, 60.0]).show(1)


def test_thirds_are_those_of_each_runs_own_sizes(section):
    # Of four classes the two largest are many; the largest of seed 1 is b.
    by_hand = [
        [100 - 50 * (0.1 + 0.2), 70.0, 60.0],  # a and b, c, d
        [100 - 50 * (0.1 + 0.2), 80.0, 50.0],  # b and c, d, a
        [100 - 50 * (0.2 + 0.1), 70.0, 60.0],  # c and d, a, b
    ]
    of_balanced = [section.measures[third]["balanced"] for third in THIRDS]
    assert pytest.approx(np.array(by_hand)) == np.array(of_balanced).T
    assert cell(named(section, "Balanced accuracy"), "balanced", "few") == Interval.of([60.0, 50.0, 60.0]).show(1)


def test_differences_are_paired_and_starred_where_the_test_rejects(section):
    ours, theirs = [85.0, 82.5, 82.5], [75.0, 75.0, 75.0]
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert low > 0
    table = named(section, "Balanced accuracy")
    assert cell(table, "importance", "over balanced") == f"+{(low + high) / 2:.1f} ± {(high - low) / 2:.1f}*"
    assert cell(table, "balanced", "over balanced") == "-"
    assert cell(table, "importance", "over logit-adjusted-loss") == "-"


def test_seeds_without_a_partner_do_not_count(folder):
    runs = [run_of("balanced", seed, COUNTS[0], BALANCED[seed]) for seed in (0, 1)]
    runs += [run_of("importance", seed, COUNTS[0], FADING[seed]) for seed in (1, 2)]
    section = section_of(folder, *runs)
    assert cell(named(section, "Balanced accuracy"), "importance", "over balanced") == "+7.5"


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (1.0, 1.0, "+1.0 ± 1.0"),
        (-2.0, 1.0, "-2.0 ± 1.0*"),
        (0.0, 0.0, "+0.0 ± 0.0"),
        (3.0, np.nan, "+3.0"),
        (np.nan, np.nan, "-"),
    ],
)
def test_a_star_is_given_only_where_0_is_left_out(mean, half_width, text):
    assert Effect(mean, mean - half_width, mean + half_width, is_ratio=False).show() == text


def test_classes_without_test_samples_are_left_out(folder):
    section = section_of(folder, run_of("balanced", 0, COUNTS[0], [0.1, 0.3, None, None]))
    assert section.measures["balanced accuracy"].tolist() == pytest.approx([80.0])
    assert [section.measures[third].isna().all() for third in THIRDS] == [False, True, True]


def test_it_is_for_classes_of_unequal_size(folder):
    even = section_of(folder / "a", run_of("balanced", 0, [10] * 4, BALANCED[0]))
    assert named(even, "Balanced accuracy") is None
    assert named(section_of(folder / "b", record("balanced", 0, [1.0])), "Balanced accuracy") is None


def test_variants_are_rows_of_their_own(folder):
    for passes, errors in ((15.0, FADING[0]), (30.0, FADING[1])):
        config = {"mixing_rate": 0.1, "every": "step", "warm_up_epochs": int(passes)}
        write(folder / str(passes), run_of("curriculum", 0, COUNTS[0], errors, config=config))
    (section,), _ = collect([folder / "15.0", folder / "30.0"])
    assert list(named(section, "Balanced accuracy").cells.index) == [
        "curriculum (warm_up_epochs=15)",
        "curriculum (warm_up_epochs=30)",
    ]


class TestOrder:
    def test_groups_of_equal_rank_are_joined_where_seeds_cut_others(self, section):
        assert section.group_names == ["no. 1 by size", "no. 2 by size", "no. 3 by size", "no. 4 by size"]
        assert section.train_counts.tolist() == [40, 30, 20, 10]
        # The smallest: d of seed 0, a of seed 1, b of seed 2.
        assert section.values["test", 3]["balanced"].dropna().tolist() == pytest.approx([40.0, 50.0, 40.0])
        assert section.values["mix"].to_numpy().tolist() == [[0.4, 0.3, 0.2, 0.1]] * 2 * 6

    def test_pictures_say_so(self, section):
        captions = {picture.name: picture.caption for picture in draw_section(section)}
        assert "equal rank" in captions["groups"]

    def test_equal_orders_keep_their_names(self, folder):
        section = section_of(folder, *(run_of("balanced", seed, COUNTS[1], BALANCED[1]) for seed in (0, 1)))
        assert section.group_names == NAMES
        assert section.train_counts.tolist() == COUNTS[1]
        assert not any("equal rank" in picture.caption for picture in draw_section(section))


def test_one_line_a_task_says_what_ours_gains(folder):
    runs = [
        run_of(method, seed, COUNTS[seed], errors[seed])
        for method, errors in (("balanced", BALANCED), ("learn2mix-passes", FADING))
        for seed in range(3)
    ]
    section = section_of(folder, *runs)
    table = overview_table("Long tails", [section])
    assert cell(table, section.title, "seeds") == "3"
    assert cell(table, section.title, "learn2mix-passes") == Interval.of([85.0, 82.5, 82.5]).show(1)
    assert (
        cell(table, section.title, "learn2mix-passes over balanced")
        == Effect.of([10.0, 7.5, 7.5], [0.0] * 3, is_ratio=False).show()
    )
    assert (
        cell(table, section.title, "mix-adjusted")
        == cell(table, section.title, "learn2mix-passes over logit-adjusted-loss")
        == "-"
    )


def test_where_ours_was_not_run_there_is_no_such_line(section):
    assert overview_table("Long tails", [section]) is None
