"""Numbers to be predicted, and images to be reconstructed through 32 numbers: tasks whose groups are no targets."""

from experiments.lazily import lazily
from experiments.objectives import RECONSTRUCTION, REGRESSION
from experiments.settings import CODE, PAPER
from experiments.tasks.task import BUSY_CORES, H200, PAPERS_MIX, TWO_CORES, Expected, Task, by, labelled

# The groups are what a text column or the source of a sample says.
MEAN_ESTIMATION = Task(
    "mean-estimation",
    "the mean behind ten draws from one of four distributions, the uniform ones rare; needs no files",
    lazily("experiments.datasets.tables:mean_estimation"),
    REGRESSION,
    by(PAPER, epochs=500, batch_size=500, model="two-layer", optimizer="Adam", lr=5e-5),
    by(PAPER, mixing_rate=0.01, every="epoch"),
    expected=Expected(TWO_CORES, seconds=3.81, classical=1.16, learn2mix=1.07),
)
WINE_QUALITY = MEAN_ESTIMATION.changed(
    "wine-quality",
    "the quality of red and white wines, white cut to 10 %",
    by(PAPER, epochs=300, batch_size=100, lr=1e-4, imbalance="step:0.1"),
    load=lazily("experiments.datasets.tables:wine_quality"),
    method_settings=by(PAPER, mixing_rate=0.05, every="epoch"),
    expected=Expected(TWO_CORES, seconds=4.97, classical=2.16, learn2mix=1.89),
)
CALIFORNIA_HOUSING = MEAN_ESTIMATION.changed(
    "california-housing",
    "what houses are worth, in 100,000 dollars, all groups but INLAND cut to 5 %",
    by(PAPER, epochs=1200, batch_size=1000)
    # The text's 3,641 training rows do not follow from these shares, which leave 3,594.
    | by(CODE, imbalance="step:0.05"),
    load=lazily("experiments.datasets.tables:california_housing"),
    method_settings=by(f"{PAPER}; elsewhere in it: 0.01", mixing_rate=0.05) | by(PAPER, every="epoch"),
    expected=Expected(TWO_CORES, seconds=14.7, classical=0.902, learn2mix=0.758),
)

# The groups are the images' classes.
MNIST_RECONSTRUCTION = Task(
    "mnist-reconstruction",
    "MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    labelled("mnist", again=True),
    RECONSTRUCTION,
    by(PAPER, epochs=40, batch_size=1000, model="autoencoder", optimizer="AdamW", lr=5e-4, imbalance="step:0.2"),
    PAPERS_MIX,
    inputs="images",
    expected=Expected(H200, seconds=4.53, classical=12.1, learn2mix=11.3),
)
FASHION_MNIST_RECONSTRUCTION = MNIST_RECONSTRUCTION.changed(
    "fashion-mnist-reconstruction",
    "Fashion-MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    by(PAPER, epochs=70, optimizer="Adam", lr=1e-5),
    load=labelled("fashion-mnist", again=True),
    expected=Expected(H200, seconds=7.44, classical=50.1, learn2mix=44.9),
)
CIFAR10_RECONSTRUCTION = FASHION_MNIST_RECONSTRUCTION.changed(
    "cifar10-reconstruction",
    "CIFAR-10 through 32 numbers and back, all classes but deer and dog cut to 10 %",
    by(PAPER, epochs=110) | by(f"{PAPER}, {CODE}", imbalance="step:0.1"),
    load=labelled("cifar10", rare=(0, 1, 2, 3, 6, 7, 8, 9), again=True),
    expected=Expected(BUSY_CORES, seconds=66.1, classical=169, learn2mix=167),
)

TASKS_WITHOUT_CLASSES = (
    MEAN_ESTIMATION, WINE_QUALITY, CALIFORNIA_HOUSING,
    MNIST_RECONSTRUCTION, FASHION_MNIST_RECONSTRUCTION, CIFAR10_RECONSTRUCTION,
)  # fmt: skip
