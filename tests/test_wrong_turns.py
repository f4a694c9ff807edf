"""Loaders, loops and losses as a newcomer first writes them: the first error or warning says what to write."""

import gc
import warnings
from itertools import islice

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, TensorDataset

from helpers import NAN
from learn2mix import (
    AlternatingMix,
    FixedMix,
    Learn2Mix,
    MixAdjustedLoss,
    MixedBatchSampler,
    MixedLoader,
    MixedStream,
    MixingCallback,
    Partition,
    PerSampleLoss,
)

LABELS = torch.tensor([0] * 12 + [1] * 6 + [2] * 2)
DATA = TensorDataset(torch.randn(20, 4), LABELS)


class Packed(MixedStream):
    """Makes another batch of each batch."""

    def __iter__(self):
        return map(list, super().__iter__())


class Scaled(MixedBatchSampler):
    """Gives each batch a size of its images."""

    def __iter__(self):
        return ([(index, 32) for index in batch] for batch in super().__iter__())


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.model, self.criterion = nn.Linear(4, 3), PerSampleLoss(nn.CrossEntropyLoss(reduction="none"))

    def training_step(self, batch, batch_idx):
        return self.criterion(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(DATA)


def sampler(mixer=None, batch_size=5):
    return MixedBatchSampler(LABELS, mixer or FixedMix("uniform"), batch_size=batch_size)


@pytest.mark.parametrize("mixer", ["uniform", {0: 0.5, 1: 0.3, 2: 0.2}, [0.5, 0.3, 0.2]])
def test_a_mix_in_the_place_of_a_mixer(mixer):
    with pytest.raises(TypeError, match=rf"mixer must be .* got {type(mixer).__name__}; .*FixedMix\("):
        MixedBatchSampler(LABELS, mixer, batch_size=5)
    with pytest.raises(TypeError, match=r"FixedMix\("):
        MixedStream([range(10), range(10)], mixer, batch_size=5)


@pytest.mark.parametrize(("wrong", "hint"), [("shufle_buffer", "; did you mean shuffle_buffer?"), ("zebra", "$")])
def test_an_argument_that_a_stream_does_not_have(wrong, hint):
    with pytest.raises(TypeError, match=rf"MixedStream: unexpected keyword argument '{wrong}'{hint}"):
        MixedStream([range(10), range(10)], FixedMix(), batch_size=5, **{wrong: 3})


def test_a_mapping_of_data_sets_in_the_place_of_their_samples():
    datasets = {"small": range(10), "large": range(50)}
    mixed = MixedBatchSampler(Partition.by_dataset(datasets), FixedMix(), batch_size=5)
    with pytest.raises(TypeError, match=r"60 samples.* mapping of 2; .*ConcatDataset\(list\(datasets.values\(\)\)\)"):
        MixedLoader(datasets, mixed)
    by_number = {number: -number for number in range(20)}
    assert min(next(iter(MixedLoader(by_number, sampler(), collate_fn=list)))) >= -19


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda s, **kw: DataLoader(DATA, sampler=s, **kw),
        lambda s, **kw: DataLoader(DATA, sampler=s, batch_size=5, **kw),
        lambda s, **kw: DataLoader(DATA, batch_sampler=BatchSampler(s, 5, drop_last=True), **kw),
    ],
)
def test_a_batch_sampler_passed_as_a_sampler_is_refused_before_its_first_batch(make, num_workers):
    mixed = sampler()
    with pytest.raises(ValueError, match=r"sampler: .* as sampler=.*; pass DataLoader\(dataset, batch_sampler=sampler"):
        next(iter(make(mixed, num_workers=num_workers)))
    assert mixed.draws.sum() == 0
    assert len(list(DataLoader(DATA, batch_sampler=mixed))) == 4  # it is as good as new


@pytest.mark.parametrize("callbacks", [[], [MixingCallback()]], ids=["alone", "callback"])
def test_so_it_is_under_the_trainer(callbacks, tmp_path):
    trainer = Trainer(max_epochs=1, callbacks=callbacks, **quiet(tmp_path))
    with pytest.raises(ValueError, match=r"as sampler=.*batch_sampler=sampler"):
        trainer.fit(Classifier(), DataLoader(DATA, sampler=sampler(), batch_size=5))


def test_an_index_of_many_is_a_batch_where_torch_makes_none():
    batches = list(DataLoader(DATA, sampler=sampler(), batch_size=None))
    assert [len(labels) for _, labels in batches] == [5] * 4


def quiet(folder):
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return dict.fromkeys(names, False) | {"default_root_dir": folder, "accelerator": "cpu", "devices": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_worker": 2}, "unexpected keyword argument 'num_worker'; did you mean num_workers"),
        ({"zerolag": True}, "unexpected keyword argument 'zerolag'; did you mean zero_lag"),
        ({"mixer": FixedMix()}, "unexpected keyword argument 'mixer'$"),
        ({"sampler": sampler()}, "sampler is not taken; pass batch_sampler"),
        ({"shuffle": True}, "shuffle is not taken; batches are shuffled by the sampler"),
    ],
)
def test_an_argument_that_the_loader_does_not_have(arguments, message):
    with pytest.raises(TypeError, match=f"MixedLoader: {message}"):
        MixedLoader(DATA, **{"batch_sampler": sampler()} | arguments)


@pytest.mark.parametrize(
    ("dataset", "batch_sampler", "message"),
    [
        (DATA, None, r"batch_sampler must be .* NoneType; make it: MixedBatchSampler\(labels, mixer, batch_size=...\)"),
        (DATA, LABELS, r"batch_sampler must be .* Tensor; make it: MixedBatchSampler"),
        (DATA, Learn2Mix(), r"batch_sampler must be .* Learn2Mix; make it: MixedBatchSampler"),
        (sampler(), DATA, "batch_sampler must be .* TensorDataset; the data set comes first"),
        (Endless(), sampler(), "dataset must be map-style, .* got Endless; .* MixedStream"),
        (iter(DATA), sampler(), "dataset must be map-style, .* MixedStream"),
        (DATA, Scaled(LABELS, FixedMix(), batch_size=5), r"a Scaled composes, .* DataLoader \(as batch_sampler="),
        (Packed([DATA, DATA], FixedMix(), batch_size=5), None, "a Packed composes, .* a stream with batch_size=None"),
    ],
)
def test_a_loader_of_other_parts(dataset, batch_sampler, message):
    with pytest.raises(TypeError, match=message):
        MixedLoader(dataset, batch_sampler)


@pytest.mark.parametrize("num_labels", [10, 30])
@pytest.mark.parametrize("loader", [MixedLoader, lambda data, mixed: DataLoader(data, batch_sampler=mixed)])
def test_labels_of_more_or_fewer_samples(loader, num_labels):
    mixed = MixedBatchSampler(torch.arange(num_labels) % 2, FixedMix(), batch_size=5)
    with pytest.raises(ValueError, match=f"dataset: it has 20 samples, but the sampler has labels of {num_labels}"):
        next(iter(loader(DATA, mixed)))


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        ({"loss": 1.0}, TypeError, "losses must be a tensor or array of numbers, one per sample, got dict"),
        ("0.3", TypeError, "losses must be .* got str"),
        (torch.ones(1), ValueError, r'reduction="none"; if it is the only sample that is left, call observe\(None\)'),
        (torch.ones(2), ValueError, r"collate_fn left samples out, call observe\(None\), or pass groups="),
        (0.3, ValueError, r'got shape \(\); make the criterion with reduction="none"$'),
    ],
)
def test_losses_of_another_kind(losses, error, message):
    mixed = sampler(Learn2Mix())
    next(iter(mixed))
    with pytest.raises(error, match=message):
        mixed.observe(losses)
    mixed.observe(torch.ones(5))


def test_groups_of_other_losses():
    mixed = sampler(Learn2Mix())
    next(iter(mixed))
    with pytest.raises(ValueError, match="groups must be one label per loss, got 2 for 3 losses"):
        mixed.observe(torch.ones(3), groups=[0, 1])
    mixed.observe(torch.ones(2), groups=[0, 1])
    assert mixed.group_losses.tolist() == pytest.approx([1.0, 1.0, NAN], nan_ok=True)


def two_views(module, x, y):
    losses = module.each(torch.cat([x, x + 0.1]), torch.cat([y, y]))
    return losses, {"losses": losses.view(2, 5).mean(0)}, {"losses": losses, "labels": torch.cat([y, y])}


def some_left_out(module, x, y):
    losses = module.each(x[3:], y[3:])
    return losses, {"losses": None}, {"losses": losses, "labels": y[3:]}


@pytest.mark.parametrize("step", [two_views, some_left_out])
@pytest.mark.parametrize("follows", [None, "losses", "groups"])
def test_under_the_callback_an_error_says_what_to_return(step, follows, tmp_path):
    class Module(Classifier):
        def each(self, x, y):
            self.criterion(self.model(x), y)
            return self.criterion.losses

        def training_step(self, batch, batch_idx):
            _, *ways = step(self, *batch)
            loss = self.model(batch[0]).square().mean()
            return {"loss": loss} | ({} if follows is None else ways[follows == "groups"])

    mixed = sampler(Learn2Mix())
    callback = MixingCallback(groups="labels" if follows == "groups" else None)
    fit = Trainer(max_epochs=1, callbacks=[callback], **quiet(tmp_path)).fit
    if follows is None:
        said = r'training_step returns: {"loss": loss, "losses": losses}.* None .*MixingCallback\(groups="labels"\)'
        with pytest.raises(ValueError, match=f"losses must be one value per sample.*{said}"):
            fit(Module(), MixedLoader(DATA, mixed))
    else:
        fit(Module(), MixedLoader(DATA, mixed))
        assert mixed.lag == 0
        assert torch.isnan(torch.tensor(mixed.group_losses)).all() == (step is some_left_out and follows == "losses")


def test_a_criterion_that_was_not_made():
    with pytest.raises(TypeError, match=r'criterion .* the class CrossEntropyLoss; make one: .*\(reduction="none"\)'):
        PerSampleLoss(nn.CrossEntropyLoss)


def test_a_function_that_averages():
    with pytest.raises(ValueError, match=r"cross_entropy returned a scalar; .*partial\(cross_entropy, "):
        PerSampleLoss(nn.functional.cross_entropy)(torch.zeros(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize("criterion", [None, nn.BCEWithLogitsLoss(reduction="none")])
@pytest.mark.parametrize(
    ("targets", "shown"),
    [([[1.0, 0.0, 0.0]] * 4 + [[1.0, 0.0, 1.0]], "2"), ([[0.0, 0.0, 0.0]] + [[0.5, 0.5, 0.0]] * 4, "0")],
)
def test_a_softmax_is_not_corrected_for_several_labels(criterion, targets, shown):
    loader = MixedLoader(DATA, sampler())
    loss = MixAdjustedLoss(criterion).follow(loader)
    next(iter(loader))
    with pytest.raises(ValueError, match=f"targets must be .* sums to {shown}; .*several labels, use PerSampleLoss"):
        loss(torch.zeros(5, 3), torch.tensor(targets))
    loss(torch.zeros(5, 3), torch.full((5, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"logits must .* got \(5,\); .* PerSampleLoss\(nn\.BCEWithLogitsLoss"):
        loss(torch.zeros(5), torch.zeros(5))


def warned(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
        gc.collect()
    return [str(one.message) for one in caught if "follows the results of validation" in str(one.message)]


def test_a_run_without_an_end_is_told_long_before_it_that_nothing_is_observed():
    sources = {"web": range(100), "books": range(100, 150)}
    batches = iter(MixedLoader(MixedStream(sources, Learn2Mix(), batch_size=2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(1000):  # a loop may hold as many and observe them then
            next(batches)
    with pytest.warns(UserWarning, match=r"Learn2Mix follows losses, but none of the 10.. batches handed out"):
        list(islice(batches, 50))


MIXERS = [lambda: Learn2Mix(signal="validation"), lambda: AlternatingMix(every="plateau", window=2)]


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("max_epochs", [1, 2])
def test_a_mix_that_follows_validation_under_a_trainer_without_the_callback(mixer, max_epochs, tmp_path):
    trainer = Trainer(max_epochs=max_epochs, **quiet(tmp_path))
    said = warned(lambda: trainer.fit(Classifier(), MixedLoader(DATA, sampler(mixer()))))
    assert len(said) == 1
    assert "MixingCallback()" in said[0]
    assert "observe_validation" in said[0]


@pytest.mark.parametrize("mixer", [*MIXERS, FixedMix])
@pytest.mark.parametrize("validates", [False, True])
def test_a_loop_that_never_validates_is_told_once(mixer, validates):
    mixed = sampler(mixer())

    def loop():
        for _ in range(5):
            for _ in MixedLoader(DATA, mixed):
                pass
            if validates:
                mixed.observe_validation(1.0, [1.0, 2.0, 3.0])

    assert len(warned(loop)) == (not validates and mixed.mixer.needs_validation is not None)
