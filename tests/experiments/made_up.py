"""Stored runs made by the tests: small, and with the numbers that a test needs."""

from collections.abc import Sequence
from pathlib import Path

from experiments import results

OWN = {
    "learn2mix": {"mixing_rate": 0.1, "every": "step"},
    "static": {"mixing_rate": 0.1, "every": "step"},
}


def record(
    method: str, seed: int, errors: Sequence[float], shares: Sequence[float] | None = None, **changes: object
) -> dict:
    """A run of the toy task, a second an epoch; the rare group's error is twice the mean, its shares as given."""
    shares = [0.2] * (len(errors) + 1) if shares is None else shares
    rows = zip(errors, shares[1:], strict=True)
    config = {"epochs": len(errors), "lr": 0.01, **OWN.get(method, {}), **changes.pop("config", {})}
    return {
        "task": "toy",
        "method": method,
        "seed": seed,
        "config": config,
        "environment": {"processor": "an abacus", "cpus": 2, "threads": 1},
        "objective": {"kind": "regression", "error_name": "test MSE", "scale": 1.0},
        "groups": {
            "names": ["common", "rare"],
            "train_counts": [33, 10],
            "test_counts": [20, 20],
            "initial_proportions": [1 - shares[0], shares[0]],
        },
        "preparation_seconds": 0.5,
        "history": [
            {
                "epoch": epoch,
                "train_seconds": 1.0,
                "train_error": error * 0.9,
                "test_error": error,
                "test_by_group": [error / 2, 2 * error],
                "proportions": [1 - share, share],
            }
            for epoch, (error, share) in enumerate(rows, start=1)
        ],
    } | changes


def write(folder: Path, *records: dict) -> None:
    for one in records:
        results.write(folder / one["task"] / one["method"] / f"seed-{one['seed']}.json", one)


def write_failure(folder: Path, method: str, seed: int, error: str, config: dict) -> None:
    failure = {"task": "toy", "method": method, "seed": seed, "config": config, "error": error, "details": ""}
    results.write(folder / "toy" / method / f"failed-seed-{seed}.json", failure)


def write_unsuitable(folder: Path, method: str, reason: str, config: dict) -> None:
    note = {"task": "toy", "method": method, "config": config, "reason": reason}
    results.write(folder / "toy" / method / "unsuitable.json", note)
