"""Accelerate: the page's script on one process and two, its checkpoints, and what is refused."""

import itertools
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("accelerate", reason="accelerate is not installed")
from accelerate import Accelerator, skip_first_batches
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DataLoaderConfiguration

import forks
from helpers import evenly_drawn
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream

PAGE = (Path(__file__).parent.parent / "docs" / "accelerate.md").read_text(encoding="utf8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
LABELS = torch.tensor([0] * 60 + [1] * 40)
INDICES = torch.arange(100)


@pytest.fixture(autouse=True)
def forgotten():
    """Accelerate keeps its settings for a process; each test is one of its own."""
    state = torch.get_rng_state()
    forget()
    yield
    forget()
    torch.set_rng_state(state)


def forget():
    for kept in (AcceleratorState, GradientState, PartialState):
        kept._reset_state()


def page(folder):
    """What the page's first two blocks end with, and the batches that they draw."""
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    names, batches, read = {}, [], MixedLoader._read

    def recorded(loader, iteration):
        for x, y in read(loader, iteration):
            batches.append(x.sum(1).tolist())
            yield x, y

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MixedLoader, "_read", recorded)
        for example in EXAMPLES[:2]:
            exec(compile(example, "accelerate.md", "exec"), names)
    weight = names["accelerator"].unwrap_model(names["model"]).weight.detach().clone()
    return names["sampler"].mixer.proportions, names["sampler"].draws, weight, batches


NUM_STEPS, STOPS = 12, (3, 5)  # 5 batches an epoch: in the middle of one, and at its end


def run(folder, num_workers, begin=0):
    """Train from a checkpoint, or from the start, saving some; return batches, mix and weights."""
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.3), batch_size=20 // accelerator.num_processes)
    loader = MixedLoader(TensorDataset(INDICES, LABELS), sampler, num_workers=num_workers, device=accelerator.device)
    model, optimizer, prepared = accelerator.prepare(model, optimizer, loader)
    assert prepared is loader
    accelerator.register_for_checkpointing(loader)
    if begin:
        accelerator.load_state(f"{folder}/{begin}")
    drawn = []
    while begin + len(drawn) < NUM_STEPS:
        for x, y in loader:
            losses = F.cross_entropy(model(torch.stack([x / 100, y], 1)), y, reduction="none")
            accelerator.backward(losses.mean())
            optimizer.step()
            optimizer.zero_grad()
            loader.observe(losses)
            drawn.append(x.tolist())
            if not begin and len(drawn) in STOPS:
                accelerator.save_state(f"{folder}/{len(drawn)}")
            if begin + len(drawn) == NUM_STEPS:
                break
    return drawn, sampler.mixer.proportions.tolist(), [weight.tolist() for weight in model.parameters()]


def goes_on(folder, num_workers):
    """Return the unbroken run, once those from its checkpoints were seen to end as it does."""
    drawn, mix, weights = run(folder, num_workers)
    for stop in STOPS:
        forget()
        assert run(folder, num_workers, begin=stop) == (drawn[stop:], mix, weights)
    return drawn, mix, weights


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(tmp_path, num_workers):
    goes_on(tmp_path, num_workers)


def refused(loader):
    """What the first batch of a prepared loader is refused with, or nothing."""
    try:
        next(iter(Accelerator(cpu=True).prepare(loader)))
    except RuntimeError as error:
        return str(error)


def plain(mixer=None):
    sampler = MixedBatchSampler(LABELS, mixer or FixedMix(), batch_size=4)
    return DataLoader(TensorDataset(INDICES, LABELS), batch_sampler=sampler)


def stream():
    sources = {group: [(index, group) for index in range(50)] for group in range(2)}
    return DataLoader(MixedStream(sources, FixedMix(), batch_size=4), batch_size=None)


SPLITS = [{}, {"split_batches": True}, {"dispatch_batches": True}, {"even_batches": False}]


def rates(*, prepared):
    """The learning rate after each batch, of one that is to fall to 0 over the training."""
    accelerator = Accelerator(cpu=True)
    loader = MixedLoader(INDICES, MixedBatchSampler(LABELS, FixedMix(), batch_size=5))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(loader))
    optimizer, loader = accelerator.prepare(optimizer, loader)
    if prepared:
        scheduler = accelerator.prepare(scheduler)
    found = []
    for _ in loader:
        optimizer.step()
        scheduler.step()
        found.append(scheduler.get_last_lr()[0])
    return found


@pytest.fixture(scope="module")
def on_two_processes(tmp_path_factory):
    """All that is tried on two processes, in one pair of them: to start a pair takes longer than the rest."""
    folder = tmp_path_factory.mktemp("two")

    def tried(rank):
        warnings.simplefilter("ignore")
        found = {"resumed": goes_on(folder / "resumed", 2)}
        forget()
        found["page"] = page(folder / "page")
        for number, settings in enumerate(SPLITS):
            forget()
            Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**settings))
            found[number] = refused(plain())
        forget()
        found["stream"] = refused(stream())
        forget()
        found["rates"] = {prepared: rates(prepared=prepared) for prepared in (False, True)}
        return found

    return forks.results(tried, 2, folder / "outcomes", lightning=True)


def test_two_processes_hold_one_mix_and_their_batches_are_parts_of_one(on_two_processes):
    first, second = (found["resumed"] for found in on_two_processes)
    assert first[1:] == second[1:], "mix and weights"
    assert first[1][1] != 0.4, "the mix moves"
    assert all(set(mine).isdisjoint(other) for mine, other in zip(first[0], second[0], strict=True))
    together = [mine + other for mine, other in zip(first[0], second[0], strict=True)]
    assert {len(batch) for batch in together} == {20}
    assert evenly_drawn(together, LABELS)


def test_the_page_s_script_does_on_two_processes_what_it_does_on_one(on_two_processes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mix, draws, weight, batches = page(tmp_path / "one")
    assert mix[2] > 0.02  # it began at 0.01
    assert len(batches) == 75
    ranks = [found["page"] for found in on_two_processes]
    for other_mix, other_draws, other_weight, _ in ranks:
        np.testing.assert_allclose(other_mix, mix, rtol=1e-4)
        assert other_draws.tolist() == draws.tolist()
        torch.testing.assert_close(other_weight, weight, rtol=1e-3, atol=1e-4)
    for whole, *of_ranks in zip(batches, *(other for *_, other in ranks), strict=True):
        assert sorted(itertools.chain(*of_ranks)) == sorted(whole)


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(EXAMPLES), "accelerate.md", "exec"), {})


def test_a_schedule_that_is_not_prepared_lasts_as_long_as_the_training(on_two_processes):
    for found in on_two_processes:
        assert found["rates"][False] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
        assert found["rates"][True] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0, 0])  # as the page says


@pytest.mark.parametrize("case", [*range(len(SPLITS)), "stream"])
def test_batches_that_would_be_split_twice_are_refused_on_each_process(on_two_processes, case):
    for found in on_two_processes:
        assert re.search(r": a \w+ gives each of 2 processes some of its batches", found[case])
        assert "use MixedLoader" in found[case]


@pytest.mark.parametrize("make", [plain, stream])
def test_on_one_process_a_prepared_loader_trains(make):
    loader = Accelerator(cpu=True).prepare(make())
    drawn = [len(x) for x, _ in itertools.islice(loader, 5)]
    assert drawn == [4] * 5


def test_a_prepared_loader_holds_one_batch_back_and_losses_find_theirs():
    loader = plain(Learn2Mix(0.3))
    sampler = loader.batch_sampler
    for _, y in Accelerator(cpu=True).prepare(loader):
        sampler.observe(1.0 + y)
        assert sampler.lag <= 1
        known = ~np.isnan(sampler.group_losses)
        np.testing.assert_allclose(sampler.group_losses[known], np.array([1.0, 2.0])[known])


@pytest.mark.parametrize("kind", ["MixedLoader", "DataLoader", "prepared"])
@pytest.mark.parametrize("mixer", [FixedMix, Learn2Mix])
def test_to_skip_what_a_loaded_state_has_behind_it_is_refused(kind, mixer):
    saved = MixedBatchSampler(LABELS, mixer(), batch_size=4)
    for _, batch in zip(range(3), saved, strict=False):
        saved.observe(np.ones(len(batch)))
    sampler = MixedBatchSampler(LABELS, mixer(), batch_size=4)
    sampler.load_state_dict(saved.state_dict())
    data = TensorDataset(INDICES, LABELS)
    loader = MixedLoader(data, sampler) if kind == "MixedLoader" else DataLoader(data, batch_sampler=sampler)
    if kind == "prepared":
        loader = Accelerator(cpu=True).prepare(loader)
    with pytest.raises(RuntimeError, match=r"goes on after batch 3 of the epoch by itself.* leave out 3 more"):
        next(iter(skip_first_batches(loader, 3)))


def test_an_accumulated_step_observes_each_batch():
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = torch.nn.Linear(1, 2)
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.3), batch_size=20)
    loader = MixedLoader(TensorDataset(INDICES, LABELS), sampler)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)
    weights = []
    for x, y in loader:
        with accelerator.accumulate(model):
            losses = F.cross_entropy(model(x[:, None] / 100), y, reduction="none")
            accelerator.backward(losses.mean())
            optimizer.step()
            optimizer.zero_grad()
        loader.observe(losses)
        weights.append(model.weight.detach().clone())
    assert [not torch.equal(one, other) for one, other in itertools.pairwise(weights)] == [True, False, True, False]
    assert sampler.lag == 0
