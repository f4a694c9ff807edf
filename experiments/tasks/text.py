"""Classification of texts; the groups are the classes."""

from __future__ import annotations

from experiments.objectives import CLASSIFICATION
from experiments.settings import CODE, PAPER, Setting
from experiments.tasks.task import PAPERS_MIX, Task, labelled

NEGATIVE = 0

IMDB = Task(
    name="imdb",
    summary="reviews of films, the negative ones cut to 30 %",
    load=labelled("imdb", rare=(NEGATIVE,)),
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
    method_settings={**PAPERS_MIX, "mixing_rate": Setting(0.1, f"{PAPER}; {CODE}: 0.5")},
    inputs="tokens",
)
