"""docs/coming-from.md: our columns run, theirs too where the package is there, and the figures beside them hold."""

import ast
import re
import sys
import types
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

PAGE = (Path(__file__).parent.parent / "docs" / "coming-from.md").read_text(encoding="utf8")
SHARED, *PAIRS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PEERS = {pair.partition("\n")[0]: BLOCK.findall(pair) for pair in PAIRS}


class Shards(IterableDataset):
    """What mosaicml's and litData's data sets promise: samples by index, and an iterator that wants the loop's help."""

    def __init__(self, folder=None, *, local=None, batch_size=None):
        self.samples = {"web": range(900), "books": range(1000, 1090)}[local or folder]

    def __getitem__(self, index):
        return self.samples[index]

    def __len__(self):
        return len(self.samples)

    @property
    def num_samples(self):
        return len(self.samples)

    def __iter__(self):
        raise AssertionError("read by index")

    def state_dict(self, num_samples, from_beginning):
        raise AssertionError("asked for nothing")


@pytest.fixture(autouse=True)
def seeded():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    torch.manual_seed(0)
    np.random.seed(0)
    yield
    torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)


def run(code):
    """Run a column after the lines that all share; return each batch that its training step got."""
    names, batches = {"__name__": "page"}, []
    (shared,) = BLOCK.findall(SHARED)
    exec(compile(shared, "coming-from.md", "exec"), names)
    names["step"] = batches.append
    exec(compile(code, "coming-from.md", "exec"), names)
    return batches


def packages(code):
    imports = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom | ast.Import))
    return {(getattr(node, "module", None) or node.names[0].name).partition(".")[0] for node in imports}


def counts(batch):
    """Samples of each class or source of a batch."""
    if isinstance(batch, list):
        return torch.bincount(batch[1], minlength=3).tolist()
    samples = batch["x"] if isinstance(batch, dict) else batch
    return [int((samples < 1000).sum()), int((samples >= 1000).sum())]


def test_each_peer_has_two_columns_and_a_table():
    assert len(PEERS) == 7
    assert all(len(columns) == 2 for columns in PEERS.values())
    assert all(re.search(r"^\| \| before \| after \|$", pair, flags=re.MULTILINE) for pair in PAIRS)


def loads(name):
    """Whether a package is there and fits the others; imbalanced-learn may be too old for a scikit-learn."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("peer", PEERS)
def test_their_column_runs_where_the_package_is(peer):
    code = PEERS[peer][0]
    compile(code, peer, "exec")
    missing = [name for name in packages(code) if not loads(name)]
    if missing or "catalyst" in packages(code):  # catalyst doesn't work with a torch of today
        pytest.skip(f"compiled only: {missing or 'catalyst'}")
    if packages(code) & {"streaming", "litdata"}:
        pytest.skip("compiled only: there are no shards here")
    assert len(run(code)) >= 30


@pytest.mark.parametrize("peer", PEERS)
def test_our_column_gives_exact_batches(peer, monkeypatch):
    for name in ("streaming", "litdata"):
        module = types.ModuleType(name)
        module.StreamingDataset = Shards
        monkeypatch.setitem(sys.modules, name, module)
    if missing := [name for name in packages(PEERS[peer][1]) if not loads(name)]:
        pytest.skip(f"compiled only: {missing}")
    batches = [counts(batch) for batch in run(PEERS[peer][1])]
    assert len(batches) >= 30
    size = sum(batches[0])
    shares = np.array([1 / 3] * 3 if len(batches[0]) == 3 else [0.7, 0.3])
    assert {sum(batch) for batch in batches} == {size}
    ahead = np.cumsum(batches, axis=0) - np.outer(np.arange(1, len(batches) + 1), shares * size)
    assert np.abs(ahead).max() < 1
    if len(shares) == 2:
        assert {books for _, books in batches} == {2, 3}


def test_the_weighted_sampler_misses_what_ours_draws():
    before, after = PEERS["torch's WeightedRandomSampler"]
    three_epochs = "\nfor _ in range(2):\n    for batch in loader:\n        step(batch)\n"
    missed = []
    for code in (before, after):
        torch.manual_seed(0)
        drawn = torch.cat([inputs[labels == 0] for inputs, labels in run(code + three_epochs)])
        missed.append(1 - len(drawn.unique(dim=0)) / 900)
    assert missed[0] == pytest.approx(float(re.search(r"three epochs, (\d+) %", PAGE)[1]) / 100, abs=0.03)
    assert missed[1] == 0


def test_balanced_epochs_are_as_long_as_imbalanced_learn_s():
    before, after = PEERS["imbalanced-learn"]
    pytest.importorskip("imblearn.over_sampling", exc_type=ImportError)
    assert len(run(before)) == len(run(after)) == 90
