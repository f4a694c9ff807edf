"""docs/many-machines.md: two machines are two agents of torchrun on this one, a task of SLURM, or workers of Ray."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed import run as elastic

import forks
from learn2mix import Learn2Mix, MixedBatchSampler

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "many-machines.md").read_text(encoding="utf8")
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
SCRIPT = re.findall(r"```python\n(.*?)```", (DOCS / "distributed.md").read_text(encoding="utf8"), flags=re.DOTALL)[1]


def test_two_machines_share_the_batches(tmp_path):
    (command,) = (command for command in COMMANDS if command.startswith("torchrun"))
    for theirs, ours in {"node0": "localhost", "29500": f"{forks.free_port()}", "node=4": "node=1"}.items():
        assert theirs in command
        command = command.replace(theirs, ours)
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf8")

    def machine(number):
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        with open(f"said-{number}", "w") as said:
            os.dup2(said.fileno(), 1)
        elastic.main(command.split()[1:])
        return Path(f"said-{number}").read_text(encoding="utf8")

    said = forks.results(machine, 2, tmp_path, timeout=180)
    lines = sorted(out.strip().splitlines()[-1] for out in said)
    assert [line.split()[0] for line in lines] == ["0", "1"], "one rank on each"
    mixes = [np.array(line.partition("[")[2].rstrip("]").split(), dtype=float) for line in lines]
    assert mixes[0].tolist() == mixes[1].tolist()
    assert mixes[0][2] > 0.02  # it began at 0.01


def test_tasks_of_slurm_find_their_place(tmp_path):
    (example,) = (example for example in EXAMPLES if "SLURM_PROCID" in example)
    port = str(forks.free_port())

    def task(rank):
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
        os.environ |= {"SLURM_PROCID": str(rank), "SLURM_LOCALID": "0", "SLURM_NTASKS": "2"}
        exec(compile(example, "many-machines.md", "exec"), {})
        sampler = MixedBatchSampler([0] * 30 + [1] * 10, Learn2Mix(0.3), batch_size=4)
        batches = []
        for batch in sampler:
            batches.append(batch)
            sampler.observe(1.0 + np.array(batch))
        return dist.get_rank(), sampler.num_replicas, batches, sampler.mixer.proportions.tolist()

    first, second = forks.results(task, 2, tmp_path)
    assert (first[0], second[0]) == (0, 1)
    assert first[1] == second[1] == 2
    assert first[3] == second[3] != [0.75, 0.25]
    assert all(set(mine).isdisjoint(other) for mine, other in zip(first[2], second[2], strict=True))


@pytest.mark.slow  # minutes, for Ray starts a cluster: pytest -m slow tests/test_many_machines.py passed on 2026-11-26
def test_workers_of_ray_train_hold_one_mix_and_go_on(tmp_path):
    pytest.importorskip("ray.train.torch", reason="ray is not installed: pip install 'ray[train]'")
    machine = subprocess.run(
        [sys.executable, "-c", RAY, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert machine.returncode == 0, machine.stderr[-3000:]
    saved = sorted(tmp_path.rglob("state.pt"), key=os.path.getmtime)
    states = [torch.load(path, weights_only=True)["loader"] for path in saved]
    assert [sum(state["draws"]) for state in states] == [100, 200, 300]
    assert states[-1]["feedback"]["mixer"]["proportions"][1] > 0.15  # it began at 0.1


RAY = f"""
import sys, ray
source = {"".join(EXAMPLES[1:])!r}.replace("tempfile.mkdtemp()", repr(sys.argv[1]) + ", name='run'")
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
names = {{"__name__": "many_machines"}}
exec(source, names)
assert names["result"].checkpoint is not None
exec(source.replace('"samples": 200', '"samples": 300'), names)  # the same run: it goes on
ray.shutdown()
"""
