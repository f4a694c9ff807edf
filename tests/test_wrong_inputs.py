"""What cannot be right is refused where it is given, by name, and not later or never."""

import datetime
import enum
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from learn2mix import (
    AlternatingMix,
    AnnealedMix,
    ExcessLoss,
    FixedMix,
    GroupDRO,
    Learn2Mix,
    MixAdjustedLoss,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    OnlineDataMixing,
    Partition,
    PerSampleLoss,
    ReweightedLoss,
    StagedMix,
    report,
)
from learn2mix.calibration import adjust_logits
from learn2mix.data import InMemory

LABELS = [0] * 6 + [1] * 4
Kind = enum.Enum("Kind", "CAT DOG")


def sampler_of(mixer=None, labels=LABELS, batch_size=4):
    return MixedBatchSampler(labels, mixer or Learn2Mix(0.5), batch_size=batch_size)


def observing(losses, **others):
    sampler = sampler_of()
    next(iter(sampler))
    sampler.observe(losses, **others)
    return sampler


def refused(error, message, make):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.ma.array([0, 1, 1], mask=[0, 0, 1]), ValueError, r"1 of 3 are masked; .*labels.filled\(value\)"),
        (np.array([b"cat", b"dog"]), TypeError, r"give np.char.decode\(labels\)"),
        (list(Kind), TypeError, r"\[str\(label\) for label in labels\]"),
        ([datetime.date(2020, 1, 1)] * 2, TypeError, r"\[str\(label\) for label in labels\]"),
        (torch.tensor([0, 1, 1]).to_sparse(), TypeError, r"got a sparse_coo one; give labels.to_dense\(\)"),
    ],
)
def test_labels_that_are_none(labels, error, message):
    refused(error, message, lambda: Partition.by_class(labels))


def test_targets_behind_a_mask():
    refused(
        ValueError, "targets: 1 of 2 are masked", lambda: Partition.by_quantile(np.ma.array([1.0, 2.0], mask=[0, 1]), 1)
    )


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ([0, 1], ValueError, r"index of each of 3 samples, got shape \(2,\)"),
        ([0, 0, 1], ValueError, "from 0 to 2 once, but lacks 2"),
        ([0, 5, 1], ValueError, "once, but lacks 2"),
        ([0, -1, 1], ValueError, "once, but lacks 2"),
        ([0.0, 1.0, 2.0], TypeError, "whole numbers, got float64"),
    ],
)
def test_an_order_that_does_not_have_each_sample_once(order, error, message):
    refused(error, message, lambda: Partition([1, 2], ["a", "b"], np.array(order)))
    assert Partition([1, 2], ["a", "b"], [2, 0, 1]).indices(0).tolist() == [2]


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        (torch.ones(4, device="meta"), ValueError, "losses: on the meta device, which holds no data"),
        (torch.ones(4, dtype=torch.complex64), TypeError, r"losses must be real numbers.*losses.abs\(\)"),
        (torch.ones(4).to_sparse(), TypeError, r"losses must be a dense tensor.*losses.to_dense\(\)"),
        (np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[1, 0, 0, 0]), ValueError, "losses: 1 of 4 are masked"),
    ],
)
def test_losses_that_cannot_be_read(losses, error, message):
    sampler = sampler_of()
    next(iter(sampler))
    refused(error, message, lambda: sampler.observe(losses))
    assert sampler.history.steps.tolist() == [0], "the batch goes on waiting"


@pytest.mark.parametrize("losses", [pd.Series([1.0] * 4), torch.ones(4).to(torch.float8_e4m3fn)])
def test_losses_that_can(losses):
    np.testing.assert_allclose(observing(losses).mixer.proportions, observing([1.0] * 4).mixer.proportions)


def test_weights_of_another_number_are_named():
    refused(
        ValueError,
        r"weights must be one per loss, shape \(4,\), got shape \(2,\)",
        lambda: observing([1.0] * 4, weights=[1, 2]),
    )


class TestGroupsOfObservedLosses:
    """Labels that are tuples come as rows, or as the columns that torch's loader makes of them."""

    NAMES = (("a", 0), ("b", 1))

    def observed(self, groups, losses=(1.0, 2.0, 3.0), names=NAMES):
        sampler = MixedBatchSampler([*names] * 6, Learn2Mix(0.5), batch_size=4)
        next(iter(sampler))
        sampler.observe(list(losses), groups=groups)
        return sampler.group_losses.tolist()

    @pytest.mark.parametrize(
        "groups",
        [
            [("a", 0), ("b", 1), ("b", 1)],
            [["a", 0], ["b", 1], ["b", 1]],
            [("a", torch.tensor(0)), ("b", np.int64(1)), ("b", 1)],
            [("a", "b", "b"), torch.tensor([0, 1, 1])],
            [["a", "b", "b"], [0, 1, 1]],
        ],
    )
    def test_tuples(self, groups):
        assert self.observed(groups) == [1.0, 2.5]

    @pytest.mark.parametrize("groups", [np.array([[0, 1], [1, 0]]), [(0, 1), (1, 0)]])
    def test_as_many_columns_as_samples_are_rows_where_that_is_clear(self, groups):
        assert self.observed(groups, (1.0, 2.0), names=[(0, 1), (1, 0)]) == [1.0, 2.0]

    def test_and_refused_where_it_is_not(self):
        columns = [torch.tensor([0, 1]), torch.tensor([1, 0])]
        with pytest.raises(ValueError, match=r"rows or columns; give one tuple per loss: list\(zip\(\*columns\)\)"):
            self.observed(columns, (1.0, 2.0), names=[(0, 1), (1, 0)])

    @pytest.mark.parametrize("groups", [3, None])
    def test_what_is_no_label(self, groups):
        refused(ValueError, "groups must be one label per loss, got 3", lambda: self.observed(3))
        refused(ValueError, "there is no group None", lambda: observing([1.0, 2.0], groups=[0, None]))

    def test_labels_behind_a_mask(self):
        groups = np.ma.array([0, 1, 1], mask=[0, 0, 1])
        refused(ValueError, "groups: 1 of 3 are masked", lambda: self.observed(groups, names=(0, 1)))
        criterion = ReweightedLoss(torch.nn.MSELoss(reduction="none"), FixedMix(), [0, 1])
        refused(
            ValueError, "groups: 1 of 3 are masked", lambda: criterion(torch.ones(3), torch.zeros(3), groups=groups)
        )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: StagedMix({0: None, "a": None}), TypeError, "stages: a batch must be a whole number, got 'a'"),
        (lambda: AlternatingMix(groups=[[[0]], [1]]), ValueError, r"groups: there is no group \[0\]"),
        (lambda: AnnealedMix(num_steps=3, schedule=dict), TypeError, "schedule must be a name or a function"),
        (lambda: ExcessLoss("web"), TypeError, "reference must be a vector of numbers, got 'web'"),
        (lambda: ExcessLoss([1.0, np.nan]), ValueError, "reference must be one finite loss per group"),
        (lambda: FixedMix.effective_number(1), ValueError, "beta must be at least 0 and below 1, got 1"),
    ],
)
def test_what_a_rule_cannot_be_set_to(make, error, message):
    refused(error, message, lambda: sampler_of(make()))


def test_a_rule_within_another_belongs_to_it():
    shared = Learn2Mix()
    refused(ValueError, "the same one twice", lambda: AnnealedMix(shared, shared, num_steps=3))
    owner = sampler_of(shared)
    refused(ValueError, "already belongs to a MixedBatchSampler", lambda: sampler_of(AnnealedMix(shared, num_steps=3)))
    assert owner.mixer is shared
    inner = GroupDRO()
    outer = sampler_of(AnnealedMix(inner, "uniform", num_steps=3))
    refused(ValueError, "already belongs to a AnnealedMix", lambda: sampler_of(inner))
    assert len(outer) == 3


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"prefetch_factor": 2}, ValueError, "prefetch_factor"),
        ({"num_workers": 1, "timeout": -1}, ValueError, "timeout"),
        ({"num_workers": 1, "multiprocessing_context": 3}, TypeError, "multiprocessing_context"),
        (
            {"num_workers": 1, "worker_init_fn": "seed"},
            TypeError,
            "worker_init_fn must be a function or None, got 'seed'",
        ),
        ({"collate_fn": "pad"}, TypeError, "collate_fn must be a function or None, got 'pad'"),
        ({"device": "gpu"}, RuntimeError, "device string: gpu"),
    ],
)
def test_a_loader_s_arguments_are_checked_when_it_is_made(settings, error, message):
    refused(error, message, lambda: MixedLoader(LABELS, sampler_of(), **settings))


@pytest.mark.parametrize("name", ["dataset", "batch_sampler", "sampler", "collate_fn", "on_error"])
def test_what_a_loader_is_made_with_cannot_be_set_later(name):
    """It would have no effect: torch's DataLoader refuses a data set and a sampler too."""
    loader = MixedLoader(LABELS, sampler_of(FixedMix()))
    given = {"dataset": LABELS[::-1], "collate_fn": list, "on_error": "skip"}.get(name) or sampler_of()
    message = rf"{name} cannot be set once the loader is made.*make a new loader"
    refused(ValueError, message, lambda: setattr(loader, name, given))
    assert len(list(loader)) == len(loader)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((kind, "mixer", FixedMix()) for kind in ("sampler", "stream")),
        *((kind, "seed", 7) for kind in ("sampler", "stream")),
        *((kind, "order", "other") for kind in ("sampler", "stream")),
        ("sampler", "num_batches", 3),
    ],
)
def test_what_a_sampler_or_stream_is_made_with_cannot_be_set_later(kind, name, value):
    mixed = sampler_of() if kind == "sampler" else MixedStream({"a": [1], "b": [2]}, FixedMix(), batch_size=4)
    before = getattr(mixed, name)
    message = f"{name} cannot be set once the Mixed.* is made; make a new one with this {name}"
    refused(AttributeError, message, lambda: setattr(mixed, name, value))
    assert getattr(mixed, name) is before


def test_a_batch_size_set_later_is_checked_and_has_effect():
    sampler = sampler_of(FixedMix())
    loader = MixedLoader(torch.arange(len(LABELS)), sampler)
    for wrong in (0, 2.5):
        with pytest.raises((TypeError, ValueError), match="batch_size must be"):
            sampler.batch_size = wrong
    sampler.batch_size = 5
    assert [len(batch) for batch in loader] == [5, 5]
    assert (loader.batch_size, sampler.global_batch_size) == (5, 5)


@pytest.mark.parametrize("name", ["collate_fn", "decode_fn"])
def test_a_stream_s_functions_are_functions(name):
    refused(
        TypeError,
        f"{name} must be a function",
        lambda: MixedStream([[1], [2]], FixedMix(), batch_size=1, **{name: "x"}),
    )


def test_a_transform_is_a_function():
    refused(TypeError, "transform must be a function", lambda: InMemory(torch.ones(3), transform="x"))


def test_one_iterator_cannot_be_two_sources():
    samples = iter(range(10))
    refused(
        ValueError,
        "'a' and 'b' are the same iterator",
        lambda: MixedStream({"a": samples, "b": samples}, FixedMix(), batch_size=2),
    )
    twice = list(range(10))
    assert MixedStream({"a": twice, "b": twice}, FixedMix(), batch_size=2).group_names == ["a", "b"]


@pytest.mark.parametrize(
    "make", [PerSampleLoss, MixAdjustedLoss, lambda criterion: ReweightedLoss(criterion, FixedMix(), LABELS)]
)
@pytest.mark.parametrize(
    ("criterion", "error", "message"),
    [
        ("mse", TypeError, "criterion must be a module or a function, got 'mse'"),
        (nn.MSELoss, TypeError, r'got the class MSELoss; make one: MSELoss\(reduction="none"\)'),
        (nn.MSELoss(), ValueError, 'this MSELoss returns their mean; make it with reduction="none"'),
    ],
)
def test_a_criterion_is_checked_when_it_is_wrapped(make, criterion, error, message):
    refused(error, message, lambda: make(criterion))


@pytest.mark.parametrize(("target", "message"), [("Uniform", "got 'Uniform'"), ([0.3, 0.3], "target must sum to 1")])
def test_the_mix_that_a_loss_is_for(target, message):
    refused(ValueError, message, lambda: MixAdjustedLoss(target=target))


@pytest.mark.parametrize("change", [lambda data: data.append(0), lambda data: data.pop()])
def test_a_data_set_that_has_changed_its_length(change):
    data = list(range(10))
    loader = MixedLoader(data, sampler_of(FixedMix()))
    assert len(list(loader)) == 3
    change(data)
    refused(ValueError, r"it has (9|11) samples.* make a new sampler, .*strict=False\)", lambda: iter(loader))


class TestResultsOfValidation:
    @pytest.mark.parametrize(
        ("loss", "group_losses", "error", "message"),
        [
            (None, [1.0, 2.0], TypeError, "loss must be a number"),
            (torch.ones(2), [1.0, 2.0], TypeError, "loss must be a number"),
            (1.0, np.ma.array([1.0, 2.0], mask=[1, 0]), ValueError, "group_losses: 1 of 2 are masked"),
            (1.0, torch.ones(2, device="meta"), ValueError, "group_losses: on the meta device"),
            (1.0, {0: 1.0}, ValueError, "group_losses must name each of 2 groups, but has no loss for 1"),
            (1.0, {0: 1.0, 2: 1.0}, ValueError, "group_losses: there is no group 2"),
        ],
    )
    def test_that_are_none(self, loss, group_losses, error, message):
        sampler = sampler_of(Learn2Mix(0.5, signal="validation"))
        refused(error, message, lambda: sampler.observe_validation(loss, group_losses))
        assert sampler.mixer.proportions.tolist() == [0.6, 0.4]

    def test_by_name(self):
        by_name, by_place = (sampler_of(Learn2Mix(0.5, signal="validation")) for _ in range(2))
        by_name.observe_validation(1.0, {1: 3.0, 0: 1.0})
        by_place.observe_validation(1.0, [1.0, 3.0])
        assert by_name.mixer.proportions.tolist() == by_place.mixer.proportions.tolist() != [0.6, 0.4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupDRO(step=0.1), "GroupDRO: unexpected keyword argument 'step'; did you mean step_size?"),
        (lambda: OnlineDataMixing(mixing_rate=0.1), "OnlineDataMixing: unexpected keyword argument 'mixing_rate'"),
        (lambda: Learn2Mix(mixing=0.1), "Learn2Mix: unexpected keyword argument 'mixing'"),
        (lambda: adjust_logits(np.zeros((1, 2)), [0.5, 0.5], [0.5, 0.5]), "logits must be a tensor, got ndarray"),
        (lambda: report(sampler_of().history, title=3), "title must be a string, got 3"),
    ],
)
def test_an_argument_is_named(make, message):
    refused(TypeError, re.escape(message), make)


def test_a_rule_of_one_s_own_may_take_any_argument():
    class Own(FixedMix):
        def __init__(self, **settings):
            super().__init__(settings.get("of_mine"))

    assert sampler_of(Own(of_mine="uniform")).mixer.proportions.tolist() == [0.5, 0.5]
