"""The pictures, as far as a program can look at them."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from experiments.methods import METHODS
from experiments.report.collect import collect
from experiments.report.intervals import Effect
from experiments.report.page import to_inline
from experiments.report.pictures import (
    MAX_GROUPS,
    TONE_COLORS,
    draw_curves,
    draw_effects,
    draw_groups,
    draw_mix,
    draw_section,
    to_svg,
)
from experiments.report.sections import Section
from experiments.report.sweeps import draw_sweep, picture_of_sweep, sweeps
from made_up import record, write


def curves(section: Section):
    return draw_curves(section, section.compared)


def names(section: Section) -> list[str]:
    return [picture.name for picture in draw_section(section)]


def line(ax, label: str):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def labels(ax) -> dict:
    """The names beside the axes, from top to bottom."""
    return {text.get_text(): text for text in ax.get_legend().get_texts()}


def test_only_what_there_is_is_drawn(section_of):
    assert names(section_of(record("balanced", 0, [2.0, 2.0]))) == ["curves", "groups", "train-test"]


def test_a_mix_that_moves_is_drawn(section_of):
    moving = record("learn2mix", 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6])
    expected = ["curves", "groups", "proportions", "train-test"]
    assert names(section_of(moving, record("balanced", 0, [2.0, 2.0]))) == expected


def test_curves_show_means_bands_and_a_name_at_the_end_of_each_line(section_of):
    records = [record(name, seed, [6.0 + seed, 4.0 + seed]) for name in ("learn2mix", "classical") for seed in (0, 1)]
    (ax,) = curves(section_of(*records)).axes
    assert ax.get_xlabel() == "epoch"
    assert line(ax, "learn2mix").get_ydata().tolist() == [6.5, 4.5]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(6.5 + 12.706 * 0.5, rel=1e-3)
    assert labels(ax).keys() == {"learn2mix", "classical"}
    for label, text in labels(ax).items():
        assert text.get_color() == line(ax, label).get_color()


def test_on_a_log_axis_bands_are_intervals_of_the_logarithm(section_of):
    errors = [[300.0, 2.0], [500.0, 1.0], [400.0, 1.5]]
    (ax,) = curves(section_of(*(record("classical", seed, of_seed) for seed, of_seed in enumerate(errors)))).axes
    assert ax.get_yscale() == "log"
    band = ax.collections[0].get_paths()[0].vertices
    for place, values in enumerate(np.transpose(errors), start=1):
        logs = np.log(values)
        assert line(ax, "classical").get_ydata()[place - 1] == pytest.approx(stats.gmean(values))
        low, high = np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs)))
        there = band[band[:, 0] == place, 1]
        assert (there.min(), there.max()) == pytest.approx((low, high))


def test_errors_of_one_size_are_drawn_on_a_linear_scale(section_of):
    (ax,) = curves(section_of(record("classical", 0, [3.0, 1.0]))).axes
    assert ax.get_yscale() == "linear"


def test_no_two_methods_look_the_same_even_without_colours(section_of):
    (ax,) = curves(section_of(*(record(name, 0, [2.0, 1.0]) for name in METHODS))).axes
    looks = {(line._unscaled_dash_pattern, line.get_marker()) for line in ax.lines}
    assert len(looks) == len(METHODS)


def test_those_that_matter_are_drawn_strongly_and_above_the_others(section_of):
    methods = ("learn2mix", "classical", "balanced", "importance", "smote")
    (ax,) = curves(section_of(*(record(name, 0, [2.0, 1.0]) for name in methods))).axes
    strong = {name for name, text in labels(ax).items() if text.get_fontweight() == "bold"}
    assert strong == {"learn2mix", "classical", "balanced"}
    assert {one.get_label() for one in ax.lines[:2]} == {"importance", "smote"}
    assert len({line(ax, name).get_color() for name in ("importance", "smote")}) == 1
    assert min(line(ax, name).get_linewidth() for name in strong) > line(ax, "smote").get_linewidth()


def test_seeds_of_different_length_are_drawn_as_far_as_all_go(section_of):
    budget = {"config": {"time_budget": 2.0, "epochs": 9}}
    section = section_of(
        record("classical", 0, [4.0, 2.0], **budget), record("classical", 1, [6.0, 4.0, 1.0], **budget)
    )
    assert section.curve("classical").dropna().mean(axis=1).tolist() == [5.0, 3.0]
    assert names(section) == ["curves", "groups", "train-test"]


def test_training_is_drawn_beside_the_test(section_of):
    run = record("learn2mix", 0, [4.0, 2.0])
    for row, of_groups in zip(run["history"], ([3.0, 4.2], [1.5, 2.1]), strict=True):
        row["train_by_group"] = of_groups  # as many samples of both to test on: the mean
    section = section_of(run, record("smote", 0, [6.0, 5.0]))
    (ax,) = draw_curves(section, ["learn2mix"], in_training=True).axes
    assert labels(ax).keys() == {"learn2mix"}
    test = line(ax, "learn2mix")
    (training,) = [one for one in ax.lines if one is not test]
    assert test.get_ydata().tolist() == pytest.approx([4.0, 2.0])
    assert training.get_ydata().tolist() == pytest.approx([3.6, 1.8])
    assert (training.get_linestyle(), training.get_color()) == (":", test.get_color())


def test_groups_stand_from_the_largest_to_the_smallest(section_of):
    run = record("classical", 0, [4.0])
    run["groups"]["train_counts"] = [10, 33]
    (ax,) = draw_groups(section_of(run)).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["rare (33)", "common (10)"]
    assert line(ax, "classical").get_xdata().tolist() == [8.0, 2.0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first is at the top"


@pytest.mark.parametrize("num_groups", [1, 2, MAX_GROUPS, MAX_GROUPS + 1])
def test_groups_are_drawn_where_there_are_some_and_not_too_many_to_read(section_of, num_groups):
    run, ones = record("classical", 0, [4.0]), [1.0] * num_groups
    run["groups"] = {"names": [f"{group}" for group in range(num_groups)], "initial_proportions": ones}
    run["groups"] |= {"train_counts": [1] * num_groups, "test_counts": [1] * num_groups}
    run["history"][0] |= {"test_by_group": ones, "proportions": ones}
    assert ("groups" in names(section_of(run))) == (num_groups in (2, MAX_GROUPS))


def test_effects_are_rows_from_top_to_bottom_in_the_colour_of_what_they_show():
    effects = {"ours": Effect(0.5, 0.4, 0.6), "theirs": Effect(1.1, 0.9, 1.3), "worst": Effect(2.0, 1.5, 90.0)}
    (ax,) = draw_effects(effects).axes
    means, spans = ax.collections[1], ax.collections[0]
    assert means.get_offsets().tolist() == [[0.5, 0], [1.1, 1], [2.0, 2]]
    assert [path.vertices[:, 0].tolist() for path in spans.get_paths()] == [[0.4, 0.6], [0.9, 1.3], [1.5, 90.0]]
    shown = [to_hex(color) for color in means.get_facecolors()]
    assert (
        shown
        == [to_hex(color) for color in spans.get_colors()]
        == [TONE_COLORS[tone] for tone in ("better", "same", "worse")]
    )
    assert [text.get_text() for text in ax.get_yticklabels()] == list(effects)
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first is at the top"
    assert ax.get_xscale() == "log"
    assert ax.get_xlim()[1] < 3, "the means decide what is seen"
    assert list(ax.lines[0].get_xdata()) == [1, 1], "no effect is an upright line"


def test_gains_are_drawn_beside_nought():
    (ax,) = draw_effects({"ours": Effect(1.5, 1.0, 2.0, is_ratio=False)}).axes
    assert ax.get_xscale() == "linear"
    assert list(ax.lines[0].get_xdata()) == [0, 0]
    assert to_hex(ax.collections[1].get_facecolors()[0]) == TONE_COLORS["better"]


def sweep_of(tmp_path, name: str, ends: dict):
    for value, end in ends.items():
        runs = [record(method, 0, [9.0, end], config={name: value}) for method in ("learn2mix", "classical")]
        write(tmp_path / str(value), *runs)
    (sweep,) = sweeps(collect([tmp_path])[0])
    return sweep


def test_numbers_stand_side_by_side_in_their_order(toy, tmp_path):
    sweep = sweep_of(tmp_path, "lr", {0.5: 3.0, 0.02: 5.0, 0.1: 4.0})
    (ax,) = draw_sweep(sweep).axes
    assert line(ax, "learn2mix").get_xdata().tolist() == [0, 1, 2]
    assert line(ax, "learn2mix").get_ydata().tolist() == [5.0, 4.0, 3.0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.02", "0.1", "0.5"]
    assert ax.get_xlabel() == "lr"
    assert picture_of_sweep(sweep).title == "test MSE, by lr"


def test_words_stand_side_by_side_too(toy, tmp_path):
    (ax,) = draw_sweep(sweep_of(tmp_path, "optimizer", {"SGD": 3.0, "Adam": 5.0})).axes
    assert line(ax, "classical").get_xdata().tolist() == [0, 1]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["Adam", "SGD"]


def test_a_methods_own_setting_is_drawn_with_the_baseline(section_of, tmp_path):
    for rate in (0.5, 0.02):
        write(tmp_path / str(rate), record("learn2mix", 0, [9.0, 4.0 + rate], config={"mixing_rate": rate}))
    section = section_of(record("learn2mix", 0, [9.0, 3.0]), record("classical", 0, [9.0, 6.0]))
    (sweep,) = sweeps([section])
    (ax,) = draw_sweep(sweep).axes
    assert line(ax, "learn2mix").get_ydata().tolist() == pytest.approx([4.02, 3.0, 4.5])
    assert line(ax, "classical").get_ydata().tolist() == [6.0] * 3


def test_the_path_of_the_mix_is_the_mean_over_seeds_and_has_steps(section_of):
    paths = [record("learn2mix", seed, [1.0] * 3, shares=[0.2, 0.4, 0.6 + seed / 5, 0.9]) for seed in (0, 1)]
    (ax,) = draw_mix(section_of(*paths), ["learn2mix"]).axes
    rare = next(one for one in ax.lines if one.get_ydata()[0] == 0.2)
    assert rare.get_drawstyle() == "steps-post"
    # The third epoch's mix holds to its end; what it leaves is for an epoch that never comes.
    assert rare.get_xdata().tolist() == [0, 1, 2, 3]
    assert rare.get_ydata().tolist() == pytest.approx([0.2, 0.4, 0.7, 0.7])
    assert labels(ax).keys() == {"common", "rare"}


@pytest.mark.parametrize("num_methods", [2, 9, len(METHODS)])
def test_names_leave_each_other_room_and_stay_in_the_picture(section_of, num_methods):
    section = section_of(*(record(name, 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6]) for name in list(METHODS)[:num_methods]))
    for figure in (curves(section), draw_groups(section), draw_mix(section, ["learn2mix"])):
        figure.draw_without_rendering()
        for ax in figure.axes:
            boxes = [text.get_window_extent() for text in labels(ax).values()]
            assert all(lower.y1 <= upper.y0 + 1 for upper, lower in itertools.pairwise(boxes))
            for box in [*boxes, *(text.get_window_extent() for text in ax.get_yticklabels())]:
                assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_names_stand_in_the_order_in_which_the_lines_end(section_of):
    ends = {"learn2mix": 1.0, "classical": 3.0, "smote": 2.0}
    (ax,) = curves(section_of(*(record(name, 0, [5.0, end]) for name, end in ends.items()))).axes
    assert list(labels(ax)) == ["classical", "smote", "learn2mix"]


def test_pictures_on_the_page_have_its_colours_and_the_same_text(section_of):
    svg = to_svg(curves(section_of(record("learn2mix", 0, [4.0, 2.05]), record("smote", 0, [6.0, 5.0]))))
    inline = to_inline(svg)
    assert "#" not in re.sub(r"(href=\"|url\()#", "", inline), "a colour that does not follow the theme"
    assert "var(--learned)" in inline
    texts = [re.findall(r"<text[^>]*>([^<]*)</text>", one) for one in (svg, inline)]
    assert texts[0] == texts[1]
    assert {"learn2mix", "smote", "epoch"} <= set(texts[0])
