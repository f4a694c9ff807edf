"""The table's numbers, against values worked out by hand; the pictures, as far as a program can look at them."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from experiments import storage
from experiments.errors import UserError
from experiments.pictures import draw_learning_curves, draw_mix_paths, draw_pictures
from experiments.report import report
from experiments.summary import Interval, collect, epochs_to_baseline, summarise


def record(method: str, seed: int, errors: list[float], shares: list[float] | None = None, **changes: object) -> dict:
    """A stored run of the toy task; the rare group's error is twice the mean, its shares as given."""
    shares = [0.2] * (len(errors) + 1) if shares is None else shares
    rows = zip(errors, shares[1:], strict=True)
    return {
        "task": "toy",
        "method": method,
        "seed": seed,
        "config": {"epochs": len(errors)},
        "environment": {},
        "groups": {"names": ["common", "rare"], "initial_proportions": [1 - shares[0], shares[0]]},
        "history": [
            {"test_error": error, "test_by_group": [error / 2, 2 * error], "proportions": [1 - share, share]}
            for error, share in rows
        ],
    } | changes


def test_the_interval_is_students():
    interval = Interval.of([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.half_width == pytest.approx(4.3027 * 1 / math.sqrt(3), rel=1e-4)  # t(0.975, 2) from a table


def test_one_seed_has_no_interval():
    assert Interval.of([2.0]).show() == "2.00"


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [(18.234, 0.567, "18.2 ± 0.6"), (0.0737, 0.01, "0.0737 ± 0.0100"), (312.4, 5.5, "312 ± 6"), (0, 0, "0.00 ± 0.00")],
)
def test_three_digits_are_shown(mean, half_width, text):
    assert Interval(mean, half_width).show() == text


def test_quarters_are_rounded_up_to_whole_epochs(toy):
    (results,) = collect([record("classical", 0, [float(epoch) for epoch in range(1, 31)])])
    assert [results.at(share).mean for share in (1 / 4, 1 / 2, 1)] == [8, 15, 30]
    (results,) = collect([record("classical", 0, [1.0, 2.0])])
    assert [results.at(share).mean for share in (1 / 4, 1 / 2, 1)] == [1, 1, 2]


def test_the_worst_group_is_found_for_each_seed(toy):
    (results,) = collect([record("classical", 0, [5.0, 1.0]), record("classical", 1, [5.0, 3.0])])
    assert results.worst_group.mean == 4  # (2 + 6) / 2


def test_catching_up_is_paired_by_seed(toy):
    fast, slow = collect(
        [
            record("learn2mix", 0, [4, 3, 2, 1]),  # at classical's 3 after 2
            record("learn2mix", 1, [9, 8, 7, 2]),  # at classical's 2 after 4
            record("classical", 0, [5, 4, 4, 3]),
            record("classical", 1, [5, 1, 3, 2]),
        ]
    )
    assert epochs_to_baseline(fast, slow) == Interval.of([2, 4]).show(digits=1)
    assert epochs_to_baseline(slow, slow) == Interval.of([4, 2]).show(digits=1)


def test_seeds_that_never_catch_up_are_told(toy):
    records = [record("classical", seed, [5, 1]) for seed in (0, 1)]
    learned = [record("learn2mix", 0, [5, 4]), record("learn2mix", 1, [1, 4])]
    fast, slow = collect(records + learned)
    assert epochs_to_baseline(fast, slow) == "1.0 (1/2 seeds)"
    only_first, slow = collect(records + learned[:1])
    assert epochs_to_baseline(only_first, slow) == "never"
    assert epochs_to_baseline(fast, None) == "-"


def test_rows_stand_in_the_order_of_the_registry(toy):
    table = summarise(collect([record(name, 0, [1.0]) for name in ("balanced", "classical", "learn2mix")]))
    assert table["method"].tolist() == ["learn2mix", "classical", "balanced"]


def test_seeds_with_different_settings_are_not_averaged(toy):
    with pytest.raises(UserError, match="seeds 0 and 1 were run with different settings"):
        collect([record("classical", 0, [1.0]), record("classical", 1, [1.0, 2.0])])


def write(folder, *records):
    for one in records:
        storage.write(folder / one["task"] / one["method"] / f"seed-{one['seed']}.json", one)


def test_a_folder_with_some_of_the_runs_is_reported(toy, tmp_path):
    write(tmp_path, record("learn2mix", 0, [3.0, 1.0]), record("learn2mix", 2, [5.0, 3.0]))
    screen = Console(file=io.StringIO(), width=120)
    report(tmp_path, screen)
    text = screen.file.getvalue()
    assert "toy" in text
    assert "2.00 ± 12.71" in text  # t(0.975, 1) = 12.706 times the standard error, 1
    assert (tmp_path / "toy-curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no runs in"):
        report(tmp_path, Console(file=io.StringIO()))


def test_only_a_mix_that_moves_is_drawn(toy, tmp_path):
    moving = record("learn2mix", 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6])
    assert [path.name for path in draw_pictures(collect([moving, record("balanced", 0, [2.0, 2.0])]), tmp_path)] == [
        "toy-curves.png",
        "toy-proportions.png",
    ]
    assert [path.name for path in draw_pictures(collect([record("balanced", 0, [2.0])]), tmp_path)] == [
        "toy-curves.png"
    ]


def test_curves_show_means_bands_and_names(toy):
    records = [record(name, seed, [8.0 + seed, 4.0 + seed]) for name in ("learn2mix", "classical") for seed in (0, 1)]
    figure = draw_learning_curves(collect(records))
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "test MSE")
    assert ax.lines[0].get_ydata().tolist() == [8.5, 4.5]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(8.5 + 12.706 * 0.5, rel=1e-3)
    assert band.min() == 0  # 4.5 - 6.35 is no error
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learn2mix (2 seeds)", "classical (2 seeds)"]


def test_errors_over_decades_are_drawn_on_a_log_scale(toy):
    (ax,) = draw_learning_curves(collect([record("classical", 0, [300.0, 1.0])])).axes
    assert ax.get_yscale() == "log"
    (ax,) = draw_learning_curves(collect([record("classical", 0, [3.0, 1.0])])).axes
    assert ax.get_yscale() == "linear"


def test_the_legend_covers_no_data(toy):
    records = [record("learn2mix", 0, [3.0, 1.0], shares=[0.2, 0.5, 0.6]), record("classical", 0, [3.0, 1.0])]
    results = collect(records)
    for figure in (draw_learning_curves(results), draw_mix_paths(results[:1])):
        figure.draw_without_rendering()
        legend = (figure.legends or [figure.axes[0].get_legend()])[0]
        assert not figure.axes[0].get_window_extent().overlaps(legend.get_window_extent())
        assert figure.bbox.containsx(legend.get_window_extent().x1)
        assert figure.bbox.containsy(legend.get_window_extent().y0)


def test_the_path_of_the_mix_is_the_mean_over_seeds_from_before_the_first_epoch(toy):
    paths = [record("learn2mix", seed, [1.0, 1.0], shares=[0.2, 0.4, 0.6 + seed / 5]) for seed in (0, 1)]
    (results,) = collect(paths)
    (ax,) = draw_mix_paths([results]).axes
    assert ax.get_xlabel() == "epoch"
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]  # the lowest band, the common group
    for share in (0.8, 0.6, 0.3):
        assert np.isclose(heights, share).any()
