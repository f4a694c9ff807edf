"""What a task's data are, whatever they come from, and the errors of files that are missing or not whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import UserError
from experiments.lazily import np, torch


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


def missing(what: str, looked_in: Path, layout: Sequence[str], fetch: str) -> UserError:
    """The one error for data that are not there: where we looked, what should be there, how to get it."""
    expected = "\n".join(f"  {looked_in / line}" for line in layout)
    return UserError(
        f"{what} is not there.\nLooked in: {looked_in.absolute()}\nExpected:\n{expected}\nTo get it: {fetch}\n"
        "Another folder: --data-root DIR, or the environment variable LEARN2MIX_DATA."
    )


@contextmanager
def downloading(what: str, root: Path, layout: Sequence[str], fetch: str) -> Iterator[None]:
    """Data whose download fails are missing."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        failed = f"The download just failed: {' '.join(str(error).split())}"
        raise missing(what, root, layout, f"{fetch}. {failed}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is raised while a damaged file is read becomes one error that names the file."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read, it may be cut short: {error}; delete it and get it anew") from error
