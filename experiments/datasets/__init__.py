"""A task's data as tensors in memory, one path for every method, whatever they come from: parts, cuts and errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.errors import UserError
from experiments.lazily import lazily, np, torch
from experiments.settings import NONE, Values, read_imbalance


@dataclass(frozen=True)
class Split:
    """Samples, of a whole part or of a batch."""

    inputs: torch.Tensor  # uint8 images (N, C, H, W), float32 features (N, d) or int64 tokens (N, L), 0 for padding
    targets: torch.Tensor  # int64 classes (N,), float32 values (N,) or, to be reconstructed, the images themselves
    groups: torch.Tensor  # int64 (N,)

    def take(self, index: torch.Tensor) -> Split:
        """The samples at ``index``, int64 ``(batch_size,)``, in its order."""
        # index_select copies whole rows: of 1,000 digits in a seventh of the time of inputs[index].
        return Split(*(part.index_select(0, index) for part in (self.inputs, self.targets, self.groups)))

    def to(self, device: torch.device) -> Split:
        return Split(self.inputs.to(device), self.targets.to(device), self.groups.to(device))

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True)
class Data:
    """A task's data: a training part (cut, where the task cuts it) and a test part, which never is."""

    train: Split
    test: Split
    group_names: tuple[str, ...]

    @classmethod
    def labelled(cls, inputs: Iterable[np.ndarray], labels: Iterable[np.ndarray], names: Iterable[str]) -> Data:
        """Data of the arrays of both parts; their classes are targets and groups."""
        classes = [torch.from_numpy(part.astype(np.int64)) for part in labels]
        train, test = (Split(torch.from_numpy(part), y, y) for part, y in zip(inputs, classes, strict=True))
        return cls(train, test, tuple(names))

    def __post_init__(self) -> None:
        # No method could give such a group a share.
        empty = [name for name, count in zip(self.group_names, self.counts(self.train), strict=True) if not count]
        if empty:
            raise UserError(f"no training samples are left in {', '.join(empty)}; choose a milder 'imbalance'")

    def counts(self, split: Split) -> list[int]:
        """Samples a group of one of the parts."""
        return torch.bincount(split.groups, minlength=len(self.group_names)).tolist()

    @property
    def proportions(self) -> np.ndarray:
        """Share of each group of the training part, shape ``(num_groups,)``, float64, above 0."""
        return np.array(self.counts(self.train)) / len(self.train)


@contextmanager
def obtaining(what: str, root: Path, layout: Sequence[str], fetch: str) -> Iterator[None]:
    """The one error for data that are not there: where we looked, what should be there, how to get it, what failed."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        expected = "\n".join(f"  {root / line}" for line in layout)
        raise UserError(
            f"{what} is not there, or not whole.\nLooked in: {root.absolute()}\nExpected:\n{expected}\n"
            f"To get it: {fetch}. What just failed: {type(error).__name__} {' '.join(str(error).split())}\n"
            "Another folder: --data-root DIR, or the environment variable LEARN2MIX_DATA."
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is raised while a damaged file is read becomes one error that names the file."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read, it may be cut short: {error}; delete it and get it anew") from error


def load(
    root: Path, settings: Values, rng: np.random.Generator, *, name: str, rare: Collection[int] | None, again: bool
) -> Data:
    """A data set below the root, cut as the settings say; ``again`` makes the inputs what is to be predicted."""
    if name == "imdb":  # each imported for its own data, as the other needs other libraries
        source = lazily("experiments.datasets.text:load_imdb")(root, settings["max_tokens"])
    else:
        source = lazily("experiments.datasets.images:load_images")(root, name, settings.get("image_size", NONE))
    data = cut(source, settings, rng, rare)
    train, test = ((replace(part, targets=part.inputs) if again else part) for part in (data.train, data.test))
    return replace(data, train=train, test=test)


def cut(data: Data, settings: Values, rng: np.random.Generator, rare: Collection[int] | None) -> Data:
    """The data, each group of the training part cut to the share that ``imbalance`` says, of ``per_class`` at most."""
    imbalance, per_class = settings.get("imbalance", NONE), settings.get("per_class", NONE)
    if imbalance == per_class == NONE:
        return data
    shares = shares_kept(imbalance, len(data.group_names), rare)
    if settings.get("class_order") == "seed":
        shares = rng.permutation(shares)
    kept = choose_kept(data.train.groups.numpy(), shares, rng, None if per_class == NONE else per_class)
    return replace(data, train=data.train.take(torch.from_numpy(kept)))


def shares_kept(imbalance: str, num_groups: int, rare: Collection[int] | None = None) -> np.ndarray:
    """The share, above 0, that each group keeps; "step" cuts the groups ``rare``, or without them the upper half."""
    if imbalance == NONE:
        return np.ones(num_groups)
    (form, number), groups = read_imbalance(imbalance), np.arange(num_groups)
    if form == "step":
        is_rare = groups >= num_groups // 2 if rare is None else np.isin(groups, list(rare))
        return np.where(is_rare, number, 1.0)
    place = groups / max(num_groups - 1, 1)  # 0 at the first group, 1 at the last
    return np.asarray(1 - (1 - number) * place if form == "linear" else number**-place)


def choose_kept(
    groups: np.ndarray, shares: Sequence[float] | np.ndarray, rng: np.random.Generator, per_group: int | None = None
) -> np.ndarray:
    """Choose ``share * size`` samples of each group, rounded down; a group above ``per_group`` counts as one of it."""
    kept = []
    for group, share in enumerate(shares):
        members = np.flatnonzero(groups == group)
        size = min(len(members), per_group or len(members))
        # 0.7 of 10 samples are 7, also where the floats say 6.999...
        kept.append(rng.permutation(members)[: int(round(share * size, 6))])
    return np.sort(np.concatenate(kept))
