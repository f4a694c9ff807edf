"""Which batches the loop has, and whether the losses that it reports can be of the one that they are credited to."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from learn2mix.batches.torch_loader import LoopsAhead, TorchLoader

MOST_NUMBERS = 1 << 22  # groups in all batches that wait where nothing is observed; each takes 32 bytes
LEAST_KEPT, MOST_KEPT = 16, 1024
AT_ONCE = 8  # batches that are forgotten together, for one by one takes longer
BATCHED_TWICE = (
    "the DataLoader makes batches of the stream's batches; make it with DataLoader(stream, batch_size=None), or use "
    "MixedLoader(stream)"
)

OVER_EPOCHS = (
    "losses: {} batch(es) of the last epoch were not observed before this one began, and a loop that fetches ahead "
    "seems to train on them now; observe all batches of an epoch before the next one begins: put what fetches ahead "
    "around each epoch, for batch in Prefetcher(loader), and not around an iterator without end; where a Trainer cuts "
    "epochs short (max_steps_per_epoch), give the sampler their length instead: num_batches"
)

ALL_OBSERVED = (
    "losses: every batch handed out so far was observed; call observe once for each batch. A loop over batches that it "
    "has kept (itertools.cycle) trains on the first epoch again and again: make a new iterator each epoch"
)
NOT_HANDED = (
    "losses: every batch handed out so far was observed, so observe(None) has none to stand for; a batch that fails is "
    "not handed out by a MixedLoader: go on without observe(None)"
)
NOTHING_HANDED = (
    "{}: no batch has been handed out yet, by this sampler or stream, in this iteration; where the loop has one, it is "
    "from before a state was loaded (then begin a new iteration), or of another: of a copy (copy.deepcopy, pickle), "
    "whose loader.observe takes its losses, or of a loader made in the place of this one (Opacus: make_private(..., "
    "poisson_sampling=False) keeps it)"
)

NEVER_REACHED = (
    "{} batch(es) were drawn from the sampler and never reached the loop (skip_first_batches, a wrapper of the batch "
    "sampler that leaves some out, or a batch that failed), so it is not known which batch it trains on; call "
    "observe(None) at once for a batch that failed, use MixedLoader(dataset, sampler), load the sampler's own state to "
    "go on in the middle of an epoch, or pass groups="
)


class Handed(NamedTuple):
    """A batch that the loop has."""

    number: int
    kept: list[int] | None = None  # places of the samples that are left of it; None for all


class Delivery:
    """The batches of one iteration on their way: drawn from the sampler, handed to the loop, observed.

    A loop may fetch several batches and then observe each of them, in order; how many it fetches is learnt at its first
    observation. One that fetches another batch while it still has some looks like one that left out an observation, so
    it has to say how far it fetches ahead. Fetched in a thread, batches come at any time, and nothing is checked.
    """

    def __init__(
        self,
        fetch_ahead: int = 0,
        loader: TorchLoader | None = None,
        *,
        by_loader: bool = False,
        loops: LoopsAhead | None = None,
        of_last: int = 0,
    ) -> None:
        self._least_ahead, self._loops = fetch_ahead, loops
        self.of_last = of_last  # batches of the iteration before that the loop still had
        self.loader = loader  # torch's loader, where that is known to carry the batches
        self.by_loader = by_loader  # whether a MixedLoader says what is handed out
        self.batched_twice = False  # whether torch's loader makes batches of what are batches already
        self.told = False  # whether the user was told of batches that were left out
        self.handed: deque[Handed] = deque()  # what the loop has and has not observed, oldest first
        self.num_handed = self.num_observed = self.num_forgotten = 0
        self.in_flight: deque[int] = deque()  # numbers of batches that are drawn and on their way to the loop
        self._thread = 0  # that draws
        self._num_failed = 0  # batches that the loop told of, though it never got them
        self._most = 0  # batches that the loop had at an observation, learnt at the first
        self._left = 0  # that it still had after the last observation
        self._asked_of = (-1, 0)  # number of the batch that something was asked of last, and num_handed by then

    @property
    def fetch_ahead(self) -> int:
        """Batches that the loop has, by its own account, besides the one it trains on."""
        return max(self._least_ahead, 0 if self._loops is None else self._loops.count)

    def draw(self, number: int, num_groups: int) -> list[int]:
        """Note that a batch was drawn; return those to forget in a loop that never observes, where many wait."""
        self._thread = threading.get_ident()
        self.in_flight.append(number)
        self.catch_up()
        if self.num_observed or len(self.handed) <= LEAST_KEPT:  # as in most loops
            return []
        most = min(MOST_KEPT, max(LEAST_KEPT, MOST_NUMBERS // num_groups))
        forgotten = [self.handed.popleft().number for _ in range((len(self.handed) - most) // AT_ONCE * AT_ONCE)]
        self.num_forgotten += len(forgotten)
        return forgotten

    def hand_out(self, number: int, kept: list[int] | None) -> None:
        """Note that a MixedLoader hands a batch to the loop; ``kept`` says which of its samples are left."""
        self._thread = threading.get_ident()
        self.in_flight.remove(number)
        self.handed.append(Handed(number, kept))
        self.num_handed += 1

    def catch_up(self, *, lost: bool = False) -> None:
        """Learn what the loop has: what torch's loader handed out (or lost before), or, without one, all at once."""
        if self.by_loader:
            return
        self._num_failed += max(self._num_lost(), 0) if lost else 0
        total = self.num_handed + len(self.in_flight)
        known = None if self.loader is None else self.loader.num_handed
        now = total if known is None else min(known + self._num_failed, total)
        while self.num_handed < now:
            self.handed.append(Handed(self.in_flight.popleft()))
            self.num_handed += 1

    def oldest(self, *, trusted: bool, failed: bool = False, asked: str = "losses") -> Handed:
        """Return the batch that the losses are of: the oldest that the loop has not observed.

        That it is the right one is checked; not whether some were left out, where each is ``trusted`` to be observed.
        It may be one that ``failed`` while it was loaded, and never reached the loop. ``asked`` says what is asked for.
        """
        if self.batched_twice:
            raise ValueError(f"losses: {BATCHED_TWICE}")
        if self.in_flight:
            self.catch_up()
        if failed and not self.handed and self._num_lost() > 0:
            self._num_failed += 1
            self.catch_up()
        if not self.num_handed and not self.in_flight:
            raise ValueError(NOTHING_HANDED.format(asked))
        if not self.handed and asked != "losses":
            raise ValueError(
                f"{asked}: every batch handed out so far was observed, so that none is being trained on; ask after "
                "getting a batch and before observing it"
            )
        if not self.handed:
            raise ValueError(NOT_HANDED if failed and self.by_loader else ALL_OBSERVED)
        # Where batches are fetched in another thread, it is no use to count.
        if self.fetched_here:
            message = None if self.loader is None else self._why_not_known()
            if message := message or (None if trusted else self._why_not_oldest()):
                self.told = True
                raise RuntimeError(message)
        return self.handed[0]

    def in_training(self, asked: str, *, trusted: bool) -> Handed:
        """Return the oldest batch, of which something is ``asked`` in a step of a loop that observes; else raise."""
        handed = self.oldest(trusted=trusted, asked=asked)
        number, num_handed = self._asked_of
        self._asked_of = handed.number, self.num_handed
        if handed.number == number and num_handed != self.num_handed and self.fetched_here:
            self.told = True
            raise RuntimeError(
                f"{asked}: the batch that was asked of last was never observed; call observe(losses), or "
                "observe(None), after each step"
            )
        return handed

    def newest(self, *, in_search: bool = False, moves: bool = False) -> Handed:
        """Return the batch in training of a loop that has one at a time and does not observe; else raise an error.

        Where the mix ``moves`` from batch to batch, it has to be known which one it is. In a search of
        Lightning's it is known how many batches are fetched ahead.
        """
        self.catch_up()
        if not self.handed:
            raise ValueError("log_mix: the loop has no batch yet; ask for it between getting a batch and observing it")
        out_of_order = self.loader is not None and not self.loader.in_order
        if (self.fetch_ahead and not in_search) or out_of_order or not self.fetched_here:
            raise RuntimeError(
                "log_mix: this loop has several batches at a time, so it is not known which one it trains on; call "
                "observe(losses), or observe(None), after each step"
            )
        if moves and (lost := self._num_lost()) > 0:
            raise RuntimeError(f"log_mix: {NEVER_REACHED.format(lost)}")
        return self.handed[max(-1 - self.fetch_ahead, -len(self.handed))]

    @property
    def still_held(self) -> int:
        """How many batches the loop still has; before it has got one, of the iteration before."""
        return len(self.handed) if self.num_handed else self.of_last  # a DataLoader asks for an iterator twice

    @property
    def fetched_here(self) -> bool:
        """Whether the thread that asks fetched the batches."""
        return self._thread in (0, threading.get_ident())

    @property
    def in_main_thread(self) -> bool:
        """Whether the batches were fetched in the main thread."""
        return self._thread in (0, threading.main_thread().ident)

    def _why_not_known(self) -> str | None:
        if self.loader is not None and not self.loader.in_order:
            return (
                "losses: a DataLoader with in_order=False hands batches out in another order than they were drawn in, "
                "so it is not known which batch these losses are of; use MixedLoader(dataset, sampler, "
                "in_order=False), or pass groups="
            )
        lost = self._num_lost()
        return f"losses: {NEVER_REACHED.format(lost)}" if lost > 0 else None

    def _num_lost(self) -> int:
        """Return how many batches never reached the loop, besides those that it has told of."""
        if self.loader is None:
            return 0
        return self.loader.num_lost(self.num_handed + len(self.in_flight)) - self._num_failed

    def _why_not_oldest(self) -> str | None:
        """Say how many batches before the oldest were left out; None if there are none."""
        if self.of_last and not self.num_observed and len(self.handed) <= self.fetch_ahead:
            return OVER_EPOCHS.format(self.of_last)
        if len(self.handed) == 1 and not self._left and not self.num_forgotten:  # as in most loops
            return None
        allowed = 1 + self.fetch_ahead
        has = self.num_forgotten + len(self.handed)
        left_out = has - max(self._most, allowed) if self.num_observed else 0
        if len(self.handed) > self._left >= allowed:  # it fetched more before it observed what it had
            left_out = max(left_out, self._left - self.fetch_ahead)
        if left_out <= 0 and not self.num_forgotten:
            return None
        return (
            f"losses: {max(left_out, self.num_forgotten)} batch(es) before this one were never observed, whose losses "
            "these would be taken for; call observe(None) after a batch without losses (a warm-up, a skipped step), "
            "pass groups=, where the loop fetches n batches before it trains on the first, set fetch_ahead = n, or, "
            "where it skips what it had before a stop, let it skip nothing: a state that was loaded goes on by itself"
        )

    def observe(self) -> Handed:
        """Note that the oldest batch that the loop has was observed, and return it."""
        if self.num_observed == 0:
            self._most = len(self.handed)
        handed = self.handed.popleft()
        self.num_observed += 1
        self._left = len(self.handed)
        return handed

    def left_over(self) -> int:
        """Return how many batches the loop still had when it observed the last time, though it has fetched more."""
        self.catch_up()
        return self._left if len(self.handed) > self._left else 0

    def left_out(self, exhausted: bool) -> int:
        """Return how many batches the loop never observed, as far as that is known once it has left the iteration."""
        self.catch_up()
        all_handed = exhausted and not self.in_flight
        return len(self.handed) if all_handed else max(self._left - self.fetch_ahead, 0)
