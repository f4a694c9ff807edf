"""The picture of README's first screen: the mix of a run, and what it buys.

Command    python docs/studies/first_screen.py [--picture FILE]
Task       CIFAR-10 cut to 2,000 images down to 20, 48 epochs; reads the runs stored in experiments/long-tails
Took       2 seconds on one core

Balanced test accuracy in %, mean of 8 seeds and half of the 95 % t-interval of the mean:

| method | epoch 8 | epoch 24 | epoch 48 |
|---|---|---|---|
| learn2mix | 44.7 ± 2.6 | 50.2 ± 1.2 | 53.9 ± 0.6 |
| logit-adjusted loss | 40.0 ± 2.2 | 48.6 ± 1.1 | 53.3 ± 0.7 |
| balanced batches | 43.4 ± 1.0 | 47.3 ± 0.9 | 49.2 ± 0.8 |

``learn2mix`` is ``Learn2Mix(passes=15, memory=0.9, initial="uniform")`` with the loss that knows its mix.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from scipy.stats import t

from experiments.results import read
from learn2mix.run_page.charts import spread

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "experiments" / "long-tails"
TASK, NUM_EPOCHS = "cifar10-long-tail", 48
OURS = "learn2mix-passes"
METHODS = {OURS: "learn2mix", "logit-adjusted-loss": "logit-adjusted loss", "balanced": "balanced batches"}
COLORS = {OURS: "#d55e00", "logit-adjusted-loss": "#0072b2", "balanced": "#5a6470"}


def runs_of_methods():
    """The runs of each method, by seed."""
    runs = {method: {} for method in METHODS}
    for run in read(RUNS):
        if (run["task"], run["config"]["epochs"]) == (TASK, NUM_EPOCHS) and run["method"] in runs:
            runs[run["method"]][run["seed"]] = run
    return runs


def accuracies(runs):
    """Mean over the seeds in % after each epoch, and half of its interval."""
    of_seeds = 100 * np.array([[row["test_accuracy"] for row in run["history"]] for run in runs.values()])
    half = t.ppf(0.975, len(of_seeds) - 1) * of_seeds.std(axis=0, ddof=1) / len(of_seeds) ** 0.5
    return of_seeds.mean(axis=0), half


def draw(runs, file):
    """Left the mix of the first seed, right the accuracies; white, so that it is read on a dark page too."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from PIL import Image

    with mpl.rc_context({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 4), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        draw_mix(left, runs[OURS][0], mpl.colormaps["cividis"])
        draw_accuracies(right, runs)
        for ax in (left, right):
            ax.set(xlabel="epoch", xlim=(0, 48), xticks=range(0, 49, 8))
            ax.grid(axis="y", color="#dfe3e8")
            ax.set_axisbelow(True)
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=100)
        Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def draw_mix(ax, run, colormap):
    """One step line per class, from the rarest to the most common."""
    sizes = np.array(run["groups"]["train_counts"])
    path = np.array([run["groups"]["initial_proportions"], *(row["proportions"] for row in run["history"])])
    order = np.argsort(sizes)
    for place, group in enumerate(order):
        color = colormap(0.9 * (1 - place / (len(order) - 1)))
        ax.stairs(path[:-1, group], np.arange(len(path)), baseline=None, color=color, lw=2)
    named = order[[0, *range(5, 10)]]  # between, the ends are too near to each other
    labels = [*(f"{size:,}" for size in sizes[named[:-1]]), f"{sizes.max():,} images"]
    label_ends(ax, path[-2, named], labels, top=0.4)
    ax.set(ylim=(0, 0.4), ylabel="share of the batch")
    ax.set_title("The mix of a run: all alike, then rare classes fade", loc="left", fontsize=13)


def draw_accuracies(ax, runs):
    """Mean and interval of each method."""
    ends = []
    for method, color in COLORS.items():
        mean, half = accuracies(runs[method])
        epochs = np.arange(1, len(mean) + 1)
        ax.plot(epochs, mean, color=color, lw=2.5 if method == OURS else 1.8)
        ax.fill_between(epochs, mean - half, mean + half, color=color, alpha=0.15, lw=0)
        ends.append(mean[-1])
    label_ends(ax, ends, list(METHODS.values()), top=56, bottom=20, colors=list(COLORS.values()))
    ax.set(ylim=(20, 56))
    ax.set_title("What it buys: balanced test accuracy, %", loc="left", fontsize=13)


def label_ends(ax, ends, labels, *, top, bottom=0.0, colors=None, distance=0.062):
    """Write names beside the lines' ends, moved apart."""
    heights = (np.asarray(ends) - bottom) / (top - bottom)
    colors = colors or ["#1d2228"] * len(labels)
    for place, label, color in zip(spread(heights, distance, 1.0), labels, colors, strict=True):
        ax.text(1.02, place, label, transform=ax.transAxes, va="center", color=color, fontsize=12)


def main():
    """Print the table, and draw the picture if one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", help="where to draw it")
    options = parser.parse_args()
    runs = runs_of_methods()
    print("| method | epoch 8 | epoch 24 | epoch 48 |\n|---|---|---|---|")
    for method, name in METHODS.items():
        mean, half = accuracies(runs[method])
        cells = [f"{mean[epoch - 1]:.1f} ± {half[epoch - 1]:.1f}" for epoch in (8, 24, 48)]
        print(f"| {name} | {' | '.join(cells)} |")
    if options.picture:
        draw(runs, options.picture)


if __name__ == "__main__":
    main()
