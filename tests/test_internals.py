"""What is private to Lightning is touched in one file, in five places; where one is gone, the error names it."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

import learn2mix
from learn2mix.lightning import internals
from lightning_modules import NAMESPACES

FOLDER = Path(learn2mix.__file__).parent
FILE = Path(internals.__file__)

PRIVATE = {
    "_data_fetcher": ("fit_loop", internals.begin_again),
    "_data_connector": ("", lambda trainer: internals.keep_samplers(trainer, bool)),
    "_requires_distributed_sampler": ("_data_connector", lambda trainer: internals.keep_samplers(trainer, bool)),
    "_should_check_val_fx": ("fit_loop.epoch_loop", internals.validation_follows),
    "_batches_that_stepped": ("fit_loop.epoch_loop", internals.num_batches_stepped),
}


def names_touched(path):
    """Private names that a file takes from objects that are not its own: as attributes, or by their strings."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    own = {"self", "cls", "connector"}
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in own)
    }
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    }
    return {name for name in attributes | strings if name.startswith("_") and not name.startswith("__")}


def of_trainer(path):
    """Private names that a file takes from a Trainer, a module, or what belongs to them."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    found = set()
    for node in ast.walk(tree):
        chain, inner = [], node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in ("trainer", "pl_module"):
            found |= {name for name in chain if name.startswith("_")}
    return found


def test_they_are_five_at_the_most():
    assert names_touched(FILE) == set(PRIVATE)
    assert len(PRIVATE) <= 5


def test_each_has_a_test_and_each_function_one_of_them():
    assert {name for name in internals.__all__} == {
        "begin_again",
        "keep_samplers",
        "num_batches_stepped",
        "validation_follows",
    }


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_other_file_touches_what_is_private(path):
    if path != FILE:
        assert of_trainer(path) == set()
        text = path.read_text(encoding="utf8")
        assert not [name for name in PRIVATE if name in text]


@pytest.mark.parametrize("namespace", NAMESPACES.values(), ids=NAMESPACES)
@pytest.mark.parametrize("name", PRIVATE)
def test_this_version_has_it(name, namespace, tmp_path):
    owner = namespace.Trainer(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path)
    for part in filter(None, PRIVATE[name][0].split(".")):
        owner = getattr(owner, part)
    assert hasattr(owner, name)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_version_without_it_is_told(name):
    """What each function needs is there, but for this one."""
    where, function = PRIVATE[name]

    class Connector:
        def _requires_distributed_sampler(self, loader):
            return True

    class EpochLoop:
        _batches_that_stepped = 3

        def _should_check_val_fx(self, fetcher):
            return True

    class FitLoop:
        _data_fetcher = ()

        def __init__(self):
            self.epoch_loop = EpochLoop()

    class Trainer:
        def __init__(self):
            self.fit_loop, self._data_connector = FitLoop(), Connector()

    trainer = Trainer()
    function(trainer)  # works
    trainer, owner = Trainer(), None
    owner = trainer
    for part in filter(None, where.split(".")):
        owner = getattr(owner, part)
    delattr(owner if name in vars(owner) else type(owner), name)
    with pytest.raises(RuntimeError, match=rf"this version of Lightning has no \w+\.{name}; use pytorch-lightning 2.6"):
        function(trainer)


def test_keeping_samplers_asks_lightning_about_all_others():
    class Connector:
        def _requires_distributed_sampler(self, loader):
            return True

    trainer = SimpleNamespace(_data_connector=Connector())
    internals.keep_samplers(trainer, lambda loader: loader == "ours")
    asked = trainer._data_connector._requires_distributed_sampler
    assert (asked("ours"), asked("theirs")) == (False, True)
