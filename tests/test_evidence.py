"""What the machine tells while something is timed."""

from __future__ import annotations

import os
import subprocess
import sys

from clocks import FakeNvml
from harness.timing import host
from harness.timing.evidence import Watch, watch
from harness.timing.nvml import Device, Reading
from harness.timing.sides import Block

BLOCK = Block((1.0,), (0.9,), wall_s=0.01, cpu_s=0.01, waited_s=0.0, switches=0)


def seen(blocks=(BLOCK,), **script):
    gpu = Watch(Device(FakeNvml(**script), "GPU-1"), ours=[77])
    for block in blocks:
        gpu.see(block)
    return gpu.summary()


def test_a_reading_of_the_gpu_has_its_units():
    assert Device(FakeNvml(), "GPU-1").read() == Reading(1980, 3201, 41, 123.456)


def test_the_summary_spans_all_blocks():
    evidence = seen([BLOCK] * 3, sm_mhz=[1500, 1980, 1700])

    assert evidence.sm_mhz == (1500, 1980)
    assert evidence.memory_mhz == (3201, 3201)
    assert (evidence.temperature_c, evidence.power_w) == (41, 123.456)
    assert evidence.cpu_share == 1
    assert evidence.untold == ()


def test_the_gpu_is_asked_once_a_block():
    nvml = FakeNvml()
    gpu = Watch(Device(nvml, "GPU-1"))
    for _ in range(5):
        gpu.see(BLOCK)

    assert nvml.asked.count("sm") == nvml.asked.count("power") == nvml.asked.count("reasons") == 5


def test_what_a_gpu_refuses_is_asked_once_and_told():
    nvml = FakeNvml(refuses=["power"])
    gpu = Watch(Device(nvml, "GPU-1"))
    for _ in range(5):
        gpu.see(BLOCK)
    evidence = gpu.summary()

    assert nvml.asked.count("power") == 1
    assert evidence.power_w is None
    assert evidence.sm_mhz == (1980, 1980)
    assert evidence.untold == ("GPU's power: Not Supported",)


def test_processes_of_the_measurement_are_not_foreign():
    assert seen(processes=[[os.getpid(), 77]]).foreign == ()


def test_idle_workers_of_the_harness_are_not_foreign():
    command = [sys.executable, "-c", "print(flush=True); input()", "-m", "harness.runner.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()  # it runs
        evidence = seen(processes=[[os.getpid(), worker.pid]])
        worker.communicate(b"\n")

    assert evidence.foreign == ()


def test_a_process_that_was_there_at_the_start_alone_is_foreign():
    assert seen(processes=[[os.getpid(), 12], [os.getpid()]]).foreign == ("train-12 (process 12)",)


def test_ids_of_another_namespace_are_told_as_unknown():
    evidence = seen(processes=[[901], [901, 902]])

    assert evidence.foreign == ()
    assert evidence.untold == ("whose processes use the GPU: NVML lists 2, and this one is not among them",)


def test_processes_that_are_not_told_are_no_finding():
    evidence = seen(refuses=["processes"])

    assert evidence.foreign == ()
    assert evidence.untold == ("GPU's processes: Insufficient Permissions",)


def test_without_nvml_the_record_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    evidence = watch("GPU-1").summary()

    assert "nvidia-ml-py is not installed" in evidence.untold[0]
    assert evidence.sm_mhz is None


def test_a_kernel_that_counts_no_waiting_is_told():
    blind = Block((1.0,), None, wall_s=0.01, cpu_s=0.01, waited_s=None, switches=0)
    gpu = Watch(None)
    sight = gpu.see(blind)

    assert not sight.kept_waiting
    assert gpu.summary().untold == ("waiting for a CPU: the kernel keeps no /proc/<pid>/schedstat",)


def test_switches_tell_of_waiting_where_the_kernel_counts_none():
    block = Block((1.0,), None, wall_s=0.01, cpu_s=0.005, waited_s=None, switches=3)

    assert Watch(None).see(block).kept_waiting


def test_counters_of_the_host_grow():
    schedstat = host.schedstat_of_thread()
    before = host.spent(schedstat)
    sum(range(100_000))
    used = host.spent(schedstat).since(before)

    assert 0 < used.cpu_s <= used.wall_s * 1.05
    assert used.switches >= 0
    assert (used.waited_s is None) == (schedstat is None)
