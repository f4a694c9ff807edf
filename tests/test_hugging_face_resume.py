"""A ``MixedTrainer`` that goes on from any checkpoint ends as one that was not stopped, bit for bit."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

pytest.importorskip("learn2mix.integrations.transformers", exc_type=ImportError, reason="transformers does not load")

import forks
from helpers import evenly_drawn
from hugging_face import BATCH_SIZE, LABELS, NUM_BATCHES, Classifier, Data, Told, own_loss, sampler_of, trainer_of
from learn2mix import FixedMix, MixedBatchSampler, MixedStream
from learn2mix.integrations.transformers import STATE

TOLD = {"logging_strategy": "steps", "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2}


def result(trainer):
    """What must be the same: batches, mix, weights, and how far the Trainer says it is."""
    weights = torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])
    mix = trainer.train_sampler.mixer.proportions.tolist()
    return trainer.model.batches, mix, weights, (trainer.state.global_step, trainer.state.epoch)


def goes_on(make, folder, checkpoint):
    """Train in another folder from a checkpoint."""
    trainer = make(folder / f"from-{checkpoint.name}")
    trainer.train(resume_from_checkpoint=str(checkpoint))
    return result(trainer)


class Source(IterableDataset):
    """The samples of a group, one after the other."""

    def __init__(self, group):
        self.indices = (group == LABELS).nonzero().flatten().tolist()

    def __iter__(self):
        return (Data()[index] for index in self.indices)


def assert_same(resumed, unbroken):
    batches, mix, weights, place = resumed
    assert batches == unbroken[0][len(unbroken[0]) - len(batches) :]
    assert mix == unbroken[1]
    assert torch.equal(weights, unbroken[2])
    assert place == unbroken[3]


def all_runs(folder, num_processes, num_workers, accumulated):
    """The unbroken run on this process, and one from each of several checkpoints of it."""
    updates = -(-NUM_BATCHES // accumulated)
    settings = {
        "num_train_epochs": 2,
        "dataloader_num_workers": num_workers,
        "gradient_accumulation_steps": accumulated,
        "per_device_train_batch_size": BATCH_SIZE // num_processes,
        "save_strategy": "steps",
        "save_steps": 1,
    }

    def make(where):
        return trainer_of(where, settings=settings if num_processes > 1 else settings | TOLD)

    trainer = make(folder / "unbroken")
    trainer.train()
    # In the middle and at the end of an epoch, and of all.
    checkpoints = [folder / "unbroken" / f"checkpoint-{step}" for step in (1, updates, 2 * updates)]
    return result(trainer), [goes_on(make, folder, checkpoint) for checkpoint in checkpoints]


def check_all(runs, accumulated):
    unbroken, resumed = runs
    assert len(unbroken[0]) == 2 * NUM_BATCHES
    assert [len(one[0]) for one in resumed] == [2 * NUM_BATCHES - accumulated, NUM_BATCHES, 0]
    for one in resumed:
        assert_same(one, unbroken)


@pytest.mark.parametrize(("num_workers", "accumulated"), [(0, 1), (0, 2), (2, 2)])
def test_a_resumed_run_is_the_unbroken_one(tmp_path, num_workers, accumulated):
    check_all(all_runs(tmp_path, 1, num_workers, accumulated), accumulated)


def trained(folder, num_processes):
    """A run without dropout, whose random numbers are other ones on each process."""
    model = Classifier()
    model.dropout.p = 0.0
    settings = {"per_device_train_batch_size": BATCH_SIZE // num_processes, "num_train_epochs": 2}
    trainer = trainer_of(folder, settings=settings, model=model, compute_loss_func=own_loss)
    trainer.train()
    return result(trainer)


@pytest.fixture(scope="module")
def on_two_processes(tmp_path_factory):
    """All that is tried on two processes, in one pair of them: to start a pair takes longer than to train."""
    folder = tmp_path_factory.mktemp("two")

    def run(rank):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="MixedTrainer")
        cases = {case: all_runs(folder / f"{case}", 2, *case) for case in ((0, 2), (2, 1))}
        return cases | {"trained": trained(folder / "trained", 2)}

    return forks.results(run, 2, folder / "outcomes", lightning=True)


@pytest.mark.parametrize(("num_workers", "accumulated"), [(0, 2), (2, 1)])
def test_a_resumed_run_on_two_processes_is_the_unbroken_one(on_two_processes, num_workers, accumulated):
    runs = [ended[num_workers, accumulated] for ended in on_two_processes]
    for of_process in runs:
        check_all(of_process, accumulated)
    first, second = (unbroken for unbroken, _ in runs)
    assert first[1] == second[1], "both hold the same mix"
    drawn = [list(itertools.chain(*parts)) for parts in zip(first[0], second[0], strict=True)]
    assert {len(batch) for batch in drawn} == {BATCH_SIZE}
    assert evenly_drawn(drawn, LABELS)


def test_two_processes_draw_the_batches_of_one(on_two_processes, tmp_path):
    batches, mix, weights, place = trained(tmp_path, 1)
    first, second = (ended["trained"] for ended in on_two_processes)
    for whole, *parts in zip(batches, first[0], second[0], strict=True):
        assert sorted(itertools.chain(*parts)) == sorted(whole)
    for _, other_mix, other_weights, other_place in (first, second):
        np.testing.assert_allclose(other_mix, mix, rtol=1e-4)
        torch.testing.assert_close(other_weights, weights, rtol=1e-4, atol=1e-5)
        assert other_place == place


def stopped(folder, updates, mixer=None, **settings):
    """The folder of a run's last checkpoint."""
    settings = {"max_steps": updates, "save_strategy": "steps", "save_steps": updates} | settings
    trainer_of(folder, mixer, settings=settings).train()
    return folder / f"checkpoint-{updates}"


def test_a_run_cut_short_by_max_steps_goes_on(tmp_path):
    unbroken = trainer_of(tmp_path / "unbroken", settings={"max_steps": 13})
    unbroken.train()
    stopped(tmp_path / "run", 7)
    trainer = trainer_of(tmp_path / "run", settings={"max_steps": 13})
    trainer.train(resume_from_checkpoint=True)  # the last in its folder
    assert_same(result(trainer), result(unbroken))
    assert len(trainer.model.batches) == 6


def test_a_trainer_that_resumes_again_logs_its_own_batches(tmp_path):
    logging = {"logging_strategy": "steps", "logging_steps": 3}
    folder = stopped(tmp_path, 7, **logging)
    trainer = trainer_of(tmp_path, settings={"max_steps": 13} | logging)
    entries = []
    for _ in range(2):
        trainer.train(resume_from_checkpoint=str(folder))
        names = ("step", "mix/realised/0", "mix/requested/0")
        logged = [entry for entry in trainer.state.log_history if "loss" in entry and entry["step"] > 7]
        entries.append([[entry[name] for name in names] for entry in logged])
    assert [step for step, *_ in entries[0]] == [9, 12]
    assert entries[0] == entries[1]


def test_a_mix_without_losses_goes_on_too(tmp_path):
    unbroken = trainer_of(tmp_path / "unbroken", FixedMix("uniform"), settings={"max_steps": 13})
    unbroken.train()
    stopped(tmp_path / "run", 7, FixedMix("uniform"))
    trainer = trainer_of(tmp_path / "run", FixedMix("uniform"), settings={"max_steps": 13})
    trainer.train(resume_from_checkpoint=True)
    assert_same(result(trainer), result(unbroken))


def test_a_stream_goes_on_where_it_was(tmp_path):
    def make(folder, steps, num_workers):
        sources = {group: Source(group) for group in range(3)}
        stream = MixedStream(sources, Told(0.3), batch_size=BATCH_SIZE, shuffle_buffer=4)
        settings = {
            "max_steps": steps,
            "save_strategy": "steps",
            "save_steps": 5,
            "dataloader_num_workers": num_workers,
        }
        settings |= {"gradient_accumulation_steps": 2}
        return trainer_of(folder, settings=settings, train_dataset=stream, train_sampler=None)

    for num_workers in (0, 2):
        folder = tmp_path / f"{num_workers}"
        unbroken = make(folder / "unbroken", 9, num_workers)
        unbroken.train()
        resumed = make(folder / "other", 9, num_workers)
        resumed.train(resume_from_checkpoint=str(folder / "unbroken" / "checkpoint-5"))
        assert len(resumed.model.batches) == 8
        assert_same(result(resumed), result(unbroken))


def test_the_state_is_whole_beside_the_weights_and_safe_to_load(tmp_path):
    folder = stopped(tmp_path, 7)
    state = torch.load(folder / STATE, weights_only=True)
    assert state["position"] == 2
    assert {path.name for path in folder.iterdir()} >= {STATE, "trainer_state.json", "rng_state.pth"}
    assert not list(folder.glob("*.new"))


def test_a_checkpoint_without_a_mix_is_refused_or_begins_one(tmp_path):
    folder = stopped(tmp_path, 7)
    alone = tmp_path / "of_save_model"
    alone.mkdir()
    (alone / STATE).write_bytes((folder / STATE).read_bytes())
    with pytest.raises(ValueError, match=rf"{alone} has no trainer_state.json.*resume from a checkpoint-N"):
        trainer_of(tmp_path).train(resume_from_checkpoint=str(alone))
    (folder / STATE).unlink()
    with pytest.raises(ValueError, match=rf"{folder} has no {STATE}.*ignore_data_skip=True"):
        trainer_of(tmp_path).train(resume_from_checkpoint=True)
    trainer = trainer_of(tmp_path, settings={"ignore_data_skip": True})
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 15
    assert trainer.model.batches[0] == next(iter(sampler_of()))


@pytest.mark.parametrize("other", [{"gradient_accumulation_steps": 3}, {"num_batches": 6}])
def test_a_checkpoint_of_another_place_in_the_epoch_is_refused_or_begins_one(tmp_path, other):
    stopped(tmp_path, 8)
    num_batches = other.pop("num_batches", NUM_BATCHES)

    def make(**settings):
        sampler = MixedBatchSampler(LABELS, Told(0.3), batch_size=BATCH_SIZE, num_batches=num_batches)
        return trainer_of(tmp_path, train_sampler=sampler, settings=other | {"max_steps": 14} | settings)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the sampler, on its own num_batches
        with pytest.raises(ValueError, match=r"saved at batch 3 .* would go on at batch .*gradient_accumulation_steps"):
            make().train(resume_from_checkpoint=True)
        trainer = make(ignore_data_skip=True)
        trainer.train(resume_from_checkpoint=True)
    assert trainer.train_sampler.lag == 0
    assert trainer.state.global_step == 14
    assert len(trainer.model.batches) % num_batches == 0, "whole epochs"


def test_another_batch_size_is_refused_or_keeps_the_mix(tmp_path):
    folder = stopped(tmp_path, 7)
    mix = torch.load(folder / STATE, weights_only=True)["feedback"]["mixer"]["proportions"]
    with pytest.raises(ValueError, match="global_batch_size is 8, but this sampler's is 4"):
        trainer_of(tmp_path, settings={"per_device_train_batch_size": 4}).train(resume_from_checkpoint=True)
    settings = {"per_device_train_batch_size": 4, "ignore_data_skip": True, "max_steps": 8}
    trainer = trainer_of(tmp_path, settings=settings)
    with pytest.warns(UserWarning, match="The mix and the passes over each group go on"):
        trainer.train(resume_from_checkpoint=True)
    np.testing.assert_allclose(trainer.train_sampler.last_observed.proportions, mix)
