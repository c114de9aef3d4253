"""A seat of a run on a machine of a cluster: what runs there, in a process of its own that hosts a bench."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.cache import KEY_FILE, Cache
from harness.errors import HarnessError
from harness.records import Duel, Environment, Failure, Gpu, Interpreter, Outcome, Plan, Screening
from harness.runner import duels, screen
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.ground import Ground, ground
from harness.runner.health import SickDevice
from harness.runner.scratch import scratch
from harness.runner.settings import Settings
from harness.runner.workers import Told

THREADS = "OMP_NUM_THREADS"
"""Ray sets it where nobody did; workers would then compute on fewer threads than without Ray."""


@dataclass(frozen=True)
class Here:
    """What the machine that a run was started on sees, for others to compare with."""

    ground: Ground
    roots: Mapping[str, Path]
    """Suite file to its root."""
    places: Mapping[Path, str]
    """Files that are there, each to the option that names another folder for it."""
    mark: str
    """Of the key of the cache."""
    backends: Sequence[tuple[str, Interpreter]]
    """Those to ask for."""


@dataclass(frozen=True)
class Arrival:
    """What a machine tells before anything is measured on it."""

    told: Told
    environments: Mapping[str, Environment]
    ground: Ground
    apart: tuple[str, ...]
    """What it does not share with the machine that the run was started on, in words."""
    nice: int
    """By how much its workers give way to other processes."""


@dataclass(frozen=True)
class Answer:
    """What became of a case, and what is known since."""

    outcome: Outcome
    told: Told
    sick: SickDevice | None


class Seat:
    """A bench that is asked from another process; never by two at once."""

    def __init__(self, settings: Settings) -> None:
        if THREADS.encode() not in Path("/proc/self/environ").read_bytes():
            os.environ.pop(THREADS, None)
        with suppress(PermissionError):  # as a run that was started here
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        self._held = ExitStack()
        self._settings = settings
        self._folder = self._held.enter_context(scratch())
        self._launches = 0

    def name(self) -> str:
        """Of the machine, with Ray's number of the node."""
        import ray

        return f"{socket.gethostname()} (node {ray.get_runtime_context().get_node_id()[:8]})"

    def arrive(self, plans: Sequence[Plan], here: Here) -> Arrival:
        """What this machine is, for others to compare with; this comes before anything else is asked."""
        self._settings, machine = _with_gpu(self._settings)
        self._bench = self._held.enter_context(Bench(self._settings))
        if machine is not None:
            self._bench.learn(machine)
        for backend, interpreter in here.backends:
            with suppress(WorkerFailed):  # its cases say so
                self._bench.why_not(backend, interpreter)
        found = ground(plans, here.roots.__getitem__, keep_outputs=here.ground.keep_outputs, shard=here.ground.shard)
        apart = [
            f"{file.parent}: is another folder there: name one on a shared file system with {option}"
            for file, option in here.places.items()
            if not file.exists()
        ]
        if Cache(self._settings.cache).mark != here.mark:
            apart.append(f"the key of the cache is another there: name one on a shared file system with {KEY_FILE}")
        environments = self._bench.environments()
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        return Arrival(self._bench.told, environments, found, tuple(apart), nice)

    def outcome(self, plan: Plan, before: Sequence[Failure]) -> Answer:
        """As `Bench.outcome`, with what was found out about environments and the device."""
        outcome, sick = self._bench.outcome(plan, before), None
        try:
            self._bench.raise_sick()
        except SickDevice as error:
            sick = error
        return Answer(outcome, self._bench.told, sick)

    def launch(self, matches: Sequence[duels.Match], first: str) -> Iterator[Duel]:
        """As `duels.launch`."""
        yield from duels.launch(matches, self._settings, self._new_folder(), first)

    def once_more(self, cases: Sequence[screen.Case]) -> Iterator[Screening]:
        """As `screen.once_more`."""
        yield from screen.once_more(cases, self._settings, self._new_folder())

    def close(self) -> None:
        """End the workers, politely."""
        self._held.close()

    def _new_folder(self) -> Path:
        self._launches += 1
        return self._folder / str(self._launches)


def _with_gpu(settings: Settings) -> tuple[Settings, Told | None]:
    """Settings with the GPU that Ray gave this process; then also what a worker tells that sees the whole machine."""
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    if not given:
        return settings, None
    with Bench(settings) as bench:
        gpus = bench.environment().gpus
        return replace(settings, gpu=gpu_of(given[0], gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))), bench.told


def gpu_of(given: str, gpus: Sequence[Gpu], visible: str | None) -> str:
    """The UUID of a GPU that Ray gave, by its number or UUID.

    `gpus` are in the order of `visible`, which is CUDA_VISIBLE_DEVICES. Raises HarnessError where CUDA does not see it.
    """
    named = visible.split(",") if visible else [str(number) for number in range(len(gpus))]
    at = named.index(given) if given in named else len(gpus)
    if at >= len(gpus):
        raise HarnessError(
            f"Ray gave GPU {given}, CUDA sees {len(gpus)} there "
            f"(CUDA_VISIBLE_DEVICES={visible}): see `harness doctor` on that machine"
        )
    return gpus[at].uuid
