"""What `harness doctor` advises so that times repeat."""

from __future__ import annotations

import os
import sys

from clocks import FakeNvml
from harness.timing.advice import advice, of_device
from harness.timing.nvml import Device


def of_gpu(**script):
    return list(of_device(0, Device(FakeNvml(**script), "GPU-1")))


def host(tmp_path, **files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return [line for line in advice([], tmp_path) if "over the last minute" not in line]


def test_a_driver_that_unloads_is_named_with_the_command_that_keeps_it():
    assert any(line.endswith("nvidia-smi -i 0 -pm 1") for line in of_gpu(persistent=False))
    assert not any("persistence" in line for line in of_gpu(persistent=True))


def test_clocks_can_be_locked_below_their_highest():
    (line,) = of_gpu()

    assert line.startswith("clocks move up to 1980 MHz (NVML does not tell whether they are locked)")
    assert "nvidia-smi -i 0 -lgc MHZ" in line


def test_lowered_clocks_are_told_with_their_reason():
    assert "clocks are lowered now by HwThermalSlowdown: look after cooling and the power limit" in of_gpu(
        reasons=[0x40]
    )


def test_other_processes_are_named():
    lines = of_gpu(processes=[[os.getpid(), 4711]])

    assert any(line.startswith("other processes compute on it: train-4711 (process 4711)") for line in lines)


def test_what_a_gpu_does_not_tell_is_said():
    assert "MIG is not told: Not Supported" in of_gpu(refuses=["MIG"])


def test_a_gpu_without_nvml_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert advice(["GPU-1"], tmp_path)[0].startswith("GPU 0: nvidia-ml-py is not installed")


def test_a_quiet_host_needs_nothing(tmp_path):
    steady = {
        "cpu0/cpufreq/scaling_governor": "performance",
        "intel_pstate/no_turbo": "1",
        "smt/active": "0",
        "isolated": "2-3",
    }

    assert host(tmp_path, **steady) == []


def test_what_moves_a_cpus_speed_is_named_with_what_to_do(tmp_path):
    governor, boost, threads, isolated = host(
        tmp_path,
        **{"cpu0/cpufreq/scaling_governor": "powersave", "cpufreq/boost": "1", "smt/active": "1", "isolated": ""},
    )

    assert "(powersave): cpupower frequency-set -g performance" in governor
    assert f"0 to {tmp_path}/cpufreq/boost" in boost
    assert f"{tmp_path}/smt/control" in threads
    assert "isolcpus=" in isolated
