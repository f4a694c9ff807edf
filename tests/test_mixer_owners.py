"""A mixer belongs to one sampler at a time; when that is gone, the next finds it as it was at first."""

import copy
import gc
import pickle

import numpy as np
import pytest

from helpers import same_state
from learn2mix import AlternatingMix, AnnealedMix, FixedMix, Learn2Mix, Mixer

PRIOR, NAMES = [0.5, 0.3, 0.2], ["a", "b", "c"]


class Momentum(Mixer):
    """A rule of a user's own, with something to remember in its state."""

    needs_losses = True

    def __init__(self, rate=0.5):
        self.rate, self.velocity = rate, [0.0, 0.0, 0.0]

    def update(self, losses):
        self.velocity[0] += 1.0
        self.proportions = (1 - self.rate) * self.proportions + self.rate * losses / losses.sum()

    def state_dict(self):
        return super().state_dict() | {"velocity": self.velocity}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.velocity = state["velocity"]


class Assigned(FixedMix):
    """A fixed mix that someone changes by hand."""


KINDS = {
    "learn2mix": lambda: Learn2Mix(0.5),
    "learn2mix from uniform": lambda: Learn2Mix(0.5, initial="uniform", floor=0.1),
    "annealed": lambda: AnnealedMix([1, 0, 0], [0, 0, 1], num_steps=4),
    "alternating": lambda: AlternatingMix(every=1),
    "alternating on a plateau": lambda: AlternatingMix(every="plateau", window=2),
    "fixed": lambda: FixedMix("uniform"),
    "assigned": Assigned,
    "own": Momentum,
}


class Owner:
    """What a mixer may belong to."""

    def __init__(self, mixer):
        mixer.attach(PRIOR, NAMES, owner=self)


def use(mixer):
    """Everything that a run does to a mixer."""
    mixer.seek(2, epoch=1)
    mixer.update(np.array([1.0, 2.0, 5.0]))
    for loss in (1.0, 1.0, 0.9):
        mixer.observe_validation(loss)
    if isinstance(mixer, Assigned):
        mixer.proportions = [0.1, 0.1, 0.8]


@pytest.fixture(params=KINDS)
def mixer(request):
    return KINDS[request.param]()


def test_a_second_owner_is_refused_while_the_first_lives(mixer):
    first = Owner(mixer)
    use(mixer)
    before = mixer.state_dict()
    with pytest.raises(ValueError, match=rf"{type(mixer).__name__} already .* make a new mixer for each sampler"):
        Owner(mixer)
    assert same_state(mixer.state_dict(), before)
    mixer.attach(PRIOR, NAMES, owner=first)  # the same once more is nothing new
    assert same_state(mixer.state_dict(), before)


def test_a_new_owner_finds_the_mixer_as_it_was_at_first(mixer):
    owners = [Owner(mixer)]
    fresh = copy.deepcopy(mixer.state_dict())
    for _ in range(3):
        use(mixer)
        assert isinstance(mixer, FixedMix) != isinstance(mixer, Assigned) or not same_state(mixer.state_dict(), fresh)
        owners.clear()
        owners.append(Owner(mixer))
        assert same_state(mixer.state_dict(), fresh)


def test_an_owner_that_only_refers_to_itself_is_gone(mixer):
    first = Owner(mixer)
    first.itself = first
    gc.disable()
    try:
        del first
        Owner(mixer)
    finally:
        gc.enable()


def test_without_an_owner_nothing_is_refused_or_reset(mixer):
    mixer.attach(PRIOR, NAMES)
    use(mixer)
    before = copy.deepcopy(mixer.state_dict())
    mixer.attach(PRIOR, NAMES)
    owner = Owner(mixer)  # the first that it has
    mixer.attach(PRIOR, NAMES)
    assert same_state(mixer.state_dict(), before)
    del owner


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda mixer: pickle.loads(pickle.dumps(mixer))])
def test_a_copy_is_nobody_s(mixer, copied):
    first = Owner(mixer)
    use(mixer)
    other = copied(mixer)
    second = Owner(other)
    assert same_state(other.state_dict(), mixer.state_dict())
    del first, second


def test_the_groups_stay_those_of_the_first_owner(mixer):
    Owner(mixer)
    with pytest.raises(ValueError, match="already mixes 3 other groups; make a new mixer for each sampler"):
        mixer.attach([0.4, 0.3, 0.3], NAMES, owner=NAMES)


def test_what_was_set_since_is_kept(mixer):
    if not isinstance(mixer, Learn2Mix):
        return
    Owner(mixer)
    mixer.mixing_rate = 0.25
    Owner(mixer)  # without a warning of settings that differ
    assert mixer.mixing_rate == 0.25


def test_a_mixer_that_could_not_begin_belongs_to_nobody():
    mixer = FixedMix([0.5, 0.5])
    owner = object.__new__(Owner)
    with pytest.raises(ValueError, match="expected 3, got 2"):
        owner.__init__(mixer)
    mixer.attach([0.5, 0.5], ["a", "b"], owner=KINDS["own"]())
