"""What a source sees of the process that reads it: which worker it is, of which process, and the random generators."""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data._utils import worker

AVAILABLE = dist.is_available()
TWO_THREADS = (
    "MixedStream: two threads of this process read sources at the same time, and each finds the global random "
    "generators as the other's source left them: sources that draw from them come in an order of chance, and the "
    "generators are left changed; let a worker read each stream: MixedLoader(stream, num_workers=1)"
)
# Where torchrun and SLURM write down which process this is, and they and torch of how many; what the only one finds.
RANKS = {"RANK": "0", "SLURM_PROCID": "0"}
NUMBERS = {"WORLD_SIZE": "1", "SLURM_NTASKS": "1", "get_world_size": 1}
ONLY_ONE = {"get_rank": 0} | RANKS | NUMBERS


class Seen:
    """What ``torch.utils.data.get_worker_info()`` returns to a source while it is read.

    A source that asks for it splits itself by worker.
    """

    seed, dataset = 0, None

    def __init__(self, shard: int, num_shards: int) -> None:
        self._shard, self._num_shards = shard, num_shards
        self.asked = False

    @property
    def id(self) -> int:
        """The shard, which torch's pattern takes for the worker."""
        self.asked = True
        return self._shard

    @property
    def num_workers(self) -> int:
        """How many there are."""
        self.asked = True
        return self._num_shards


@contextmanager
def seen_as(seen: Seen | None) -> Iterator[None]:
    """Let sources see this process as one worker of some; None as a process without workers."""
    info, worker._worker_info = worker._worker_info, seen  # type: ignore[assignment]
    try:
        yield
    finally:
        worker._worker_info = info


class RankQuestions:
    """Notices whether a source asks which process it is in: such a source splits itself by process.

    Some ask ``torch.distributed``, others (webdataset, mosaicml's) the environment. Whoever copies the whole
    environment, as to start a program, asks nothing.

    Args:
        alone: whether the answer is that this is the only process, so that a source gives all that it has.

    Example:
        >>> with RankQuestions() as questions:
        ...     rank = os.environ.get("RANK", 0)
        >>> questions.splits_by_rank
        True
    """

    def __init__(self, *, alone: bool = False) -> None:
        self._alone = alone
        self._asked = set[str]()

    @property
    def splits_by_rank(self) -> bool:
        """Whether it gives a part only: it asked, and does not know that there is but one process."""
        return self._asked_which and not (self._alone and NUMBERS.keys() & self._asked)

    @property
    def misled(self) -> bool:
        """Whether it gives all because it was told so."""
        return self._asked_which and self._alone

    @property
    def _asked_which(self) -> bool:
        return "get_rank" in self._asked or bool(RANKS.keys() & self._asked and not self._asked.issuperset(os.environ))

    def __enter__(self) -> RankQuestions:
        environment: Any = type(os.environ)  # not os.environ itself: sources may have imported it by name
        asked = [(environment, "__getitem__")] + [(dist, name) for name in ("get_rank", "get_world_size") if AVAILABLE]
        self._before = [(owner, name, getattr(owner, name)) for owner, name in asked]
        for owner, name, answer in self._before:
            setattr(owner, name, self._noticing(name, answer))
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name, value in self._before:
            setattr(owner, name, value)

    def _noticing(self, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        reader = threading.get_ident()

        def noticing(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != reader:
                return answer(*args, **kwargs)
            asked = args[1] if name == "__getitem__" else name
            self._asked.add(asked)
            answered = answer(*args, **kwargs)
            return ONLY_ONE.get(asked, answered) if self._alone else answered

        return noticing


class OwnRandomness:
    """The global random generators as one source finds them: seeded for it, and left to all others as they were.

    So a source that draws from them, without a seed of its own, has the same order in every reader.

    Attributes:
        seeded: whether it has found them seeded.
        used: whether it has drawn from them.
    """

    seeded = used = False
    _reads: ClassVar[int | None] = None  # the thread that reads a source so

    def __init__(self) -> None:
        self._states: Any = None

    def seed(self, text: str) -> None:
        """Seed what the source finds from now on."""
        seed, used = random.Random(text).getrandbits(32), self.used
        with self:
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)  # those of accelerators are the user's, and would not be restored
        self.seeded, self.used = True, used

    def __enter__(self) -> None:
        if OwnRandomness._reads not in (None, threading.get_ident()):
            warnings.warn(TWO_THREADS, stacklevel=2)
        OwnRandomness._reads = threading.get_ident()
        self._of_others = _states()
        if self._states is not None:
            _restore(self._states)

    def __exit__(self, *error: object) -> None:
        OwnRandomness._reads = None
        found = _states()
        self.used = self.used or found != self._states
        self._states = found
        _restore(self._of_others)


def _states() -> tuple[Any, Any, Any]:
    """Return the states of the three generators, so that they can be compared."""
    of_numpy: Any = np.random.get_state()
    name, keys, *rest = of_numpy
    return random.getstate(), (name, keys.tobytes(), *rest), torch.get_rng_state().numpy().tobytes()


def _restore(states: tuple[Any, Any, Any]) -> None:
    python, (name, keys, *rest), of_torch = states
    random.setstate(python)
    np.random.set_state((name, np.frombuffer(keys, np.uint32), *rest))
    torch.set_rng_state(torch.frombuffer(bytearray(of_torch), dtype=torch.uint8))
