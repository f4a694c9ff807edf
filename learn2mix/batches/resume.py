"""What a loaded state may differ in, and what a run then keeps."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from learn2mix.batches.composition import as_list
from learn2mix.batches.torch_loader import THREAD_OF_NODES, called_by
from learn2mix.checks import differences, warn_of_differences
from learn2mix.labels import as_name

if TYPE_CHECKING:
    from learn2mix.batches.progress import Progress
    from learn2mix.batches.sampler import MixedBatchSampler
    from learn2mix.checks import Counts
    from learn2mix.streams.stream import MixedStream

VERSION = 3
VERSIONS = (1, 2, VERSION)
IN_THREAD = (
    "another thread fetches its batches, ahead of a loop that observes none, so this state takes those that are only "
    "fetched as trained on, and a run that goes on from it never has them; call observe(None) after each step"
)
PER_GROUP = {"remembered", "rewards", "sum"}  # what else the state of a mixer has one value a group of


def state_of(mixed: Progress) -> dict[str, Any]:
    """Return the part of a state that samplers and streams have in common."""
    at, recorder = mixed._so_far()
    if not (mixed.observing or mixed.mixer.needs_losses or mixed._delivery.fetched_here):
        warnings.warn(f"{type(mixed).__name__}: {IN_THREAD}", stacklevel=5)
    return {
        "version": VERSION,
        "group_names": mixed.group_names,
        "global_batch_size": mixed.global_batch_size,
        "order": mixed.order,
        "seed": mixed.seed,
        "observing": mixed.observing,
        "lacks_losses": called_by(THREAD_OF_NODES),
        **at.state_dict(),
        "feedback": mixed._feedback.state_dict(),
        "history": recorder.state_dict(),
    }


def load_state(mixed: Progress, state: dict[str, Any]) -> None:
    """Go on from what :func:`state_of` returned."""
    mixed._feedback.load_state_dict(state["feedback"])  # first, for it may refuse the state
    mixed._seed = state["seed"]
    mixed._composition.load_state_dict(state)
    mixed._recorder.load_state_dict(state.get("history"))


def fit_sampler_state(state: dict[str, Any], sampler: MixedBatchSampler, *, strict: bool) -> dict[str, Any]:
    """Return a state as far as a sampler can go on with it; warn of what it lets go and of other settings.

    Raises:
        ValueError: if the sampler cannot go on, or the state differs at all and ``strict`` is True.
        TypeError: if the state is no dictionary.
    """
    _check_version(state)
    here = sampler._state()
    found = _different(state, here, "sampler", "num_groups", "fingerprint", "global_batch_size")
    if not found and state["position"] > len(sampler):
        found = [f"saved at batch {state['position']} of an epoch, but an epoch has {len(sampler)}"]
    if found and strict:
        raise ValueError(
            f"state: {'; '.join(found)}; load it into a sampler of the same data, grouped in the same way, with the "
            "same global batch size, or keep only the mix and the passes: load_state_dict(state, strict=False)"
        )
    if state["version"] < VERSION:
        _warn_of_other_passes(sampler)
    others = differences(state, {name: here[name] for name in ("num_batches", "order")})
    warn_of_differences("MixedBatchSampler", others)
    return _let_go(state, sampler.partition.sizes, sampler.group_names, found) if found else state


def fit_stream_state(state: dict[str, Any], stream: MixedStream, *, strict: bool) -> dict[str, Any]:
    """Return a state as far as a stream can go on with it; warn of what it lets go and of other settings.

    Raises:
        ValueError: if the stream cannot go on, or its batches are other ones and ``strict`` is True.
        TypeError: if the state is no dictionary.
    """
    if isinstance(state, dict) and state.get("version") == 1:
        raise ValueError(
            "state: a stream's state of version 1 says where its workers were, which this version has none of; to keep "
            'the mix, call stream.mixer.load_state_dict(state["feedback"]["mixer"])'
        )
    _check_version(state)
    here = stream._state()
    found = _different(state, here, "stream", "global_batch_size", "on_exhausted")
    if found and strict:
        raise ValueError(
            f"state: {'; '.join(found)}; to keep only the mix and the draws: load_state_dict(state, strict=False)"
        )
    if state["version"] < VERSION and here["shuffle_buffer"] > 1:
        _warn_of_other_passes(stream)
    names_differ = state["group_names"] != here["group_names"]
    settings = ("order", "shuffle_buffer", *(() if names_differ else ("batch_sizes",)))
    warn_of_differences("MixedStream", differences(state, {name: here[name] for name in settings}))
    if names_differ:
        found.append(f"its sources are {state['group_names']}, but this stream's are {here['group_names']}")
    before = dict(zip(_places(state["group_names"]), state["ends"]["lengths"], strict=True))
    grown = {}  # map-style data of another size, which begin a pass: the samples before, and now
    for source in stream._reader.sources:
        if source.random_access and before.get(source.name, -1) not in (-1, source.size):
            grown[source.name] = before[source.name], source.size or 0
            found.append(f"its {source.name!r} had {before[source.name]} samples, and has {source.size} here")
    num_replicas = stream.num_replicas
    if found:
        places, names = _places(state["group_names"]), list(_places(here["group_names"]))
        lengths = [state["ends"]["lengths"][places[name]] if name in places else -1 for name in names]
        sizes = np.array([grown.get(name, (0, 0))[1] for name in names])
        state = state | {"sizes": [grown.get(name, (0, 0))[0] for name in places]}
        state = _let_go(state, sizes, here["group_names"], found)
        state |= {
            "epoch_start": state["draws"],
            "plans": [],
            "ends": {"lengths": lengths},
            "shards": {"drawn": [[drawn] for drawn in state["draws"]], "lengths": [[-1]] * len(names)},
            "own": [],
            "states": [],
            "orders": [],
        }
    if len(state["own"]) != num_replicas:  # then each process has had as many of a source as any other
        state = state | {"own": [[drawn // num_replicas for drawn in state["draws"]]] * num_replicas}
    return state


def _warn_of_other_passes(mixed: MixedBatchSampler | MixedStream) -> None:
    """Warn that a run does not go on with the very batches that it would have had."""
    warnings.warn(
        f"{type(mixed).__name__}: the state is of an earlier version, which shuffled in another way. The mix, the "
        "losses and the draws go on; but of the pass over each group that was under way, some samples come again, and "
        "as many only in the next one",
        UserWarning,
        stacklevel=4,
    )


def _check_version(state: Any) -> None:
    if not isinstance(state, dict):
        way_out = f"; read the file: torch.load({state!r}, weights_only=True)" if isinstance(state, str) else ""
        raise TypeError(f"state must be what state_dict() returned, got {type(state).__name__}{way_out}")
    if state.get("version") not in VERSIONS:
        raise ValueError(
            f"state: its version is {state.get('version')!r}, and this learn2mix reads {VERSIONS}; load what "
            "state_dict() of a sampler, stream or loader returned"
        )


def _different(state: dict[str, Any], here: dict[str, Any], whose: str, *names: str) -> list[str]:
    return [
        f"its {name} is {state.get(name)!r}, but this {whose}'s is {here[name]!r}"
        for name in names
        if state.get(name) != here[name]
    ]


def _let_go(state: dict[str, Any], sizes: Counts, group_names: list[Any], found: list[str]) -> dict[str, Any]:
    """Return a state with what a run of other data or another batch size can keep, and warn of the rest.

    ``sizes``, shape ``(num_groups,)``, and ``group_names`` are those of the run; ``found`` says what differs.
    """
    warnings.warn(
        f"state: {'; '.join(found)}. The mix and the passes over each group go on; the epoch begins anew, batches "
        "composed ahead are let go, and a group that has changed begins a pass",
        stacklevel=5,
    )
    names, places = list(_places(group_names)), _places(state.get("group_names", group_names))
    old = [places.get(name) for name in names]  # place of each group in the state; None for a new one
    draws, credit = np.array(as_list(state["draws"])), np.array(as_list(state["credit"]))
    old_sizes = np.array(state.get("sizes", np.zeros_like(draws)))
    new_draws, new_credit = np.zeros(len(sizes), dtype=np.int64), np.zeros(len(sizes))
    for number, at in enumerate(old):
        if at is not None:
            whole = old_sizes[at] in (sizes[number], 0)
            new_draws[number] = draws[at] if whole else -(-draws[at] // old_sizes[at]) * sizes[number]
            new_credit[number] = credit[at]
    new_credit -= new_credit.sum() / len(sizes)  # what is owed to groups that are gone is owed to all
    same = names == list(places) and np.array_equal(new_draws, draws)
    return state | {
        "history": state.get("history") if same else None,  # a history is of one set of groups
        "draws": new_draws.tolist(),
        "credit": new_credit.tolist(),
        **({"newest": _shares_of(state["newest"], old)} if "newest" in state else {}),
        "ahead": [],
        "ahead_trained": [],
        "position": 0,
        "epoch": state["epoch"] + (state["position"] > 0),
        "feedback": state["feedback"] if names == list(places) else _feedback_of(state["feedback"], old),
    }


def _feedback_of(feedback: dict[str, Any], old: list[int | None]) -> dict[str, Any]:
    """Return a state of losses and mixer for other groups, without the losses since the last update."""
    known = {name: value for name, value in feedback.items() if name not in ("pooled", "mix_sum", "draws")}
    return known | {
        "mixer": _mixer_of(feedback["mixer"], old),
        "pool": {},
        "group_losses": [None] * len(old),
        "num_observed": 0,
        "update_due": False,
    }


def _mixer_of(mixer: dict[str, Any], old: list[int | None]) -> dict[str, Any]:
    """Return a state of a mixer, and of those inside of it, for other groups."""
    found, shares = dict(mixer), mixer["proportions"]
    if shares is not None:
        found["proportions"] = _shares_of(as_list(shares), old)
    for entry in PER_GROUP & mixer.keys():
        values = mixer[entry] and [None if at is None else mixer[entry][at] for at in old]
        found[entry] = values if entry == "remembered" or None not in (values or ()) else None
    if "mixers" in mixer:
        found["mixers"] = {name: _mixer_of(one, old) for name, one in mixer["mixers"].items()}
    return found


def _shares_of(shares: list[float], old: list[int | None]) -> list[float]:
    """Return a mix for other groups: a new one gets an even share, and the others keep their shares to each other."""
    known = [None if at is None else shares[at] for at in old]
    total = sum(share for share in known if share is not None)
    kept, new = 1 - known.count(None) / len(known), 1 / len(known)
    return [new if share is None or not total else share * kept / total for share in known]


def _places(names: list[Any]) -> dict[Any, int]:
    return {as_name(name): place for place, name in enumerate(names)}
