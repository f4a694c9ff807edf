"""CUDA graphs and compiled steps: the losses that reach the mix are those of the right step, or an error says so.

Their tensors are overwritten by the next replay; what is observed is copied before it, in the order of the stream.
"""

import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from learn2mix import MixAdjustedLoss, MixedBatchSampler, MixedLoader, PerSampleLoss
from on_device import DEVICE, LABELS, MARKS, ON_CUDA, PRIOR, Told, check_told

pytestmark = [*MARKS, pytest.mark.filterwarnings("ignore"), pytest.mark.gpu]
needs_graphs = pytest.mark.skipif(not ON_CUDA, reason="only CUDA has graphs")
BATCH_SIZE, NUM_EPOCHS = 10, 4
INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + torch.from_numpy(LABELS)[:, None]


def make_loader(mixer=None):
    sampler = MixedBatchSampler(LABELS, mixer or Told(0.3), batch_size=BATCH_SIZE, seed=3)
    return MixedLoader(TensorDataset(INPUTS, torch.from_numpy(LABELS)), sampler, device=DEVICE)


def make_model():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3).to(DEVICE)
    return model, torch.optim.SGD(model.parameters(), lr=0.5)


def train(step, loader, observe):
    """Observe what each step returns; the labels and losses of each batch, copied at once."""
    truth = []
    for _ in range(NUM_EPOCHS):
        for x, y in loader:
            losses = step(x, y)
            truth.append((y.clone(), losses.detach().clone()))
            observe(losses)
    check_told(loader.mixer, truth, PRIOR)
    assert not np.allclose(loader.mixer.proportions, PRIOR)
    return truth


def eager():
    model, optimizer = make_model()

    def step(x, y):
        losses = F.cross_entropy(model(x), y, reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        return losses

    return step


def warmed_up(work):
    """Do what is to be captured a few times on another stream, as torch's page on graphs says."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)


class Captured:
    """A whole step as one graph: its losses are one tensor, which each replay overwrites."""

    def __init__(self):
        model, optimizer = self.kept = make_model()  # the graph writes to their memory
        start = [parameter.detach().clone() for parameter in model.parameters()]
        self.x = torch.zeros(BATCH_SIZE, 4, device=DEVICE)
        self.y = torch.zeros(BATCH_SIZE, dtype=torch.int64, device=DEVICE)

        def work():
            optimizer.zero_grad(set_to_none=True)
            losses = F.cross_entropy(model(self.x), self.y, reduction="none")
            losses.mean().backward()
            optimizer.step()
            return losses.detach()

        warmed_up(work)
        optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses = work()
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), start, strict=True):
                parameter.copy_(value)

    def __call__(self, x, y):
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        return self.losses


def test_a_step_without_a_graph():
    loader = make_loader()
    train(eager(), loader, loader.observe)


@needs_graphs
def test_a_whole_step_that_is_replayed_moves_the_mix_by_its_own_losses():
    one, other = make_loader(), make_loader()
    replayed, alone = train(Captured(), one, one.observe), train(eager(), other, other.observe)
    torch.testing.assert_close(replayed[-1][1], alone[-1][1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(one.mixer.proportions, other.mixer.proportions, rtol=1e-4)


@needs_graphs
def test_so_does_one_whose_losses_are_overwritten_at_once():
    """The host reads its copy one batch later, long after the next replay."""
    loader, step = make_loader(), Captured()

    def observe(losses):
        loader.observe(losses)
        losses.fill_(1e30)

    train(step, loader, observe)


@needs_graphs
def test_graphed_callables():
    model, optimizer = make_model()
    graphed = torch.cuda.make_graphed_callables(model, (torch.randn(BATCH_SIZE, 4, device=DEVICE),))
    loader = make_loader()
    criterion = MixAdjustedLoss().follow(loader)

    def step(x, y):
        optimizer.zero_grad()
        criterion(graphed(x), y).backward()
        optimizer.step()
        return criterion.take()

    train(step, loader, loader.observe)


@needs_graphs
@pytest.mark.parametrize("called", ["observe", "the loss that knows the mix"])
def test_what_a_graph_would_repeat_is_refused_in_its_capture(called):
    loader = make_loader()
    batches = iter(loader)
    _, y = next(batches)
    losses, logits = torch.ones(BATCH_SIZE, device=DEVICE), torch.zeros(BATCH_SIZE, 3, device=DEVICE)
    criterion = MixAdjustedLoss().follow(loader)
    criterion(logits, y)  # as the warm-up does
    torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="outside of a CUDA graph"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        losses.add_(1.0)
        if called == "observe":
            loader.observe(losses)
        else:
            criterion(logits, y)
    loader.observe(torch.ones(BATCH_SIZE, device=DEVICE))
    assert loader.lag == 0


def inductor_works():
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    return headers and bool(shutil.which("cc") or shutil.which("gcc")) and bool(find_spec("triton"))


COMPILERS = {
    "eager": {"backend": "eager"},
    "aot_eager": {"backend": "aot_eager"},
    "cudagraphs": {"backend": "cudagraphs"},
    "reduce-overhead": {"mode": "reduce-overhead"},
}


@pytest.mark.parametrize("criterion_of", [PerSampleLoss, MixAdjustedLoss], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", COMPILERS)
def test_a_compiled_step_moves_the_mix_by_its_own_losses(name, criterion_of):
    if name in ("cudagraphs", "reduce-overhead") and not ON_CUDA:
        pytest.skip("only CUDA has graphs")
    if name == "reduce-overhead" and criterion_of is PerSampleLoss:
        pytest.skip("the other one is both, and to compile takes long")
    if name == "reduce-overhead" and not inductor_works():
        pytest.skip("Inductor needs Triton, a C compiler and Python's headers")
    torch._dynamo.reset()
    loader = make_loader()
    model, optimizer = make_model()
    criterion = criterion_of(torch.nn.CrossEntropyLoss(reduction="none"))
    if criterion_of is MixAdjustedLoss:
        criterion.follow(loader)
    compiled = torch.compile(lambda x, y: criterion(model(x), y), **COMPILERS[name])
    own = torch.nn.CrossEntropyLoss(reduction="none")

    def step(x, y):
        with torch.no_grad():
            added = loader.log_mix().to(DEVICE) if criterion_of is MixAdjustedLoss else 0.0
            wanted = own(model(x) + added, y)
        optimizer.zero_grad()
        compiled(x, y).backward()
        optimizer.step()
        losses = criterion.take()
        torch.testing.assert_close(losses, wanted, rtol=1e-4, atol=1e-5)
        return losses

    try:
        train(step, loader, loader.observe)
    finally:
        torch._dynamo.reset()
