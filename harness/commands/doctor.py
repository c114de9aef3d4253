"""`harness doctor`: what this machine can run, and how to get what is missing."""

from __future__ import annotations

import argparse

from harness.backends import BACKENDS
from harness.commands.places import cache_folder
from harness.errors import UsageError
from harness.records import Environment
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.settings import Settings
from harness.timing.advice import advice


def doctor(asked: argparse.Namespace) -> int:
    """Print machine, versions, every backend with its state, and what would make timing steadier; exit 0.

    With `--model` what every runtime makes of that file instead.
    """
    if asked.model is not None:
        from harness.commands.support import support

        return support(asked)
    if asked.precisions or asked.sizes or asked.environments:
        raise UsageError("--precision, --size and --environment go with --model FILE")
    with Bench(Settings(cache_folder(None), timeout_s=120)) as bench:
        states = {name: _state(bench, name) for name in BACKENDS}
        environment = bench.environment()
        _print_machine(environment)
    print("\nbackends")
    for name, state in states.items():
        print(f"  {name:22s} {state}")
    print("\nsteadier timing (for an administrator; nothing is changed from here)")
    for line in advice([gpu.uuid for gpu in environment.gpus]):
        print(f"  {line}")
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
