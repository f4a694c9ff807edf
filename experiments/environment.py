"""What runs are made with: the device asked for, and a description for their records."""

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.errors import UserError


def choose_device(name: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is one, else ``cpu``; an error if ``cuda`` is asked for and not there."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError(
            "--device cuda: torch finds no CUDA device here; use --device cpu, or auto, which takes what is"
        )
    return ("cuda" if has_cuda else "cpu") if name == "auto" else name


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
    told = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.+)", told.read_text(encoding="utf-8"), re.MULTILINE) if told.exists() else None
    return name[1] if name else platform.processor() or platform.machine()


@cache
def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None
