"""The pictures, as far as a program can look at them."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.text import Text
from scipy import stats

from experiments.methods import METHODS
from experiments.report.collect import collect
from experiments.report.drawing import spread, to_inline, to_svg
from experiments.report.pictures import (
    draw_curves,
    draw_groups,
    draw_mix,
    draw_section,
    draw_sweep,
    draw_train_test,
    over_seconds,
    picture_of,
)
from experiments.report.sections import Section
from experiments.report.sweeps import sweeps
from made_up import record, write


def curves(section: Section):
    return draw_curves(section, "epoch")


def names(section: Section) -> list[str]:
    return [picture.name for picture in draw_section(section)]


def line(ax, label: str):
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def labels(ax) -> dict:
    return {text.get_text(): text for text in ax.texts}


def test_only_what_there_is_is_drawn(section_of):
    assert names(section_of(record("balanced", 0, [2.0, 2.0]))) == ["curves", "seconds", "groups", "train-test"]


def test_a_mix_that_moves_is_drawn(section_of):
    moving = record("learn2mix", 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6])
    expected = ["curves", "seconds", "groups", "proportions", "train-test"]
    assert names(section_of(moving, record("balanced", 0, [2.0, 2.0]))) == expected


def test_seconds_are_not_drawn_where_those_of_the_seeds_are_unequal(section_of):
    runs = [record("balanced", seed, [2.0, 2.0]) for seed in (0, 1)]
    for row in runs[1]["history"]:
        row["train_seconds"] = 2.1
    assert "seconds" not in names(section_of(*runs))


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


def test_seconds_are_interpolated_as_far_as_all_go(section_of):
    slow, fast = record("classical", 0, [4.0, 2.0, 0.0]), record("classical", 1, [8.0, 6.0, 4.0])
    for row in slow["history"]:
        row["train_seconds"] = 2.0  # ends after 2, 4, 6 seconds
    frame = over_seconds(section_of(slow, fast), "classical", num_places=3)  # the other after 1, 2, 3
    assert frame.index.tolist() == [2.0, 2.5, 3.0]
    assert frame.mean(axis=1).tolist() == [(4.0 + 6.0) / 2, (3.5 + 5.0) / 2, (3.0 + 4.0) / 2]


def test_seeds_of_different_length_are_drawn_as_far_as_all_go(section_of):
    budget = {"config": {"time_budget": 2.0, "epochs": 9}}
    section = section_of(
        record("classical", 0, [4.0, 2.0], **budget), record("classical", 1, [6.0, 4.0, 1.0], **budget)
    )
    assert section.curve("classical").dropna().mean(axis=1).tolist() == [5.0, 3.0]
    assert names(section) == ["curves", "seconds", "groups", "train-test"]


def test_single_epochs_and_seeds_that_share_no_second_are_points(section_of):
    quick, slow = record("classical", 0, [4.0]), record("classical", 1, [6.0])
    slow["history"][0]["train_seconds"] = 7.0
    frame = over_seconds(section_of(quick, slow), "classical")
    assert frame.index.tolist() == [7.0]
    assert frame.mean(axis=1).tolist() == [5.0]


def test_training_is_drawn_beside_the_test(section_of):
    run = record("learn2mix", 0, [4.0, 2.0])
    for row, of_groups in zip(run["history"], ([3.0, 4.2], [1.5, 2.1]), strict=True):
        row["train_by_group"] = of_groups  # as many samples of both to test on: the mean
    section = section_of(run, record("smote", 0, [6.0, 5.0]))
    (ax,) = draw_train_test(section, ["learn2mix"]).axes
    assert ax.get_title("left") == "learn2mix"
    assert line(ax, "test").get_ydata().tolist() == pytest.approx([4.0, 2.0])
    assert line(ax, "training").get_ydata().tolist() == pytest.approx([3.6, 1.8])


def test_groups_stand_from_the_largest_to_the_smallest(section_of):
    run = record("classical", 0, [4.0])
    run["groups"]["train_counts"] = [10, 33]
    (ax,) = draw_groups(section_of(run)).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["rare", "common"]
    assert ax.containers[0].lines[0].get_xdata().tolist() == [8.0, 2.0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first is at the top"


def test_many_groups_are_a_line_by_their_rank(section_of):
    run = record("classical", 0, [4.0])
    many = 30
    run["groups"] = {
        "names": [str(group) for group in range(many)], "train_counts": list(range(many)), "test_counts": [1] * many,
        "initial_proportions": [1 / many] * many,
    }  # fmt: skip
    run["history"][0] |= {"test_by_group": [float(group) for group in range(many)], "proportions": [1 / many] * many}
    (ax,) = draw_groups(section_of(run)).axes
    assert line(ax, "classical").get_xdata().tolist() == list(range(1, many + 1))
    assert line(ax, "classical").get_ydata().tolist() == list(range(many))[::-1]


def sweep_of(tmp_path, name: str, ends: dict):
    for value, end in ends.items():
        runs = [record(method, 0, [9.0, end], config={name: value}) for method in ("learn2mix", "classical")]
        write(tmp_path / str(value), *runs)
    (sweep,) = sweeps(collect([tmp_path])[0])
    return sweep


def test_a_setting_of_numbers_is_drawn_on_its_scale(toy, tmp_path):
    sweep = sweep_of(tmp_path, "lr", {0.5: 3.0, 0.02: 5.0, 0.1: 4.0})
    (ax,) = draw_sweep(sweep).axes
    assert ax.get_xscale() == "log"
    assert line(ax, "learn2mix").get_xdata().tolist() == [0.02, 0.1, 0.5]
    assert line(ax, "learn2mix").get_ydata().tolist() == [5.0, 4.0, 3.0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.02", "0.1", "0.5"]
    assert ax.get_xlabel() == "lr"
    assert picture_of(sweep).title == "Test MSE, by lr"
    (ax,) = draw_sweep(sweep_of(tmp_path / "close", "lr", {0.5: 3.0, 0.1: 4.0})).axes
    assert ax.get_xscale() == "linear"


def test_a_setting_of_words_is_drawn_side_by_side(toy, tmp_path):
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
            # Of the text alone, without the line to its place.
            boxes = sorted((Text.get_window_extent(text) for text in ax.texts), key=lambda box: box.y0)
            assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))
            for box in [*boxes, *(text.get_window_extent() for text in ax.get_yticklabels())]:
                assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_places_are_moved_as_little_as_it_takes():
    rng = np.random.default_rng(0)
    for gap in (0.01, 0.1):
        places = rng.uniform(size=8)
        moved = spread(places, gap)
        assert (np.diff(np.sort(moved)) > gap - 1e-9).all()
        assert moved.argsort().tolist() == places.argsort().tolist()
        assert moved.min() >= 0
        assert moved.max() <= 1
    assert spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])


def test_pictures_on_the_page_have_its_colours_and_the_same_text(section_of):
    svg = to_svg(curves(section_of(record("learn2mix", 0, [4.0, 2.05]), record("smote", 0, [6.0, 5.0]))))
    inline = to_inline(svg)
    assert "#" not in re.sub(r"(href=\"|url\()#", "", inline), "a colour that does not follow the theme"
    assert "var(--learned)" in inline
    texts = [re.findall(r"<text[^>]*>([^<]*)</text>", one) for one in (svg, inline)]
    assert texts[0] == texts[1]
    assert {"learn2mix", "smote", "epoch"} <= set(texts[0])
