"""Classification of texts; the groups are the classes."""

from __future__ import annotations

from experiments.datasets.imdb import CLASSES, load_imdb
from experiments.objectives import CLASSIFICATION
from experiments.settings import CODE, PAPER, Setting
from experiments.tasks.loading import classes_of
from experiments.tasks.task import Task

IMDB = Task(
    name="imdb",
    summary="reviews of films, the negative ones cut to 30 %",
    load=classes_of(lambda root, settings: load_imdb(root, settings["max_tokens"]), rare=[CLASSES.index("negative")]),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(47, f"{PAPER}: 150 s, which were 40-53 epochs"),
        "batch_size": Setting(500, PAPER),
        "model": Setting("transformer", PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-4, PAPER),
        "imbalance": Setting("step:0.3", PAPER),
        "max_tokens": Setting(500, PAPER),
    },
    method_settings={
        "mixing_rate": Setting(0.1, f"{PAPER}; {CODE}: 0.5"),
        "every": Setting("epoch", PAPER),
    },
    inputs="tokens",
)
