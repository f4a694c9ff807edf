"""What runs are made with: the device asked for, and a description for their records."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.errors import UserError


def choose_device(name: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is one, else ``cpu``.

    Raises:
        UserError: if ``cuda`` is asked for and torch finds none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, or auto, which takes what is"
        )
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def describe_environment(device: str = "cpu", jobs: int = 1) -> dict[str, Any]:
    """Versions, hardware, threads, jobs that shared the machine, and the project's commit (None outside a checkout)."""
    return {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "device": device,
        "processor": torch.cuda.get_device_name() if device == "cuda" else _cpu_name(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "jobs": jobs,
        "commit": _commit(),
    }


def _cpu_name() -> str:
    """The processor's name; Linux tells it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
