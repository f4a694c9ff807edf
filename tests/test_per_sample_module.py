"""PerSampleLoss as a module: the criterion's keys in a state, calls counted, copies, and one graph when compiled."""

import copy
import functools
import gc
import io
import pickle

import pytest
import torch
import torch._dynamo.testing
from torch import nn
from torch.nn import functional as F

from learn2mix import FixedMix, MixAdjustedLoss, PerSampleLoss, ReweightedLoss


def classes(shape, seed=0):
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """A module with a criterion, as in a LightningModule."""

    def __init__(self, criterion):
        super().__init__()
        self.net, self.criterion = nn.Linear(4, 4), criterion

    def forward(self, inputs, targets, twice=False):
        loss = self.criterion(self.net(inputs), targets)
        return loss + self.criterion(self.net(2 * inputs), targets) if twice else loss


class Nested(nn.Module):
    """A criterion whose keys look like those of a wrapper."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4))
        self.criterion = nn.CrossEntropyLoss(weight=torch.rand(4), reduction="none")
        self.norm = nn.BatchNorm1d(4)

    def forward(self, inputs, targets):
        return self.criterion(self.norm(inputs) * self.weight, targets)


CRITERIA = {
    "weights": lambda: nn.CrossEntropyLoss(weight=torch.rand(4), reduction="none"),
    "no state": lambda: nn.CrossEntropyLoss(reduction="none"),
    "nested": Nested,
    "function": lambda: functools.partial(F.cross_entropy, reduction="none"),
}


def values(module):
    return {name: value.tolist() for name, value in module.state_dict().items()}


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("kind", CRITERIA)
@pytest.mark.parametrize("nest", [lambda module: module, lambda module: nn.Sequential(nn.ReLU(), module)])
def test_a_state_loads_with_and_without_the_wrapper(kind, nest):
    bare, wrapped = Net(CRITERIA[kind]()), Net(PerSampleLoss(CRITERIA[kind]()))
    bare, wrapped = nest(bare), nest(wrapped)
    wrapped.load_state_dict(through_a_file(bare.state_dict()))
    assert values(wrapped) == values(bare)
    assert list(wrapped.state_dict()) == list(bare.state_dict())
    other = nest(Net(CRITERIA[kind]()))
    other.load_state_dict(through_a_file(wrapped.state_dict()))
    assert values(other) == values(bare)


@pytest.mark.parametrize("kind", CRITERIA)
def test_a_state_of_version_1_loads(kind):
    bare, wrapped = Net(CRITERIA[kind]()), Net(PerSampleLoss(CRITERIA[kind]()))
    old = {
        key.replace("criterion.", "criterion.criterion.", 1) if key.startswith("criterion.") else key: value
        for key, value in bare.state_dict().items()
    }
    wrapped.load_state_dict(old)
    assert values(wrapped) == values(bare)


@pytest.mark.parametrize("kind", ["weights", "nested"])
def test_keys_that_are_missing_or_of_something_else_are_still_told(kind):
    state = Net(CRITERIA[kind]()).state_dict()
    wrapped = Net(PerSampleLoss(CRITERIA[kind]()))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*criterion\.other"):
        wrapped.load_state_dict(state | {"criterion.other": torch.ones(1)})
    del state["criterion.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*criterion\.criterion\.weight"):
        wrapped.load_state_dict(state)


def test_the_module_alone_has_the_keys_of_its_criterion():
    wrapped = PerSampleLoss(CRITERIA["weights"]())
    assert list(wrapped.state_dict()) == ["weight"]
    wrapped.load_state_dict({"weight": torch.tensor([1.0, 2.0, 3.0, 4.0])})
    assert wrapped.weight.tolist() == wrapped.criterion.weight.tolist() == [1, 2, 3, 4]


def test_what_the_criterion_has_is_found_and_what_it_has_not_is_named():
    wrapped = PerSampleLoss(nn.CrossEntropyLoss(ignore_index=7, reduction="none"))
    assert (wrapped.ignore_index, wrapped.reduction) == (7, "none")
    for criterion in (wrapped, PerSampleLoss(torch.abs)):
        with pytest.raises(AttributeError, match="has no attribute 'colour'"):
            _ = criterion.colour


WRAPPED = [PerSampleLoss, MixAdjustedLoss, lambda inner: ReweightedLoss(inner, FixedMix(), groups=[0, 1])]


@pytest.mark.parametrize("wrap", WRAPPED)
def test_what_a_schedule_sets_is_set_at_the_criterion(wrap):
    """Deferred re-weighting (LDAM-DRW), smoothing that fades."""
    wrapped, weight = wrap(nn.CrossEntropyLoss(reduction="none")).eval(), torch.tensor([0.1, 1.0, 5.0, 9.0])
    wrapped.weight, wrapped.label_smoothing, wrapped.of_ones_own = weight, 0.3, 7
    logits, targets = torch.randn(5, 4), classes((5,))
    expected = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.3)(logits, targets)
    torch.testing.assert_close(wrapped(logits, targets, **{"groups": targets} if wrap is WRAPPED[2] else {}), expected)
    assert (wrapped.label_smoothing, wrapped.of_ones_own) == (0.3, 7)
    assert not hasattr(wrapped.criterion, "of_ones_own")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_goes_on_by_itself(copied):
    first = Net(PerSampleLoss(CRITERIA["weights"]())).criterion
    logits, targets = torch.randn(5, 4), classes((5,))
    first(logits, targets)
    second = copied(first)
    second.take()
    assert first.losses.shape == (5,)
    assert second.losses is None
    assert torch.equal(first(logits, targets), second(logits, targets))


@pytest.mark.parametrize("compiled", [False, True])
def test_calls_are_counted_to_two_and_from_the_last_pass(compiled):
    torch._dynamo.reset()
    module = Net(PerSampleLoss(CRITERIA["no state"]()))
    call, criterion = (torch.compile(module, backend="eager") if compiled else module), module.criterion
    inputs, targets = torch.randn(5, 4), classes((5,))
    assert criterion.num_calls == 0
    for _ in range(3):
        for wanted in (1, 2, 2):
            call(inputs, targets)
            assert criterion.num_calls == wanted
        criterion.num_calls = 0
        assert criterion.num_calls == 0
        assert criterion.losses is not None
        for wanted in (1, 2, 2):
            call(inputs, targets)
            assert criterion.num_calls == wanted
        criterion.take()
        assert criterion.num_calls == 0
        call(inputs, targets, twice=True)
        assert criterion.num_calls == 2
        criterion.num_calls = 0
        criterion.take()
    with pytest.raises(ValueError, match="num_calls can only be set to 0, got 1"):
        criterion.num_calls = 1


def test_a_loop_that_never_takes_the_losses_keeps_few_of_them():
    criterion, inputs = PerSampleLoss(nn.MSELoss(reduction="none")), torch.zeros(12345)
    for _ in range(10):
        criterion(inputs, inputs)
    gc.collect()
    assert sum(isinstance(held, torch.Tensor) and held.shape == (12345,) for held in gc.get_objects()) <= 4


@pytest.mark.parametrize("take", [False, True])
@pytest.mark.parametrize("kind", ["weights", "no state", "function"])
def test_a_compiled_loop_has_one_graph(take, kind):
    if kind == "function" and torch.__version__.startswith("2.4."):
        pytest.skip("torch 2.4 cannot trace a functools.partial")
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    module = Net(PerSampleLoss(CRITERIA[kind]()))
    compiled = torch.compile(module, backend=counter, fullgraph=True)
    for step in range(20):
        inputs, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(step)), classes((6,), seed=step)
        loss = compiled(inputs, targets)
        loss.backward()
        kept = module.criterion.take() if take else module.criterion.losses
        eager = copy.deepcopy(module).criterion
        torch.testing.assert_close(loss, eager(module.net(inputs), targets))
        torch.testing.assert_close(kept, eager.losses)
        assert not kept.requires_grad
    assert counter.frame_count == 1
