"""What only a device can show, in under 8 minutes on one that has no other work: `python -m benchmarks.gpu`.

Checks that the tests marked `gpu` pass, that no step waits for the host, and that losses from another stream or device
move the mix as they should; measures epochs. Prints what it could not check, and why; writes everything as JSON with
the hardware's name. Exits with 1 if a check failed. `--small --device cpu` runs the script itself, in seconds.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_checks import host_waits, marked_tests, other_device, other_stream
from benchmarks.gpu_training import SMALL, Size, epochs
from experiments.errors import UserError
from experiments.execution import choose_device, describe_environment

RESULT = Path(__file__).parent / "results" / "gpu.json"
CANNOT_CHECK = "cannot be checked here"


@dataclass(frozen=True)
class Part:
    """Something to do, and how many CUDA devices it tells nothing without."""

    do: Callable[[Size, torch.device], dict[str, Any]]
    num_devices: int = 0
    tried_on_cpu: bool = True  # all the same, so that the script is known to work


PARTS = {
    "no step waits for the host": Part(host_waits, 1),
    "losses of another stream": Part(other_stream, 1),
    "losses of another device": Part(other_device, 2),
    "epochs": Part(epochs),
    "tests marked gpu": Part(marked_tests, 1, tried_on_cpu=False),
}


def run(size: Size, device: torch.device) -> dict[str, dict[str, Any]]:
    """Do all parts; one that breaks has failed, and the others go on."""
    there = torch.cuda.device_count() if device.type == "cuda" else 0
    found = {}
    for name, part in PARTS.items():
        start, enough = time.perf_counter(), there >= part.num_devices
        result = attempt(part, size, device) if enough or (device.type == "cpu" and part.tried_on_cpu) else {}
        if not enough:
            result.pop("ok", None)
            result[CANNOT_CHECK] = f"needs {part.num_devices} CUDA device(s), and there are {there}"
        found[name] = {**result, "seconds": time.perf_counter() - start}
        print(f"{name}: {json.dumps(found[name], indent=2)}", flush=True)
    return found


def attempt(part: Part, size: Size, device: torch.device) -> dict[str, Any]:
    """What a part returns, or its error."""
    try:
        return part.do(size, device)
    except Exception:
        return {"error": traceback.format_exc()}


def main(arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="where to run (cuda)")
    parser.add_argument("--small", action="store_true", help="a few steps of everything")
    parser.add_argument("--out", type=Path, help="where the JSON goes; of small runs, nowhere")
    given = parser.parse_args(arguments)
    try:
        device = torch.device(choose_device(given.device))
    except UserError as error:
        parser.error(str(error))
    if device.type == "cpu":
        torch.set_num_threads(1)  # the batches are small, and threads that wait for a busy core are slow
    found = run(SMALL if given.small else Size(), device)
    failed = [name for name, result in found.items() if "error" in result or result.get("ok") is False]
    out = given.out or (None if given.small else RESULT)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        written = {"environment": describe_environment(device.type), "failed": failed, "parts": found}
        out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf8")
    for name, result in found.items():
        if CANNOT_CHECK in result:
            print(f"{CANNOT_CHECK}: {name}: {result[CANNOT_CHECK]}")
    print(f"failed: {', '.join(failed) or 'nothing'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
