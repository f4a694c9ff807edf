"""ReweightedLoss copied, on an accelerator, compiled, built on the meta device and on several processes."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
import torch._dynamo
import torch._dynamo.testing
from torch import nn

import forks
from fake_accelerator import FakeAccelerator
from helpers import same_state, through_a_file
from learn2mix import FixedMix, Learn2Mix, ReweightedLoss
from reweighting import BATCHES, LABELS, PRIOR, VALUES, call, make, mixes


def deep_pickled(criterion):
    return pickle.loads(pickle.dumps(criterion))


@pytest.mark.parametrize("again", [copy.deepcopy, deep_pickled], ids=["copy", "pickle"])
def test_a_copy_goes_on_by_itself(again):
    unbroken = mixes(make(Learn2Mix(0.5, every=3)))
    criterion = make(Learn2Mix(0.5, every=3))
    assert mixes(criterion, BATCHES[:4]) == unbroken[:4]
    other = again(criterion)
    assert mixes(other, BATCHES[4:]) == unbroken[4:]
    assert mixes(criterion, BATCHES[4:]) == unbroken[4:]


def test_a_mixer_belongs_to_one_loss_and_is_free_once_that_is_gone():
    mixer = Learn2Mix(0.5)
    criterion = make(mixer)
    with pytest.raises(ValueError, match="already belongs to a ReweightedLoss"):
        make(mixer)
    other = copy.deepcopy(criterion)
    with pytest.raises(ValueError, match="already belongs to a ReweightedLoss"):
        make(other.mixer)
    gone = weakref.ref(criterion)
    del criterion
    gc.collect()
    assert gone() is None
    make(mixer)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_on_an_accelerator_no_step_waits_for_it(device):
    gpu, losses = FakeAccelerator(device), VALUES.float()
    criterion, expected = make(Learn2Mix(0.5)), make(Learn2Mix(0.5))
    with gpu:
        on_gpu = [gpu.put(losses[batch]) for batch in BATCHES]
        groups = [torch.from_numpy(LABELS[batch]) for batch in BATCHES]
        found = [criterion(*pair[:1], groups=pair[1]) for pair in zip(on_gpu, groups, strict=True)]
        waits = list(gpu.waits)
        found = [loss.item() for loss in found]
    if device == "cuda:1":
        assert waits == []
    known = [np.array(PRIOR)] * 2  # an update arrives one batch later, and weighs from the batch after that
    for batch, loss in zip(BATCHES, found, strict=True):
        weights = (known[-2] / PRIOR)[LABELS[batch]]
        assert loss == pytest.approx((weights * losses[batch].numpy()).mean(), rel=1e-5)
        call(expected, batch)
        known.append(expected.mixer.proportions)


class Net(nn.Module):
    def __init__(self, criterion):
        super().__init__()
        self.body, self.criterion = nn.Linear(4, 2), criterion

    def forward(self, x, y, **kwargs):
        return self.criterion(self.body(x), y, **kwargs)


def train_net(backend, *, mixer, num_steps=12, evaluate=True):
    """Losses, gradients and mixes of a net; and how many graphs it took."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = Net(ReweightedLoss(nn.CrossEntropyLoss(reduction="none"), mixer, [0, 0, 0, 1], num_batches=4))
    graphs = torch._dynamo.testing.CompileCounterWithBackend(backend) if backend else None
    step = torch.compile(net, backend=graphs, fullgraph=True) if backend else net
    trace = []
    for number in range(num_steps):
        net.train(number < 8)
        groups = torch.randint(2, (6,))
        loss = step(torch.rand(6, 4), torch.randint(2, (6,)), groups=groups)
        net.zero_grad()
        loss.backward()
        trace.append((loss.item(), net.body.weight.grad.tolist(), net.criterion.mixer.proportions.tolist()))
    return trace, graphs.frame_count if graphs else 0


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("every", ["step", 3, "epoch"])
def test_compiled_it_is_one_graph_and_does_the_same(backend, every):
    plain, _ = train_net(None, mixer=Learn2Mix(0.5, every=every))
    compiled, num_graphs = train_net(backend, mixer=Learn2Mix(0.5, every=every))
    for (loss, gradient, mix), (other, other_gradient, other_mix) in zip(compiled, plain, strict=True):
        assert loss == pytest.approx(other, rel=1e-6)
        np.testing.assert_allclose(gradient, other_gradient, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(mix, other_mix, rtol=1e-6)
    assert num_graphs == 2  # training, evaluation
    assert len({tuple(mix) for *_, mix in plain}) > 2


def test_two_compiled_losses_in_one_graph_keep_apart():
    torch._dynamo.reset()
    first, second = make(Learn2Mix(0.5)), make(Learn2Mix(0.1))
    together = torch.compile(
        lambda *args, **kwargs: first(*args, **kwargs) + second(*args, **kwargs), backend="aot_eager"
    )
    for batch in BATCHES[:4]:
        together(VALUES[batch], groups=torch.from_numpy(LABELS[batch]))
    alone = [make(Learn2Mix(0.5)), make(Learn2Mix(0.1))]
    for criterion, compiled in zip(alone, (first, second), strict=True):
        mixes(criterion, BATCHES[:4])
        assert compiled.mixer.proportions.tolist() == criterion.mixer.proportions.tolist()


@pytest.mark.parametrize("again", [copy.deepcopy, deep_pickled], ids=["copy", "pickle"])
def test_a_copy_that_is_compiled_moves_its_own_mixer(again):
    torch._dynamo.reset()
    criterion = make(Learn2Mix(0.5))
    other = again(criterion)
    compiled = torch.compile(other, backend="eager")
    expected = mixes(make(Learn2Mix(0.5)))
    for batch in BATCHES:
        call(compiled, batch)
    assert other.mixer.proportions.tolist() == expected[-1][1]
    assert criterion.mixer.proportions.tolist() == PRIOR


def test_compiled_it_refuses_what_it_refuses():
    torch._dynamo.reset()
    criterion = torch.compile(make(FixedMix()), backend="eager")
    with pytest.raises(ValueError, match=r"groups must lie in \[0, 3\), got 0 to 3"):
        criterion(VALUES[:2], groups=torch.tensor([0, 3]))
    with pytest.raises(TypeError, match="groups must be the numbers of the groups"):
        criterion(VALUES[:2], groups=torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="batch 1 has NaN or infinite losses"):
        criterion(torch.tensor([1.0, torch.nan]), groups=torch.tensor([0, 1]))


def test_it_may_be_built_on_the_meta_device():
    with torch.device("meta"):
        model = nn.ModuleList([make(Learn2Mix(0.5))])
    model.to_empty(device="cpu")
    assert mixes(model[0]) == mixes(make(Learn2Mix(0.5)))
    with torch.device("meta"):
        state = model.state_dict()
    resumed = nn.ModuleList([make(Learn2Mix(0.5))])
    resumed.load_state_dict(through_a_file(state))
    assert same_state(resumed[0].get_extra_state(), model[0].get_extra_state())


@pytest.mark.parametrize("num_processes", [2])
def test_processes_share_a_mix_and_any_number_goes_on_from_the_state_of_one(tmp_path, num_processes):
    batches = [batch for seed in range(3) for batch in np.random.default_rng(seed).permutation(20)[:18].reshape(3, 6)]

    def train(rank, num, state=None):
        criterion, trace = make(Learn2Mix(0.5, every=4)), []
        if state is not None:
            criterion.set_extra_state(state)
        for number, batch in enumerate(batches):
            if state is None or number >= 6:  # two batches after an update
                call(criterion, batch[rank::num])
                trace.append(criterion.mixer.proportions.tolist())
            if number == 5 and rank == 0 and state is None:
                saved = through_a_file(criterion.get_extra_state())
        return trace, saved if rank == 0 and state is None else None

    def in_process(rank):
        forks.gloo(rank, num_processes, tmp_path, timeout=20)
        trace, state = train(rank, num_processes)
        states = [state]
        torch.distributed.broadcast_object_list(states)
        return trace, train(rank, num_processes, states[0])[0], states[0]

    whole, _ = train(0, 1)
    assert len({tuple(mix) for mix in whole}) == 3
    for trace, resumed, state in forks.results(in_process, num_processes, tmp_path):
        np.testing.assert_allclose(trace, whole, rtol=0, atol=1e-14)
        assert resumed == trace[6:]
        np.testing.assert_allclose(train(0, 1, state)[0], whole[6:], rtol=0, atol=1e-14)
