"""The picture of a mix: bands as high as the shares, names beside them."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

mpl.use("agg")

from histories import made_up
from learn2mix import AlternatingMix, MixedBatchSampler
from learn2mix.plotting import plot_history, plot_proportions


@pytest.fixture
def ax():
    return Figure().subplots()


def band_heights(ax, place: int, time: int) -> list[float]:
    """Lower and upper edge of a band from a time to the next."""
    band = ax.patches[place].get_data()
    assert band.edges[time : time + 2].tolist() == [time, time + 1]
    return [band.baseline[time], band.values[time]]


def names(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_bands_are_as_high_as_the_shares_and_stand_in_the_order_of_the_groups(ax):
    drawn = plot_proportions([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]], ["a", "b", "c"], ax)
    assert drawn is ax
    assert band_heights(ax, 0, 1) == pytest.approx([0, 0.25])
    assert band_heights(ax, 1, 0) == pytest.approx([0.5, 0.8])
    assert band_heights(ax, 2, 1) == pytest.approx([0.5, 1])
    assert names(ax) == ["c", "b", "a"]
    assert ax.get_ylim() == (0, 1)
    assert ax.get_xlim() == (0, 2)


@pytest.mark.long
@given(st.integers(1, 12), st.integers(1, 25), st.randoms(use_true_random=False))
def test_every_picture_has_steps_and_no_slopes(num_times, num_groups, random):
    path = np.array([[random.random() + 1e-3 for _ in range(num_groups)] for _ in range(num_times)])
    path /= path.sum(1, keepdims=True)
    ax = plot_proportions(path, ax=Figure().subplots())
    assert ax.get_xlim() == (0, num_times)
    for band in ax.patches:
        for one, other in pairwise(band.get_path().vertices.tolist()):
            assert abs(one[0] - other[0]) < 1e-9 or abs(one[1] - other[1]) < 1e-9
    if num_groups <= 20:
        for time in range(num_times):
            heights = [upper - lower for lower, upper in (band_heights(ax, g, time) for g in range(num_groups))]
            assert heights == pytest.approx(path[time].tolist())


def test_groups_without_names_are_numbered(ax):
    assert names(plot_proportions([[0.5, 0.5], [0.1, 0.9]], ax=ax)) == ["1", "0"]


def test_many_groups_keep_the_largest_and_pool_the_rest(ax):
    end = np.full(1000, 0.5 / 981)
    end[::50][:19] = 0.5 / 19
    plot_proportions([np.full(1000, 1e-3), end], range(1000), ax)
    assert names(ax) == ["981 others", *(str(group) for group in range(900, -1, -50))]
    assert band_heights(ax, 19, 1) == pytest.approx([0.5, 1])


def test_twenty_groups_are_all_named(ax):
    plot_proportions(np.full((2, 20), 0.05), ax=ax)
    assert len(names(ax)) == 20


def test_a_figure_is_made_if_there_is_none():
    axes = [plot_proportions([[0.5, 0.5]]) for _ in range(2)]
    assert axes[0].figure is not axes[1].figure
    mpl.pyplot.close("all")


@pytest.mark.parametrize("wrong", [[0.5, 0.5], [[]], np.zeros((0, 2)), np.zeros((2, 2, 2))])
def test_another_shape_is_named(ax, wrong):
    with pytest.raises(ValueError, match=r"proportions must have the shape \(num_times, num_groups\).*got \("):
        plot_proportions(wrong, ax=ax)


def test_too_few_names_are_counted(ax):
    with pytest.raises(ValueError, match="group_names must be one a group: 2 groups, got 1 names"):
        plot_proportions([[0.5, 0.5]], ["a"], ax)


def test_a_history_is_drawn_over_its_batches_with_its_names(ax):
    history = made_up(3, 5, names=["web", "books", "code"], every=10)
    plot_proportions(history, ax=ax)
    assert names(ax) == ["code", "books", "web"]
    band = ax.patches[0].get_data()
    assert band.edges.tolist() == [0, 10, 20, 30, 40, 41]
    assert band.values == pytest.approx(history.proportions[:, 0])
    assert ax.get_xlabel() == "batch"
    plot_proportions(history, ["a", "b", "c"], Figure().subplots())


@pytest.mark.parametrize("num_groups", [2, 10, 100])
def test_a_run_is_one_figure_of_steps(num_groups):
    history = made_up(num_groups, 40)
    figure = plot_history(history)
    mix, losses = figure.axes
    shown = [int(text.get_text()) for text in mix.get_legend().get_texts()]
    assert len(shown) == min(num_groups, 8)
    moved = np.ptp(history.proportions, axis=0)
    assert shown == sorted(np.argsort(-moved)[:8].tolist()), "those that move most have names"
    for ax in (mix, losses):
        lines = {patch.get_label(): patch.get_data() for patch in ax.patches if patch.get_label()}
        assert list(lines) == [str(group) for group in shown]
    data = {patch.get_label(): patch.get_data() for patch in mix.patches}
    assert data[str(shown[0])].values == pytest.approx(history.proportions[:, shown[0]])
    figure.canvas.draw()
    assert not mpl.pyplot.get_fignums(), "none of pyplot's"


@pytest.mark.parametrize("num_batches", [8, 700, 5000])
def test_groups_that_take_turns_have_half_of_the_picture_each_however_long_the_run_is(ax, num_batches):
    sampler = MixedBatchSampler([0, 1], AlternatingMix(every=1), batch_size=1, num_batches=num_batches)
    assert sum(index for (index,) in sampler) == num_batches / 2
    band = plot_proportions(sampler.history, ax=ax).patches[0].get_data()
    heights, widths = (band.values - band.baseline)[:-1], np.diff(band.edges)[:-1]  # the last is open
    assert heights @ widths / num_batches == pytest.approx(0.5)
    assert plot_history(sampler.history).axes[0].patches[0].get_data().values[:-1] == pytest.approx(heights)


def test_a_run_without_losses_is_its_mix():
    assert len(plot_history(made_up(3, losses=False)).axes) == 1
    assert len(plot_history(made_up(3, 1)).axes) == 1
