"""Settings: every one has a source and a rule, and --set obeys the rules."""

from itertools import product
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.plan import all_kinds, plan, settings_of
from experiments.settings import parse_overrides
from experiments.tasks import TASKS, Task

KINDS = all_kinds()


def test_every_setting_obeys_its_own_rule_and_names_its_source():
    for task, method in product(TASKS.values(), METHODS.values()):
        for name, setting in settings_of(task, method).items():
            assert KINDS[name].parse(str(setting.value)) == setting.value, (task.name, method.name, name)
            assert setting.source, (task.name, method.name, name)


@pytest.mark.parametrize(
    ("pair", "value"),
    [("lr=1e-3", 0.001), ("epochs=7", 7), ("every=epoch", "epoch"), ("every=5", 5), ("mixing_rate=0", 0.0),
     ("focusing=0", 0.0), ("tau=1.5", 1.5), ("momentum=0", 0.0), ("weight_decay=5e-4", 5e-4), ("shift=0", 0),
     ("per_class=none", "none"), ("per_class=20", 20), ("image_size=none", "none"), ("passes=15", 15.0),
     ("curriculum_growth=1", 1.0), ("curriculum_start=1", 1.0)],
)  # fmt: skip
def test_overrides_are_read_by_the_kind_of_the_setting(pair, value):
    assert parse_overrides([pair], KINDS) == {pair.partition("=")[0]: value}


@pytest.mark.parametrize(
    "pair",
    ["lr=fast", "lr=0", "lr=nan", "epochs=1.5", "epochs=0", "every=never", "every=0", "mixing_rate=1.1",
     "imbalance=step:0", "imbalance=half", "model=lenet", "optimizer=adam", "batch_size=-3",
     "momentum=1", "weight_decay=-1", "schedule=linear", "shift=-1", "flip=maybe", "class_order=size",
     "per_class=0", "image_size=1.5", "width=0",
     "focusing=-1", "tau=inf", "curriculum_growth=0.9", "curriculum_start=0", "warm_up_epochs=0"],
)  # fmt: skip
def test_a_wrong_value_names_the_setting_the_rule_and_the_value(pair):
    name, _, value = pair.partition("=")
    with pytest.raises(UserError) as caught:
        parse_overrides([pair], KINDS)
    message = str(caught.value)
    assert name in message
    assert KINDS[name].rule in message
    assert repr(value) in message


def test_an_unknown_setting_lists_what_there_is():
    with pytest.raises(UserError) as caught:
        parse_overrides(["speed=0.9"], KINDS)
    assert "'speed'" in str(caught.value)
    assert all(name in str(caught.value) for name in KINDS)


@pytest.mark.parametrize(("typo", "meant"), [("learning_rate", None), ("batchsize", "batch_size"), ("epoch", "epochs")])
def test_a_mistyped_setting_is_answered_with_the_nearest(typo, meant):
    with pytest.raises(UserError) as caught:
        parse_overrides([f"{typo}=1"], KINDS)
    assert meant is None or f"did you mean {meant}?" in str(caught.value)


def test_a_pair_without_a_value_is_an_error():
    with pytest.raises(UserError, match="key=value"):
        parse_overrides(["lr"])


def test_a_setting_that_no_run_has_lists_those_they_have(toy: Task):
    with pytest.raises(UserError, match=r"'every'(.|\n)*batch_size"):
        plan(["toy"], ["classical"], 1, {"every": "step"})


def test_an_override_reaches_only_the_runs_that_have_the_setting(toy: Task):
    learned, classical = plan(["toy"], ["learn2mix", "classical"], 1, {"every": "epoch", "lr": 0.5})
    assert (learned.settings["every"], learned.settings["lr"]) == ("epoch", 0.5)
    assert "every" not in classical.settings
    assert classical.settings["lr"] == 0.5


def test_the_task_says_what_a_methods_setting_is_on_it(toy: Task):
    assert METHODS["learn2mix"].settings["every"].value == "epoch"
    (run,) = plan(["toy"], ["learn2mix"], 1, {})
    assert run.settings["every"] == "step"
    assert run.settings["mixing_rate"] == 0.1


def test_a_plan_holds_each_run_once(toy: Task):
    runs = plan(["toy", "toy"], ["learn2mix", "classical"], 2, {})
    assert [str(run) for run in runs] == [
        "toy learn2mix seed 0",
        "toy classical seed 0",
        "toy learn2mix seed 1",
        "toy classical seed 1",
    ]


@pytest.mark.parametrize(
    ("task", "method", "meant"),
    [("tyo", "learn2mix", "toy"), ("toy", "learn2mx", "learn2mix"), ("mnits", "all", "mnist")],
)
def test_an_unknown_name_lists_what_there_is(toy: Task, task, method, meant):
    with pytest.raises(UserError, match=rf"did you mean {meant}\?.*there are: .*(toy|classical)"):
        plan([task], [method], 1, {}, data_root=Path("no-such-folder"))
