"""Training on CIFAR-10-sized noise: the loop that `benchmarks.gpu` profiles, and epochs fed in three ways."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.models import lenet5, small_resnet
from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader

NETWORKS: dict[str, Callable[[], nn.Module]] = {"LeNet-5": lambda: lenet5(3, 32), "small ResNet": small_resnet}
FEEDS = ("MixedLoader, InMemory", "DataLoader with workers", "bare loop on resident tensors")


@dataclass(frozen=True)
class Size:
    """How much there is to do."""

    num_samples: int = 50_000
    batch_size: int = 256
    num_workers: int = 4
    num_rounds: int = 3
    num_steps: int = 50  # that are profiled


SMALL = Size(num_samples=32, batch_size=16, num_workers=1, num_rounds=1, num_steps=3)
Batches = Iterable[tuple[Tensor, Tensor]]


def noise(size: Size) -> tuple[Tensor, Tensor]:
    """Images of bytes and their labels, on the host."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (size.num_samples, 3, 32, 32), dtype=torch.uint8, generator=random)
    return images, torch.randint(10, (size.num_samples,), generator=random)


def normalise(images: Tensor) -> Tensor:
    """Bytes to floats around 0, a batch at a time, where the batch is."""
    return images.float().div_(127.5).sub_(1.0)


def mixed_loader(size: Size, device: torch.device) -> MixedLoader:
    """Ours: the data live on the device, batches are gathered there, and the mix follows the losses."""
    from learn2mix.data import InMemory

    images, labels = noise(size)
    sampler = MixedBatchSampler(labels, Learn2Mix(0.1), batch_size=size.batch_size)
    return MixedLoader(InMemory(images, labels, transform=normalise), sampler, device=device)


class Workers:
    """What everybody writes: torch's `DataLoader`, sample by sample, from workers that persist, pinned."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.device = device
        self.loader = DataLoader(
            TensorDataset(*noise(size)),
            size.batch_size,
            shuffle=True,
            num_workers=size.num_workers,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.loader:
            yield normalise(images.to(self.device, non_blocking=True)), labels.to(self.device, non_blocking=True)


class Resident:
    """The least there is to do: tensors on the device, indexed by a permutation made there."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.images, self.labels = (tensor.to(device) for tensor in noise(size))
        self.batch_size = size.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels), device=self.labels.device)
        for indices in order.split(self.batch_size):
            yield normalise(self.images[indices]), self.labels[indices]


def training_steps(
    model: nn.Module, batches: Batches, observe: Callable[[Tensor], None], *, reads: bool = False
) -> Iterator[None]:
    """Train on each batch and report its losses. With ``reads`` the host waits for each loss, as one should not."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for images, labels in batches:
        losses = F.cross_entropy(model(images), labels, reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        observe(losses)
        if reads:
            losses.mean().item()
        yield


def synchronise(device: torch.device) -> None:
    """Wait for all that the device has still to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def epochs(size: Size, device: torch.device) -> dict[str, dict[str, float]]:
    """Seconds per epoch of each network and way of feeding it, the least of some turns; and ratios of ours."""
    return {name: _epochs(make, size, device) for name, make in NETWORKS.items()}


def _epochs(make: Callable[[], nn.Module], size: Size, device: torch.device) -> dict[str, float]:
    loader = mixed_loader(size, device)
    feeds: dict[str, tuple[Batches, Callable[[Tensor], None]]] = {
        FEEDS[0]: (loader, loader.observe),
        FEEDS[1]: (Workers(size, device), _ignore),
        FEEDS[2]: (Resident(size, device), _ignore),
    }
    models = {name: make().to(device) for name in feeds}
    best = dict.fromkeys(feeds, float("inf"))
    for turn, (name, (batches, observe)) in itertools.product(range(1 + size.num_rounds), feeds.items()):
        synchronise(device)
        start = time.perf_counter()
        for _ in training_steps(models[name], batches, observe):
            pass
        synchronise(device)
        if turn:  # the first warms up
            best[name] = min(best[name], time.perf_counter() - start)
    return best | {f"{FEEDS[0]} / {other}": best[FEEDS[0]] / best[other] for other in FEEDS[1:]}


def _ignore(losses: Tensor) -> None:
    pass
