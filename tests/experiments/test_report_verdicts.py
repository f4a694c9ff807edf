"""The verdicts: what they say follows from the runs, and their colours from what they say."""

import numpy as np
import pytest
from scipy import stats

from experiments.report.intervals import Interval
from experiments.report.page import compare, headline
from made_up import record


def runs(method: str, ends: list[float], start: float = 9.0) -> list[dict]:
    return [record(method, seed, [start, (start + end) / 2, end]) for seed, end in enumerate(ends)]


LOW, HIGH, WIDE = [1.0, 1.1, 1.2], [2.0, 2.3, 2.2], [1.0, 4.0, 2.2]


@pytest.mark.parametrize(
    ("ours", "tone", "word"),
    [(LOW, "better", "lower"), ([4.0, 4.4, 4.5], "worse", "higher"), (WIDE, "same", "no difference shown")],
)
def test_a_verdict_says_what_the_paired_interval_shows(section_of, ours, tone, word):
    one = compare(section_of(*runs("learn2mix", ours), *runs("classical", HIGH)))
    logs = np.log(np.divide(ours, HIGH))
    low, high = np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs)))
    verdict = one.verdict
    assert (verdict.mean, verdict.low, verdict.high) == pytest.approx((stats.gmean(np.divide(ours, HIGH)), low, high))
    assert (verdict.tone, verdict.word) == (tone, word)
    assert one.sentence.startswith(f"Ratio of errors {verdict.mean:.3f} [{low:.3f}, {high:.3f}] {word}; ")


def test_it_says_after_how_many_epochs_ours_is_as_good(section_of):
    ours = [record("learn2mix", 0, [4.0, 2.0, 1.0, 1.0]), record("learn2mix", 1, [4.0, 4.0, 2.0, 1.0])]
    one = compare(section_of(*ours, *(record("classical", seed, [5.0, 4.0, 3.0, 2.0]) for seed in (0, 1))))
    reached = Interval.of([2, 3]).show(1)
    assert one.sentence.endswith(f"; epochs to catch up, of 4: {reached}")
    ours[1]["history"][2]["test_error"] = ours[1]["history"][3]["test_error"] = 2.5
    one = compare(section_of(*ours))
    assert one.sentence.endswith("; epochs to catch up, of 4: 2.0 (1/2 seeds)")


def test_headlines_count_tasks(section_of):
    one = compare(section_of(*runs("learn2mix", LOW), *runs("classical", HIGH)))
    line = headline([one.verdict])
    assert line.startswith(
        "learn2mix ends with a lower error than classical on 1 of 1 task, a higher one on 0; on 0 no"
    )


def long_tail(accuracies: dict[str, dict[int, float]]) -> list[dict]:
    """Runs of an epoch on two classes, the one with three times the samples of the other, by method and seed."""
    records = [record(method, seed, [1.0]) for method, of_seeds in accuracies.items() for seed in of_seeds]
    for one in records:
        one["objective"] = {"kind": "classification", "error_name": "test error, %", "scale": 100.0}
        error = 1 - accuracies[one["method"]][one["seed"]] / 100
        one["history"][0] |= {"test_by_group": [error, error]}
    return records


BALANCED = {0: 50.0, 1: 51.0, 2: 52.0}


def test_long_tails_are_judged_by_balanced_accuracy(section_of):
    one = compare(section_of(*long_tail({"balanced": BALANCED, "learn2mix-passes": {0: 53.0, 1: 55.0, 2: 56.0}})))
    gains = [3.0, 4.0, 4.0]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(gains), scale=stats.sem(gains))
    assert not one.verdict.is_ratio
    assert (one.verdict.low, one.verdict.high) == pytest.approx((low, high))
    assert one.verdict.tone == "better"
    assert one.sentence == "Points of balanced accuracy over balanced: +3.7 ± 1.4*"
    assert headline([one.verdict]).startswith(
        "learn2mix-passes ends with a higher balanced accuracy than balanced on 1 of 1"
    )


def test_methods_without_a_seed_of_the_other_one_are_left_out(section_of):
    one = compare(section_of(*long_tail({"balanced": BALANCED, "learn2mix-passes": {3: 60.0}, "static": {0: 51.0}})))
    assert list(one.effects) == ["static"]
    assert (one.verdict, one.sentence) == (None, "")


def test_without_both_there_is_no_verdict(section_of):
    assert compare(section_of(*runs("learn2mix", LOW))) is None
