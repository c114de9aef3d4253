"""Seats of a run on the nodes of a Ray cluster: found, compared with each other, and replaced by others when lost."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import harness
from harness.backends import ON_GPU
from harness.cache import Cache
from harness.errors import HarnessError, UsageError
from harness.records import DEFAULT_ENVIRONMENT, Environment, Interpreter, Plan
from harness.runner.client import Halt
from harness.runner.ground import Ground, changes, refuse
from harness.runner.lock import LOCKS
from harness.runner.processes import EXIT_S, MARK
from harness.runner.remote import Lost, Member, RemoteSeat, failed
from harness.runner.seat import THREADS, Arrival, Here, Seat
from harness.runner.settings import Settings
from harness.runner.workers import Told

T = TypeVar("T")
LOCAL = "local"
CONNECT_S = 10.0
OWN_VARIABLES = "TRT_HARNESS_"
"""How the variables begin that the nodes are told, but for those of one machine."""
OF_ONE_MACHINE = frozenset({LOCKS, MARK})
TYPE = "accelerator_type:"
"""How the resource begins by which Ray knows the type of a node."""
STORE_BYTES = 100 << 20
"""Memory for objects of a Ray that is started here: records are small."""
FOR_LOCAL = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Cluster:
    """What is asked of Ray."""

    address: str
    """As `ray.init` takes it: "auto", "local" for one that is started here, or HOST:PORT."""
    accelerator: str | None = None
    """The type of the nodes, as Ray names it ("H100"); None for any."""
    jobs: int | None = None
    """Seats; None: one for each GPU, or for each node where no case needs a GPU."""


@contextmanager
def seated(
    cluster: Cluster,
    settings: Settings,
    plans: Sequence[Plan],
    found: Ground,
    roots: Mapping[str, Path],
    more: Sequence[str],
) -> Iterator[tuple[Settings, Told]]:
    """Settings with the seats on a cluster, and what all of its nodes tell about environments and backends.

    `found` is what the run stands on here, `more` are backends to ask for beside those of the plans. Raises UsageError
    where the cluster has not what is asked for, or where nodes differ in what decides on a result.
    """
    with ExitStack() as opened:
        opened.enter_context(_connected(cluster.address))
        on_gpu = any(plan.case.backend in ON_GPU for plan in plans if plan.excluded is None)
        members = opened.enter_context(_members(cluster, settings, on_gpu=on_gpu))
        asked = {(plan.case.backend, plan.interpreter): None for plan in plans if plan.excluded is None}
        asked |= {(name, Interpreter()): None for name in more}
        places = opened.enter_context(_marked(settings))
        here = Here(found, roots, places, Cache(settings.cache).mark, list(asked))
        arrivals = _arrived(members, plans, here)
        _refuse_others(arrivals, found)
        _tell_nice(arrivals)
        turns = [[*members[at:], *members[:at]] for at in range(len(members))]
        others = tuple(RemoteSeat(own, settings.retries, settings.halt) for own in turns)
        yield replace(settings, jobs=len(others), others=others), _of_all(arrivals)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Ray, connected; its workers import the harness that runs here, not what lies in the working folder."""
    try:
        import ray
    except ImportError:
        raise UsageError("--ray: Ray is not installed here: pip install 'trt-harness[ray]'") from None
    if address.startswith("ray://"):
        raise UsageError(f"--ray {address}: Ray Client is not supported: start the run on a node, with --ray auto")
    _answers(address)
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES} if address == LOCAL else {}
    with ExitStack() as held:
        held.enter_context(_variables(FOR_LOCAL if address == LOCAL else {}))
        try:
            with chdir(Path(harness.__file__).parents[1]), _own_handler():
                ray.init(address, logging_level="error", log_to_driver=False, **own)
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"--ray {address}: {error}") from error
        held.callback(ray.shutdown)
        yield


def _answers(address: str) -> None:
    """UsageError where nothing listens at HOST:PORT: Ray would try for ever."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: nothing answers there ({error}): is Ray running?") from error


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def _own_handler() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which ends a run as Ctrl-C does."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def seats_on(nodes: Sequence[Mapping[str, Any]], cluster: Cluster, *, on_gpu: bool) -> int:
    """How many seats there are on nodes, as `ray.nodes` tells them; UsageError where that is fewer than asked for."""
    kind = "GPU" if on_gpu else "CPU"
    wanted = f"{TYPE}{cluster.accelerator}"
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    fit = [one for one in alive if int(one.get(kind, 0)) and (cluster.accelerator is None or wanted in one)]
    what = f"{kind}s" + (f" on nodes of type {cluster.accelerator}" if cluster.accelerator else "")
    if not fit:
        types = {name.removeprefix(TYPE) for one in alive for name in one if name.startswith(TYPE)}
        known = ", ".join(sorted(types)) or "none"
        raise UsageError(f"--ray {cluster.address}: the cluster has no {what}; its types are: {known}")
    most = sum(int(one[kind]) for one in fit)
    if cluster.jobs is not None and cluster.jobs > most:
        raise UsageError(f"--jobs {cluster.jobs}: the cluster has {most} {what}")
    return cluster.jobs or (most if on_gpu else len(fit))


@contextmanager
def _members(cluster: Cluster, settings: Settings, *, on_gpu: bool) -> Iterator[list[Member]]:
    """An actor for each seat, started; they end with this, and with the process."""
    import ray

    count = seats_on(ray.nodes(), cluster, on_gpu=on_gpu)
    kind = ray.remote(Seat).options(
        num_cpus=1,
        num_gpus=int(on_gpu),
        accelerator_type=cluster.accelerator,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": _told_variables()},
    )
    alone = replace(settings, jobs=1, halt=Halt())
    actors = [kind.remote(alone) for _ in range(count)]
    try:
        started = [actor.name.remote() for actor in actors]
        ready, _ = ray.wait(started, num_returns=count, timeout=settings.timeout_s)
        if len(ready) < count:
            raise HarnessError(
                f"--ray {cluster.address}: {len(ready)} of {count} seats started within {settings.timeout_s:g} s: "
                "others may hold the nodes; ask for fewer with --jobs, or wait longer with --timeout"
            )
        names = [_got("a seat of the cluster", answer) for answer in started]
        members = [Member(actor, name) for actor, name in zip(actors, names, strict=True)]
        for one in members:
            settings.halt.add(one)
        yield members
        _close(members)
    finally:
        for actor in actors:
            with suppress(Exception):
                ray.kill(actor)


def _told_variables() -> dict[str, str]:
    """Those of an actor: it sees all GPUs of its node, as a run there would; its workers see the one it was given."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name == THREADS or (name.startswith(OWN_VARIABLES) and name not in OF_ONE_MACHINE)
    }
    return {**own, "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}


def _close(members: Sequence[Member]) -> None:
    import ray

    leaving = [one.actor.close.remote() for one in members if not one.lost]
    if leaving:
        ray.wait(leaving, num_returns=len(leaving), timeout=2 * EXIT_S)


@contextmanager
def _marked(settings: Settings) -> Iterator[dict[Path, str]]:
    """A file in each folder that all nodes must share, to the option that names the folder."""
    places = {settings.cache: "--artefacts"} | ({settings.keep_outputs: "-o"} if settings.keep_outputs else {})
    with ExitStack() as held:
        found = {}
        for folder, option in places.items():
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(NamedTemporaryFile(dir=folder, prefix=".shared-"))
            found[Path(file.name)] = option
        yield found


def _arrived(members: Sequence[Member], plans: Sequence[Plan], here: Here) -> dict[str, Arrival]:
    asked = [(one.name, one.actor.arrive.remote(plans, here)) for one in members]
    return {name: _got(name, answer) for name, answer in asked}


def _got(name: str, answer: Any) -> Any:
    """An answer that is needed before anything is measured; HarnessError where there is none."""
    import ray

    try:
        with failed(name):
            return ray.get(answer)
    except Lost as lost:
        raise HarnessError(f"{lost.failure.message}; each node needs trt-harness in the Python of its Ray") from lost


def _refuse_others(arrivals: Mapping[str, Arrival], found: Ground) -> None:
    """UsageError that names the nodes which are not as this machine, or not as each other."""
    facts = {name: _facts(one) for name, one in arrivals.items()}
    usual = max(facts, key=lambda name: list(facts.values()).count(facts[name]))
    wrong = []
    for name, one in arrivals.items():
        wrong += [f"{name}: {words}" for words in (*changes(found, one.ground), *one.apart)]
        wrong += [f"{name}: {words}" for words in differences(facts[usual], facts[name], usual)]
    advice = (
        "the project must be on a file system that all nodes share, at the same path, with the same harness and "
        "runtimes; of several kinds of nodes choose one with --ray-accelerator"
    )
    refuse("--ray: not all nodes are alike", wrong, advice)


def differences(usual: Mapping[str, str], facts: Mapping[str, str], name: str) -> list[str]:
    """In what a node differs from the one with that name, in words."""
    return [
        f"{fact} is {facts.get(fact, 'absent')}, on {name} {usual.get(fact, 'absent')}"
        for fact in sorted(usual.keys() | facts.keys())
        if usual.get(fact) != facts.get(fact)
    ]


def _facts(arrival: Arrival) -> dict[str, str]:
    """What must be the same on all nodes, by what it is called."""
    found = {}
    for name, environment in arrival.environments.items():
        found[f"machine class in environment '{name}'"] = environment.fingerprint
        found |= {f"{key} in environment '{name}'": version for key, version in environment.versions.items()}
    for (name, backend), about in arrival.told.about.items():
        found[f"backend {backend} in environment '{name}'"] = about["why_not"] or about["why_not_run"] or "usable"
    return found


def _of_all(arrivals: Mapping[str, Arrival]) -> Told:
    """What the first node tells, as of all of them."""
    told = next(iter(arrivals.values())).told
    hosts = ", ".join(sorted({one.environments[DEFAULT_ENVIRONMENT].host for one in arrivals.values()}))
    hellos = {
        name: replace(one, host=hosts) if isinstance(one, Environment) else one for name, one in told.hellos.items()
    }
    return replace(told, hellos=hellos)


def _tell_nice(arrivals: Mapping[str, Arrival]) -> None:
    polite = [name for name, one in arrivals.items() if one.nice > 0]
    if polite:
        print(
            f"harness: note: Ray's workers give way to every other process on {', '.join(polite)}, which shows in "
            "times: start Ray there with RAY_worker_niceness=0 in its environment",
            file=sys.stderr,
        )
