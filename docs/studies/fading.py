"""The path of a mix that fades, on a long tail; needs no training, for it follows what was drawn.

Command    python docs/studies/fading.py [--picture FILE]
Task       10 classes of 2,000 samples down to 20, batches of 128, 48 passes over as many samples as there are
Took       5 seconds on one core

Passes over the largest and the smallest class at the end of 16 and of 48 epochs:

| mix | 16 epochs | 48 epochs |
|---|---|---|
| the data's own | 16 to 16 | 48 to 48 |
| uniform | 4 to 399 | 12 to 1198 |
| FadingMix(passes=15) | 9 to 67 | 38 to 106 |
"""

import argparse

import numpy as np

from learn2mix import FadingMix, FixedMix, MixedBatchSampler, Partition

SIZES = [int(2000 * 100 ** (-place / 9)) for place in range(10)]
MIXERS = {
    "the data's own": FixedMix,
    "uniform": lambda: FixedMix("uniform"),
    "FadingMix(passes=15)": lambda: FadingMix(passes=15),
}


def run(mixer, num_epochs=48):
    """The mix of each batch, and the passes over each class after each epoch."""
    sampler = MixedBatchSampler(Partition(SIZES, range(10)), mixer, batch_size=128)
    path, passes = [], []
    for _ in range(num_epochs):
        for _ in sampler:
            sampler.observe(None)
            path.append(sampler.last_observed.proportions)
        passes.append(sampler.passes)
    return np.array(path), np.array(passes)


def draw(file):
    """The mix over the epochs, and how often the samples of each class are seen."""
    import matplotlib.pyplot as plt

    from learn2mix.plotting import plot_proportions

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", width_ratios=[3, 2])
    path, _ = run(FadingMix(passes=15))
    plot_proportions(path, [f"{size:,}" for size in SIZES], ax=left)
    left.get_legend().set_title("samples")
    ticks = np.arange(0, 49, 8)
    left.set(title="FadingMix(passes=15)", xlabel="epoch", xticks=ticks * len(path) / 48, xticklabels=ticks)
    for name, color in zip(MIXERS, ("tab:orange", "tab:gray", "tab:blue"), strict=True):
        _, passes = run(MIXERS[name]())
        right.plot(SIZES, passes[15], "o-", color=color, label=name)
    right.set(
        title="after 16 epochs", xlabel="samples of the class", ylabel="passes over them", xscale="log", yscale="log"
    )
    right.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main():
    """Print the table, and draw the picture if one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", help="where to draw it")
    options = parser.parse_args()
    print("| mix | 16 epochs | 48 epochs |\n|---|---|---|")
    for name, mixer in MIXERS.items():
        _, passes = run(mixer())
        print(f"| {name} | {passes[15, 0]:.0f} to {passes[15, -1]:.0f} | {passes[47, 0]:.0f} to {passes[47, -1]:.0f} |")
    if options.picture:
        draw(options.picture)


if __name__ == "__main__":
    main()
