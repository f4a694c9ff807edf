"""Whether the host waits for the device between steps, and whether losses that are late move the mix right."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.gpu_training import NETWORKS, Size, mixed_loader, synchronise, training_steps
from learn2mix import Learn2Mix, MixedBatchSampler

STEPS = "the steps that are profiled"
# What makes the host wait for the device, by the names that the profiler has for it.
CALLS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpy")
COPIES = ("Memcpy HtoD (Pageable -> Device)", "Memcpy DtoH (Device -> Pageable)")
WAITS = (*CALLS, *COPIES)
# By design the host waits for the sums of the step before, once the next batch is under way: counted, not judged.
BY_DESIGN = "cudaEventSynchronize"


def marked_tests(size: Size, device: torch.device) -> dict[str, Any]:
    """Run the tests that need a device; only their files are imported, for a machine may lack what others need."""
    root = Path(__file__).parent.parent
    files = [str(path) for path in sorted(root.glob("tests/**/test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *files]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=400, check=False)
    *said, outcome = (done.stdout + done.stderr).strip().splitlines()
    causes = [line for line in said if line.startswith(("E  ", "FAILED", "ERROR"))]
    return {"ok": done.returncode == 0, "pytest": [*causes[-30:], outcome]}


def host_waits(size: Size, device: torch.device) -> dict[str, Any]:
    """Profile a loop with `MixedLoader(InMemory(...), device=...)` and `observe`, and one that waits, as a control."""
    found, control = (_profile(size, device, reads=reads) for reads in (False, True))
    seen = sum(control[name] for name in WAITS) >= size.num_steps
    return {
        "ok": seen and not any(found[name] for name in WAITS),
        "steps": size.num_steps,
        "waits": dict(found),
        "waits where each loss is read (the control)": dict(control),
    }


def _profile(size: Size, device: torch.device, *, reads: bool) -> Counter[str]:
    loader = mixed_loader(size, device)
    model = NETWORKS["LeNet-5"]().to(device)
    endless = (batch for _ in iter(int, 1) for batch in loader)
    steps = training_steps(model, endless, loader.observe, reads=reads)
    for _ in islice(steps, 5):  # the first steps allocate
        pass
    synchronise(device)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=activities) as profiler:
        with record_function(STEPS):
            for _ in islice(steps, size.num_steps):
                pass
        synchronise(device)  # so that the device's own part is in the profile
    return count_waits(profiler.events())


def count_waits(events: Iterable[Any]) -> Counter[str]:
    """Count what made the host wait during the steps, by name; copies count whenever the device made them."""
    events = list(events)
    # The device has a range of the same name, which begins later.
    steps = min((event.time_range for event in events if event.name == STEPS), key=lambda time: time.start)
    calls = [event for event in events if event.name in (*CALLS, BY_DESIGN)]
    during = [event for event in calls if steps.start <= event.time_range.start <= steps.end]
    return Counter(event.name for event in [*during, *(event for event in events if event.name in COPIES)])


def other_stream(size: Size, device: torch.device) -> dict[str, Any]:
    """Losses that a busy stream beside the default one computes."""
    on_cuda = device.type == "cuda"
    return _late_losses(device, torch.cuda.stream(torch.cuda.Stream(device)) if on_cuda else nullcontext())


def other_device(size: Size, device: torch.device) -> dict[str, Any]:
    """Losses on a device that is not the current one."""
    return _late_losses(torch.device("cuda:1") if device.type == "cuda" else device, nullcontext())


def _late_losses(device: torch.device, stream: AbstractContextManager[Any]) -> dict[str, Any]:
    """Whether losses that are not computed yet when they are observed give the mixes that they give on the host."""
    busy = torch.rand(1024, 1024, device=device)

    def late(losses: Tensor) -> Tensor:
        there = torch.full_like(losses, 1e30, device=device)  # what is read too early
        pinned = losses.pin_memory() if device.type == "cuda" else losses
        for _ in range(50 if device.type == "cuda" else 0):
            busy.copy_(busy @ busy / 512)  # what the losses wait for
        return there.copy_(pinned, non_blocking=True)

    on_host = mixes(lambda losses: losses)
    with stream:
        on_device = mixes(late)
        synchronise(device)
    # A device's mixes come a step later; the last step of an epoch makes both updates, so that one mix is not seen.
    num_seen = len(on_device)
    seen = np.concatenate([on_host[: num_seen - 1], on_host[-1:]])
    apart = float(np.abs(seen - on_device).max()) if len(seen) == num_seen else float("inf")
    return {"ok": num_seen >= len(on_host) - 1 and apart < 1e-6, "mixes": num_seen, "largest difference": apart}


def mixes(put: Callable[[Tensor], Tensor], num_steps: int = 20) -> np.ndarray:
    """The mixes that a run goes through, each once, for a device's come a step later; shape (mixes, groups).

    The loss of a sample is told by its group and the number of the batch, so that it does not matter that a later mix
    composes other batches.
    """
    labels = torch.arange(1000) % 4
    sampler = MixedBatchSampler(labels, Learn2Mix(0.1, every="step"), batch_size=100, num_batches=num_steps)
    path = [sampler.mixer.proportions]
    for number, batch in enumerate(sampler):
        sampler.observe(put((1.0 + labels[batch]) * (1 + number % 3 * (labels[batch] == 0))))
        if not np.array_equal(sampler.mixer.proportions, path[-1]):
            path.append(sampler.mixer.proportions)
    return np.array(path)
