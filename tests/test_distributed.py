"""The examples of docs/distributed.md: on two processes they train on the batches, at the mixes, of one."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from torch.utils.data import DataLoader

import forks
from learn2mix import FixedMix, MixedBatchSampler, MixedLoader

PAGE = (Path(__file__).parent.parent / "docs" / "distributed.md").read_text(encoding="utf8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


class Recorded:
    """An iterator that keeps what it gave."""

    def __init__(self, iterator, given):
        self.iterator, self.given = iterator, given

    def __iter__(self):
        return self

    def __next__(self):
        self.given.append(next(self.iterator))
        return self.given[-1]


def run(example, num_processes, folder):
    """Mix, draws and weights at the end of an example on each process, and the batches it drew."""

    def script(rank):
        warnings.simplefilter("ignore")
        os.chdir(folder)
        if num_processes == 1:
            os.environ.update({"MASTER_ADDR": "localhost", "MASTER_PORT": "0", "WORLD_SIZE": "1", "RANK": "0"})
        torch.set_default_dtype(torch.float64)  # so that the order of sums does not show
        batches, iterate = [], MixedBatchSampler.__iter__
        MixedBatchSampler.__iter__ = lambda sampler: Recorded(iterate(sampler), batches)
        names = {}
        exec(compile(example, "example.py", "exec"), names)
        sampler = names["sampler"]
        return sampler.mixer.proportions, sampler.draws, names["model"].module.weight.detach(), batches

    folder.mkdir()
    return forks.results(script, num_processes, folder, lightning=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=["fabric", "torch.distributed"])
def test_two_processes_do_what_one_does(tmp_path, example):
    ((mix, draws, weights, batches),) = run(example.replace("devices=2", "devices=1"), 1, tmp_path / "one")
    assert mix[2] > 0.02  # it began at 0.01
    assert len(batches) == 50
    ranks = run(example, 2, tmp_path / "two")
    for other_mix, other_draws, other_weights, _ in ranks:
        np.testing.assert_allclose(other_mix, mix, rtol=0, atol=1e-12)
        assert other_draws.tolist() == draws.tolist()
        np.testing.assert_allclose(other_weights, weights, rtol=0, atol=1e-10)
    for whole, *parts in zip(batches, *(rank_batches for *_, rank_batches in ranks), strict=True):
        assert sorted(index for part in parts for index in part) == sorted(whole)


def test_fabric_says_that_it_cannot_replace_the_sampler(tmp_path):
    def script(rank):
        warnings.simplefilter("ignore")
        fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
        fabric.launch()
        sampler = MixedBatchSampler([0, 0, 1, 1], FixedMix(), batch_size=1)
        assert dist.get_world_size() == sampler.num_replicas == 2
        fabric.setup_dataloaders(DataLoader(range(4), batch_sampler=sampler))

    for outcome in forks.outcomes(script, 2, tmp_path, lightning=True):
        assert "TypeError:  Lightning can't inject a (distributed) sampler into your batch sampler" in outcome.error
        assert "use_distributed_sampler=False" in outcome.error


def test_fabric_says_that_it_takes_torch_s_loaders_only():
    loader = MixedLoader(range(4), MixedBatchSampler([0, 0, 1, 1], FixedMix(), batch_size=1))
    with pytest.raises(TypeError, match="Only PyTorch DataLoader are currently supported"):
        Fabric(accelerator="cpu", devices=1).setup_dataloaders(loader)


def test_the_page_quotes_what_lightning_says():
    assert "TypeError: Only PyTorch DataLoader are currently supported" in PAGE.replace("\n", " ")
    assert "TypeError: Lightning can't inject a (distributed) sampler into your batch sampler" in PAGE
    assert "ValueError: The strategy `fsdp` requires a GPU accelerator" in PAGE
