"""The verdicts: what they say follows from the runs, and their colours from what they say."""

import numpy as np
import pytest
from scipy import stats

from experiments.report.verdicts import Scale, compare, headlines
from made_up import record


def runs(method: str, ends: list[float], start: float = 9.0) -> list[dict]:
    return [record(method, seed, [start, (start + end) / 2, end]) for seed, end in enumerate(ends)]


LOW, HIGH, WIDE = [1.0, 1.1, 1.2], [2.0, 2.3, 2.2], [1.0, 4.0, 2.2]


@pytest.mark.parametrize(
    ("ours", "tone", "word", "ends"),
    [(LOW, "better", "lower", "and ends lower."), ([4.0, 4.4, 4.5], "worse", "higher", "but ends higher."),
     (WIDE, "same", "no difference shown", "and no difference is shown at the end.")],
)  # fmt: skip
def test_a_verdict_says_what_the_paired_interval_shows(section_of, ours, tone, word, ends):
    one = compare(section_of(*runs("learn2mix", ours), *runs("classical", HIGH)))
    logs = np.log(np.divide(ours, HIGH))
    low, high = np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs)))
    verdict = one.verdict
    assert (verdict.mean, verdict.low, verdict.high) == pytest.approx((stats.gmean(np.divide(ours, HIGH)), low, high))
    assert (verdict.tone, verdict.word) == (tone, word)
    assert verdict.number == f"{verdict.mean:.2f}\N{MULTIPLICATION SIGN}"
    assert verdict.interval == f"{verdict.mean:.3f} [{low:.3f}, {high:.3f}]"
    sentence, details = one.sentence, one.details
    assert sentence.endswith(ends)
    assert list(details) == ["at the end", "half-way"]


def test_it_says_after_which_share_of_the_epochs_ours_is_as_good(section_of):
    ours = [record("learn2mix", 0, [4.0, 2.0, 1.0, 1.0]), record("learn2mix", 1, [4.0, 4.0, 2.0, 1.0])]
    one = compare(section_of(*ours, *(record("classical", seed, [5.0, 4.0, 3.0, 2.0]) for seed in (0, 1))))
    assert one.sentence.startswith("learn2mix reaches classical's final error in 0.62 of its epochs, and")
    ours[1]["history"][2]["test_error"] = ours[1]["history"][3]["test_error"] = 2.5
    one = compare(section_of(*ours))
    assert one.sentence.startswith(
        "learn2mix reaches classical's final error in 0.50 of its epochs with 1 of 2 seeds, and"
    )


def test_a_small_difference_that_is_shown_is_seen_in_the_number(section_of):
    one = compare(section_of(*runs("learn2mix", [0.999, 1.998, 2.997]), *runs("classical", [1.0, 2.0, 3.0])))
    assert one.verdict.tone == "better"
    assert one.verdict.number == "0.9990\N{MULTIPLICATION SIGN}"


def test_headlines_count_tasks(section_of):
    one = compare(section_of(*runs("learn2mix", LOW), *runs("classical", HIGH)))
    (line,) = headlines([one])
    assert line.startswith(
        "learn2mix ends with a lower error than classical on 1 of 1 task, a higher one on 0; on 0 no"
    )


def test_long_tails_are_judged_by_balanced_accuracy(section_of):
    accuracies = {"balanced": [50.0, 51.0, 52.0], "learn2mix-passes": [53.0, 55.0, 56.0]}
    records = [record(method, seed, [1.0]) for method in accuracies for seed in range(3)]
    for one in records:
        one["objective"] = {"kind": "classification", "error_name": "test error, %", "scale": 100.0}
        error = 1 - accuracies[one["method"]][one["seed"]] / 100
        one["history"][0] |= {"test_by_group": [error, error]}
    one = compare(section_of(*records))
    gains = [3.0, 4.0, 4.0]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(gains), scale=stats.sem(gains))
    assert not one.is_ratio
    assert (one.verdict.low, one.verdict.high) == pytest.approx((low, high))
    assert (one.verdict.number, one.verdict.tone) == ("+3.7", "better")
    assert headlines([one])[0].startswith(
        "learn2mix-passes ends with a higher balanced accuracy than balanced on 1 of 1"
    )


def test_without_both_there_is_no_verdict(section_of):
    assert compare(section_of(*runs("learn2mix", LOW))) is None


def test_places_on_a_scale_are_in_order_and_no_effect_has_a_tick(section_of):
    one = compare(section_of(*runs("learn2mix", LOW), *runs("classical", HIGH), *runs("smote", [6.0, 6.6, 6.6])))
    scale = Scale.over(one.effects.values(), is_ratio=True)
    places = [scale.place(value) for value in (0.5, 1.0, 2.0, 3.0)]
    assert places == sorted(places)
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.02), "ratios by their logarithms"
    assert scale.ticks["1"] == scale.place(1.0)
    assert (scale.place(1e-9), scale.place(1e9)) == (0, 100)
