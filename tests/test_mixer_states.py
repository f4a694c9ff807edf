"""A mixer's state: it tells its settings, the code's win, and it loads from anywhere."""

import copy
import io
import math
import warnings
from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import same_state, through_a_file
from learn2mix import AlternatingMix, AnnealedMix, FixedMix, Learn2Mix, Mixer
from learn2mix.checks import differences

PRIOR, NAMES = [0.5, 0.3, 0.2], ["a", "b", ("c", 1)]


class Own(Mixer):
    """A rule of a user's own: two settings, one of them NumPy's, and a count that is no setting."""

    def __init__(self, step_size=0.1, powers=(1, 2)):
        self.step_size, self.powers, self.num_updates = np.float64(step_size), powers, 0

    def update(self, losses):
        self.num_updates += 1
        self.proportions = (self.proportions + self.step_size * losses / losses.sum()) / (1 + self.step_size)


class Steeper(Own):
    """A rule that passes settings on to the one that it extends."""

    def __init__(self, slope=1.0, **settings):
        super().__init__(**settings)
        self.slope = slope


def square(progress):
    return progress**2


# Two values of each setting of each rule; any choice of them makes a mixer of these three groups.
SETTINGS = {
    Learn2Mix: {"mixing_rate": [0.5, 0.25], "every": ["step", "epoch", 3], "floor": [0.0, 0.1]},
    AnnealedMix: {
        "start": [None, "uniform", [1, 0, 0]],
        "end": ["uniform", {"a": 0.1, ("c", 1): 0.9, "b": 0.0}],
        "num_steps": [9, 5],
        "schedule": ["linear", "cosine", square, lambda progress: progress**3],
    },
    AlternatingMix: {
        "every": ["epoch", 1, 2, "plateau"],
        "groups": [None, ["b", ["a", ("c", 1)]], ["b", ("c", 1)]],
        "window": [2, 3],
        "threshold": [0.5, 1.0],
        "num_turns": [None, 2],
    },
    FixedMix: {"proportions": [None, "uniform", [0.25, 0.25, 0.5]]},
    Own: {"step_size": [0.1, 0.2], "powers": [(1, 2), (1, 3)]},
    Steeper: {"slope": [1.0, 2.0], "step_size": [0.1, 0.2]},
}
choices = st.sampled_from(list(SETTINGS)).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        *[st.fixed_dictionaries({name: st.sampled_from(values) for name, values in SETTINGS[kind].items()})] * 2,
    )
)


def make(kind, settings):
    mixer = kind(**settings)
    mixer.attach(PRIOR, NAMES)
    return mixer


def use(mixer, batches=6):
    """Everything that a run does to a mixer."""
    for batch in range(batches):
        mixer.seek(batch, epoch=batch // 4)
        mixer.update(np.array([1.0, 2.0 + batch, 5.0]))
        mixer.observe_validation(1.0)
    return mixer


def load(mixer, state):
    """Load, and return the messages of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixer.load_state_dict(state)
    return [str(warning.message) for warning in caught]


@given(choices)
def test_settings_that_differ_are_named_in_one_warning_and_others_in_none(choice):
    kind, saved, here = choice
    messages = load(make(kind, here), through_a_file(use(make(kind, saved)).state_dict()))
    differing = {name for name in saved if saved[name] is not here[name]}
    assert len(messages) == bool(differing)
    named = {name for name in saved if messages and f"{name}: " in messages[0].partition("(")[2]}
    assert named == differing


@given(choices, st.integers(0, 9))
def test_the_code_wins(choice, batches):
    """What follows is what the code's settings make of the place and the mix that the state tells."""
    kind, saved, here = choice
    old, mixer = use(make(kind, saved), batches), make(kind, here)
    load(mixer, through_a_file(old.state_dict()))
    oracle = make(kind, here)
    if kind in (Learn2Mix, Own, Steeper):
        oracle.proportions = old.proportions
    elif not (kind is AlternatingMix and saved["every"] == here["every"] == "plateau"):
        oracle = use(oracle, batches)
        if kind is AlternatingMix and here["every"] == "plateau":
            return  # how often it would have taken turns is not known
    else:
        turn = old.state_dict()["turn"]
        over = here["num_turns"] is not None and turn >= here["num_turns"]
        turns = make(kind, here | {"every": 1, "num_turns": None})
        turns.seek(turn, epoch=0)
        assert mixer.proportions.tolist() == (PRIOR if over else turns.proportions.tolist())
        return
    assert mixer.proportions.tolist() == oracle.proportions.tolist()
    for one in (mixer, oracle):
        one.seek(batches, epoch=batches // 4)
        one.update(np.array([3.0, 1.0, 1.0]))
    assert mixer.proportions.tolist() == oracle.proportions.tolist()


@pytest.mark.parametrize("turn", range(7))
@pytest.mark.parametrize("num_turns", [None, 3])
def test_turns_taken_on_a_plateau_are_those_of_the_code_s_groups(turn, num_turns):
    old = make(AlternatingMix, {"every": "plateau", "window": 2})
    for _ in range(2 * turn):
        old.observe_validation(1.0)
    new = make(AlternatingMix, {"every": "plateau", "window": 2, "groups": ["b", "a"], "num_turns": num_turns})
    assert len(load(new, through_a_file(old.state_dict()))) == 1
    over = num_turns is not None and turn >= num_turns
    assert new.proportions.tolist() == (PRIOR if over else [[0, 1, 0], [1, 0, 0]][turn % 2])


def test_a_schedule_of_one_s_own_differs_by_what_it_gives():
    def annealed(schedule):
        return make(AnnealedMix, {"num_steps": 5, "schedule": schedule})

    (message,) = load(annealed(lambda progress: progress**3), annealed(lambda progress: progress**2).state_dict())
    assert "schedule: '<lambda> through 0.0625" in message
    assert load(annealed(lambda progress: progress**2), annealed(lambda value: value * value).state_dict()) == []


@given(choices)
def test_the_same_settings_go_on_bit_for_bit(choice):
    kind, settings, _ = choice
    whole = use(make(kind, settings), 5)
    resumed = make(kind, settings)
    assert load(resumed, through_a_file(whole.state_dict())) == []
    if kind not in (Own, Steeper):  # their count is not in their state
        assert same_state(resumed.state_dict(), whole.state_dict())
    assert use(resumed).proportions.tolist() == use(whole).proportions.tolist()


@given(choices)
def test_states_hold_plain_values_alone(choice):
    kind, settings, _ = choice

    def plain(value):
        if isinstance(value, (list, dict)):
            return all(map(plain, value.values() if isinstance(value, dict) else value))
        return value is None or type(value) in (bool, int, float, str)

    assert plain(make(kind, settings).state_dict())
    assert plain(kind(**settings).state_dict())  # also of a mixer that no sampler has yet


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind is not Steeper])
def test_a_state_of_an_earlier_version_loads_without_a_word(kind):
    settings = {name: values[0] for name, values in SETTINGS[kind].items()}
    whole = use(make(kind, settings))
    state = {"mixer": kind.__name__, "proportions": torch.tensor(whole.proportions)}
    state |= {"turn": 1, "newest": [1.0]} if kind is AlternatingMix else {}
    other = make(kind, {name: values[1] for name, values in SETTINGS[kind].items()})
    assert load(other, state) == []
    if kind is not AlternatingMix:
        assert other.proportions.tolist() == pytest.approx(whole.proportions.tolist(), abs=0.1)


@pytest.mark.parametrize("kind", SETTINGS)
def test_where_a_state_is_loaded_to_does_not_matter(kind):
    settings = {name: values[0] for name, values in SETTINGS[kind].items()}
    file, whole = io.BytesIO(), use(make(kind, settings))
    torch.save(whole.state_dict(), file)
    file.seek(0)
    with torch.device("meta"):
        resumed = make(kind, settings)
        assert load(resumed, torch.load(file, map_location="meta", weights_only=True)) == []
        assert resumed.proportions.tolist() == whole.proportions.tolist()
        assert use(resumed).proportions.tolist() == use(whole).proportions.tolist()


def test_an_earlier_state_on_the_meta_device_has_no_mix_to_load():
    state = {"mixer": "Learn2Mix", "proportions": torch.empty(3, device="meta")}
    mixer = make(Learn2Mix, {})
    with pytest.raises(ValueError, match=r"meta device, which holds no data; .* map_location 'cpu'"):
        mixer.load_state_dict(state)
    assert mixer.proportions.tolist() == PRIOR


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_mix_may_be_a_tensor_that_is_trained(dtype):
    values = torch.tensor([0.25, 0.25, 0.5], dtype=dtype, requires_grad=True)
    assert make(FixedMix, {"proportions": values}).proportions.tolist() == [0.25, 0.25, 0.5]


def test_a_mix_that_was_assigned_comes_back_where_the_settings_are_the_same():
    old = make(FixedMix, {"proportions": "uniform"})
    old.proportions = [0.1, 0.1, 0.8]
    same, other = make(FixedMix, {"proportions": "uniform"}), make(FixedMix, {"proportions": None})
    assert load(same, old.state_dict()) == []
    assert same.proportions.tolist() == [0.1, 0.1, 0.8]
    assert len(load(other, old.state_dict())) == 1
    assert other.proportions.tolist() == PRIOR
    assert load(old, make(FixedMix, {"proportions": "uniform"}).state_dict()) == []  # from before it was assigned
    assert old.proportions.tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("make_mixer", [FixedMix, lambda: FixedMix("uniform"), lambda: FixedMix.tempered(0.5)])
def test_a_fixed_mix_follows_data_that_grew(make_mixer):
    old, grown = make_mixer(), make_mixer()
    old.attach([0.5, 0.5], ["a", "b"])
    grown.attach([0.6, 0.2, 0.2], ["a", "b", "c"])
    before = grown.proportions.tolist()
    assert load(grown, old.state_dict()) == []
    assert grown.proportions.tolist() == before


def test_a_tempered_mix_tells_its_power():
    mixer = FixedMix.tempered(0.3)
    mixer.attach(PRIOR, NAMES)
    (message,) = load(make(FixedMix, {}), mixer.state_dict())
    assert "power: 0.3 in the state, None here" in message


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=3), plain_values, max_size=4))
def test_what_is_the_same_does_not_differ(settings):
    assert differences(settings, through_a_file(settings)) == []
    as_tensors = {
        name: torch.tensor(value) if isinstance(value, float) and not math.isnan(value) else value
        for name, value in settings.items()
    }
    assert all("tensor" not in text for text in differences(as_tensors, settings))


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 2)), st.dictionaries(st.text(max_size=3), st.integers(0, 2)))
def test_what_differs_is_named_in_the_order_of_the_code(saved, here):
    wanted = [(name, saved[name], here[name]) for name in here if name in saved and saved[name] != here[name]]
    assert differences(saved, here) == [f"{name}: {old} in the state, {new} here" for name, old, new in wanted]


@pytest.mark.parametrize("value", [math.nan, [1.0, math.nan], [[math.nan], None]])
def test_nan_does_not_differ_from_nan(value):
    assert differences(through_a_file({"value": value}), {"value": copy.deepcopy(value)}) == []


def test_long_settings_are_shortened():
    (text,) = differences({"start": [0.001] * 1000}, {"start": tuple([0.002] * 1000)})
    assert len(text) < 200
    assert "0.002" in text


def test_what_is_no_plain_value_is_no_setting():
    class Holds(Mixer):
        def __init__(self, model, table, number):
            self.model, self.table, self.number = model, table, number

    assert Holds(torch.nn.Linear(1, 1), deque(), np.int32(3)).state_dict()["settings"] == {"number": 3}
