"""`harness doctor`: what this machine can run, and how to get what is missing."""

from __future__ import annotations

import argparse

from harness.backends import BACKENDS
from harness.commands.places import cache_folder
from harness.records import Environment
from harness.runner.client import WorkerFailed
from harness.runner.runner import Bench, Settings


def doctor(asked: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its arguments
    """Print machine, versions and every backend with its state; exit 0."""
    with Bench(Settings(cache_folder(None), timeout_s=120)) as bench:
        states = {name: _state(bench, name) for name in BACKENDS}
        _print_machine(bench.environment())
    print("\nbackends")
    for name, state in states.items():
        print(f"  {name:22s} {state}")
    return 0


def _state(bench: Bench, name: str) -> str:
    try:
        reason = bench.why_not(name)
        only_builds = bench.why_not_run(name)
    except WorkerFailed as lost:
        return f"broken: {lost.failure.message}"
    if reason:
        return f"absent: {reason}"
    return f"builds, does not run: {only_builds}" if only_builds else "ready"


def _print_machine(environment: Environment) -> None:
    print(f"machine class  {environment.fingerprint}")
    print(f"host           {environment.host}, {environment.cpu}")
    for gpu in environment.gpus:
        size = f"compute capability {gpu.compute_capability}, {gpu.memory_mib} MiB"
        print(f"gpu            {gpu.name}, {size}, driver {gpu.driver or 'unknown: NVML does not answer'}")
    if not environment.gpus:
        print("gpu            none")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(environment.versions.items()))
    print(f"versions       {versions}")
