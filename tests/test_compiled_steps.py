"""A training step that is compiled as a whole, with what it asks of the sampler: as one that is not."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream

LABELS = np.repeat(np.arange(3), [30, 20, 10])
INPUTS = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + torch.from_numpy(LABELS)[:, None]
SAMPLES = [(INPUTS[index], int(label)) for index, label in enumerate(LABELS)]


def of_a_sampler():
    return MixedLoader(SAMPLES, MixedBatchSampler(LABELS, Learn2Mix(0.3), batch_size=6, num_batches=8))


def of_a_stream():
    sources = [[SAMPLES[index] for index in np.flatnonzero(group == LABELS)] for group in range(3)]
    return MixedLoader(MixedStream(sources, Learn2Mix(0.3), batch_size=6, on_exhausted="stop_first"))


STEPS = {
    "observes": lambda loader, logits, labels: F.cross_entropy(logits, labels, reduction="none"),
    "asks for the mix": lambda loader, logits, labels: F.cross_entropy(
        logits + loader.log_mix(), labels, reduction="none"
    ),
    "asks for weights": lambda loader, logits, labels: (
        F.cross_entropy(logits, labels, reduction="none") * loader.sampler.importance_weights()
    ),
}


def train(loader, losses_of, compile_step):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def step(inputs, labels):
        losses = losses_of(loader, model(inputs), labels)
        loader.observe(losses)
        losses.mean().backward()

    step = compile_step(step)
    mixes = []
    for _ in range(2):
        for inputs, labels in loader:
            step(inputs, labels)
            optimizer.step()
            optimizer.zero_grad()
            mixes.append(loader.mixer.proportions)
    return mixes, model.weight.detach()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, where it compiles
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("make", [of_a_sampler, of_a_stream])
def test_its_mixes_and_weights_are_those_of_a_step_that_is_not_compiled(make, name):
    torch._dynamo.reset()
    plain_mixes, plain_weights = train(make(), STEPS[name], lambda step: step)
    mixes, weights = train(make(), STEPS[name], lambda step: torch.compile(step, backend="eager"))
    np.testing.assert_allclose(mixes, plain_mixes, rtol=1e-6)
    torch.testing.assert_close(weights, plain_weights)
    assert len(mixes) > 8
    assert not np.allclose(mixes[0], mixes[-1])
