"""The pictures, as far as a program can look at them."""

import numpy as np
import pytest

from experiments.methods import METHODS
from experiments.report.collect import collect
from experiments.report.pictures import (
    draw_curves,
    draw_groups,
    draw_mix_paths,
    draw_rates,
    draw_section,
    draw_train_test,
    over_epochs,
    over_seconds,
)
from experiments.report.results import Section
from experiments.report.tables import mixing_rates
from made_up import record, write


@pytest.fixture
def section_of(toy, tmp_path):
    def make(*records: dict) -> Section:
        write(tmp_path, *records)
        (section,), _ = collect([tmp_path])
        return section

    return make


def curves(section: Section):
    return draw_curves(section, [over_epochs(one) for one in section.compared], "epoch")


def names(section: Section) -> list[str]:
    return [picture.name for picture in draw_section(section)]


def test_only_what_there_is_is_drawn(section_of):
    assert names(section_of(record("balanced", 0, [2.0, 2.0]))) == ["curves", "seconds", "train-test", "groups"]


def test_a_mix_that_moves_and_mixing_rates_are_drawn(section_of, tmp_path):
    moving = record("learn2mix", 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6])
    write(tmp_path / "fast", record("learn2mix", 0, [3.0, 1.0], config={"mixing_rate": 0.5}))
    expected = ["curves", "seconds", "train-test", "proportions", "groups", "mixing-rates"]
    assert names(section_of(moving, record("balanced", 0, [2.0, 2.0]))) == expected


def test_curves_show_means_bands_and_names(section_of):
    records = [record(name, seed, [8.0 + seed, 4.0 + seed]) for name in ("learn2mix", "classical") for seed in (0, 1)]
    figure = curves(section_of(*records))
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("epoch", "test MSE", "toy")
    assert ax.lines[0].get_ydata().tolist() == [8.5, 4.5]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(8.5 + 12.706 * 0.5, rel=1e-3)
    assert band.min() == 0  # 4.5 - 6.35 is no error
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learn2mix (2 seeds)", "classical (2 seeds)"]


def test_no_two_methods_look_the_same(section_of):
    (ax,) = curves(section_of(*(record(name, 0, [2.0]) for name in METHODS))).axes
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == len(METHODS)


def test_seconds_are_interpolated_where_all_seeds_have_been(section_of):
    slow, fast = record("classical", 0, [4.0, 2.0, 0.0]), record("classical", 1, [8.0, 6.0, 4.0])
    for row in slow["history"]:
        row["train_seconds"] = 2.0  # ends after 2, 4, 6 seconds
    band = over_seconds(section_of(slow, fast).baseline, num_places=3)  # the other after 1, 2, 3
    assert band.places.tolist() == [2.0, 2.5, 3.0]
    assert band.means.tolist() == [(4.0 + 6.0) / 2, (3.5 + 5.0) / 2, (3.0 + 4.0) / 2]


def test_seeds_of_different_length_are_drawn_as_far_as_all_go(section_of):
    budget = {"config": {"time_budget": 2.0, "epochs": 9}}
    section = section_of(
        record("classical", 0, [4.0, 2.0], **budget), record("classical", 1, [6.0, 4.0, 1.0], **budget)
    )
    assert over_epochs(section.baseline).means.tolist() == [5.0, 3.0]
    assert names(section) == ["curves", "seconds", "train-test", "groups"]


def test_single_epochs_and_seeds_that_share_no_second_are_points(section_of):
    quick, slow = record("classical", 0, [4.0]), record("classical", 1, [6.0])
    slow["history"][0]["train_seconds"] = 7.0
    band = over_seconds(section_of(quick, slow).baseline)
    assert band.places.tolist() == [7.0]
    assert band.means.tolist() == [5.0]


def test_errors_over_decades_are_drawn_on_a_log_scale(section_of):
    (ax,) = curves(section_of(record("classical", 0, [300.0, 1.0]))).axes
    assert ax.get_yscale() == "log"


def test_errors_of_one_size_are_drawn_from_zero(section_of):
    (ax,) = curves(section_of(record("classical", 0, [3.0, 1.0]))).axes
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] == 0


def test_training_is_drawn_beside_the_test(section_of):
    figure = draw_train_test(section_of(record("learn2mix", 0, [4.0, 2.0]), record("classical", 0, [6.0, 5.0])))
    panel = next(ax for ax in figure.axes if ax.get_title() == "learn2mix")
    lines = {line.get_label(): line.get_ydata().tolist() for line in panel.lines}
    assert lines["test"] == [4.0, 2.0]
    assert lines["training"] == pytest.approx([3.6, 1.8])
    assert lines["classical, test"] == [6.0, 5.0]


def test_records_without_training_errors_have_no_such_picture(section_of):
    old = record("classical", 0, [1.0])
    del old["history"][0]["train_error"]
    assert "train-test" not in names(section_of(old))


def test_groups_stand_from_the_largest_to_the_smallest(section_of):
    run = record("classical", 0, [4.0])
    run["groups"]["train_counts"] = [10, 33]
    (ax,) = draw_groups(section_of(run)).axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["rare", "common"]
    assert ax.lines[0].get_ydata().tolist() == [8.0, 2.0]


def test_mixing_rates_are_drawn_with_the_baseline(section_of, tmp_path):
    for rate in (0.5, 0.02):
        write(tmp_path / str(rate), record("learn2mix", 0, [9.0, 4.0 + rate], config={"mixing_rate": rate}))
    section = section_of(record("learn2mix", 0, [9.0, 3.0]), record("classical", 0, [9.0, 6.0]))
    (ax,) = draw_rates(section, mixing_rates(section)).axes
    at_end = next(container for container in ax.containers if container.get_label() == "at the end").lines[0]
    assert at_end.get_xdata().tolist() == [0.02, 0.1, 0.5]
    assert at_end.get_ydata().tolist() == [4.02, 3.0, 4.5]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.02", "0.1", "0.5"]
    (line,) = [line for line in ax.lines if line.get_label() == "classical, at the end"]
    assert set(line.get_ydata()) == {6.0}


def test_the_path_of_the_mix_is_the_mean_over_seeds_from_before_the_first_epoch(section_of):
    paths = [record("learn2mix", seed, [1.0, 1.0], shares=[0.2, 0.4, 0.6 + seed / 5]) for seed in (0, 1)]
    section = section_of(*paths)
    (ax,) = draw_mix_paths(section, section.results).axes
    assert ax.get_xlabel() == "epoch"
    heights = ax.patches[0].get_data().values  # the lowest band, the common group
    for share in (0.8, 0.6, 0.3):
        assert np.isclose(heights, share).any()


def test_the_legend_covers_no_data(section_of):
    methods = ("learn2mix", "classical", "balanced", "importance", "smote", "static", "curriculum")
    section = section_of(*(record(name, 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6]) for name in methods))
    for draw in (curves, draw_groups, draw_train_test, lambda one: draw_mix_paths(one, one.results[:1])):
        figure = draw(section)
        figure.draw_without_rendering()
        legend = (figure.legends or [figure.axes[0].get_legend()])[0].get_window_extent()
        for ax in figure.axes:
            assert not ax.get_window_extent().overlaps(legend)
            if figure.legends and ax.get_visible():
                # Not even what is written below the axes.
                assert not ax.get_tightbbox().overlaps(legend)
        assert figure.bbox.containsx(legend.x1)
        assert figure.bbox.containsy(legend.y0)
