"""The script for an accelerator: all of it runs in seconds on a CPU, says what it could not check, and can fail."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import gpu, gpu_checks, gpu_training


@pytest.mark.heavy
def test_all_of_it_runs_on_a_cpu_and_says_what_it_could_not_check(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the profiler's, of a machine without a device
        code = gpu.main(["--small", "--device", "cpu", "--out", str(tmp_path / "gpu.json")])
    said = capfd.readouterr().out
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert code == 0, said
    assert list(stored["parts"]) == list(gpu.PARTS)
    assert stored["environment"]["processor"]
    for name, part in gpu.PARTS.items():
        assert (f"cannot be checked here: {name}: needs" in said) is (part.num_devices > 0)
        assert "error" not in stored["parts"][name]
        assert "ok" not in stored["parts"][name]
    for network in gpu_training.NETWORKS:
        seconds = stored["parts"]["epochs"][network]
        ours, *others = (seconds[feed] for feed in gpu_training.FEEDS)
        assert [seconds[f"{gpu_training.FEEDS[0]} / {feed}"] for feed in gpu_training.FEEDS[1:]] == [
            ours / other for other in others
        ]


def test_a_part_that_breaks_or_says_no_has_failed_and_the_others_go_on(monkeypatch, capsys):
    def breaks(size, device):
        raise RuntimeError("out of memory")

    said = {"broken": breaks, "wrong": lambda *_: {"ok": False}, "right": lambda *_: {"ok": True}}
    monkeypatch.setattr(gpu, "PARTS", {name: gpu.Part(do) for name, do in said.items()})
    assert gpu.main(["--small", "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "out of memory" in printed
    assert printed.endswith("failed: broken, wrong\n")


def event(name, start, end=None):
    return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start, end=start + 1 if end is None else end))


def test_waits_are_counted_during_the_steps_and_copies_whenever_the_device_makes_them():
    pageable, pinned = "Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD (Pinned -> Device)"
    events = [
        *(event("cudaDeviceSynchronize", start) for start in (5, 205)),  # before and after
        *(event("cudaStreamSynchronize", start) for start in (20, 30)),
        *(event("cudaEventSynchronize", start) for start in (40, 50, 60)),
        *(event(name, 120) for name in (pageable, pinned, "aten::add")),
        event(gpu_checks.STEPS, 35, 150),  # the device's own range
        event(gpu_checks.STEPS, 10, 110),
    ]
    found = gpu_checks.count_waits(events)
    assert found == {"cudaStreamSynchronize": 2, "cudaEventSynchronize": 3, pageable: 1}


@pytest.mark.parametrize(
    ("waits", "control", "ok"),
    [
        ({}, {"cudaStreamSynchronize": 3}, True),
        ({"cudaMemcpy": 1}, {"cudaStreamSynchronize": 3}, False),
        ({}, {}, False),
    ],
)
def test_a_profile_is_trusted_if_it_sees_the_waits_of_a_loop_that_waits(monkeypatch, waits, control, ok):
    profiles = {False: gpu_checks.Counter(waits), True: gpu_checks.Counter(control)}
    monkeypatch.setattr(gpu_checks, "_profile", lambda size, device, reads: profiles[reads])
    assert gpu_checks.host_waits(gpu_training.SMALL, None)["ok"] is ok


def test_the_mixes_are_those_of_the_losses_also_where_they_come_a_step_later():
    def move(mix, step):
        losses = np.array([1.0 + step % 3, 2.0, 3.0, 4.0])
        return mix + 0.1 * (losses / losses.sum() - mix)

    mix, expected = np.full(4, 0.25), [np.full(4, 0.25)]
    for step in range(20):
        expected.append(mix := move(mix, step))
    np.testing.assert_allclose(gpu_checks.mixes(lambda losses: losses), expected, rtol=1e-6)


@pytest.mark.parametrize("other", [lambda losses: losses**2, lambda losses: losses * 0 + 1e30], ids=["other", "early"])
def test_losses_that_are_not_those_observed_are_noticed(monkeypatch, other):
    paths = iter([gpu_checks.mixes(lambda losses: losses), gpu_checks.mixes(other)])
    monkeypatch.setattr(gpu_checks, "mixes", lambda put: next(paths))
    assert gpu_checks.other_stream(gpu_training.SMALL, gpu_checks.torch.device("cpu"))["ok"] is False


@pytest.mark.parametrize(("shift", "ok"), [(0.0, True), (0.001, False)])
def test_of_a_device_the_mix_before_the_last_is_never_seen(monkeypatch, shift, ok):
    on_host = gpu_checks.mixes(lambda losses: losses)
    late = np.delete(on_host, -2, axis=0)  # the last step of an epoch makes the update of the step before, and its own
    late[-1] += shift
    paths = iter([on_host, late])
    monkeypatch.setattr(gpu_checks, "mixes", lambda put: next(paths))
    assert gpu_checks.other_stream(gpu_training.SMALL, gpu_checks.torch.device("cpu"))["ok"] is ok
