"""pytest-benchmark's results as runs: each file is one, and the earlier files are what the last one is seen by."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import stats
from harness.baselines import Entry
from harness.codec import decode, encode
from harness.environment import fingerprint
from harness.errors import UsageError
from harness.interchange.decide import comparable, verdict
from harness.interchange.names import case_of
from harness.interchange.schema import TOOL, Benchmark, Results, read
from harness.judge.screen import broken_job, suspicious
from harness.records import (
    DEFAULT_ENVIRONMENT,
    Case,
    Digests,
    Environment,
    Latency,
    LatencyPlan,
    Location,
    Quantiles,
    Record,
    Run,
    Screening,
    Spread,
    Verdict,
)
from harness.runner.header import Header, finish

SETTINGS = ("timer", "disable_gc", "min_rounds", "min_time", "max_time", "warmup")
"""Options of pytest-benchmark that change what is measured: results under others are never compared."""
NORMAL_ERROR = 1.82
"""Half the 95 % interval of a median in interquartile ranges over sqrt(n), for normal samples: 1.96 * 1.253 / 1.349."""
ESTIMATED = "no single times were kept: the interval of the median is median ± 1.82 IQR / sqrt(rounds)"


@dataclass(frozen=True)
class Measured:
    """One benchmark as a case with a latency."""

    case: Case
    latency: Latency
    benchmark: Benchmark
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What was measured together: one file of results, or one session."""

    environment: Environment
    measured: tuple[Measured, ...]

    def latencies(self, case: Case) -> list[Latency]:
        """The latency of a case, where it is in it."""
        return [one.latency for one in self.measured if one.case.id == case.id]


def measured(suite: str, benchmark: Benchmark, location: Location) -> Measured:
    """A benchmark as a case of a suite."""
    notes = (ESTIMATED,) if benchmark.stats.data is None else ()
    settings = {"timed_by": TOOL, **{name: benchmark.options.get(name) for name in SETTINGS}}
    latency = Latency(_quantiles(benchmark), None, "host", settings)
    return Measured(case_of(suite, benchmark, location), latency, benchmark, notes)


def _quantiles(benchmark: Benchmark) -> Quantiles:
    """The distribution of the rounds in milliseconds; what a file without them cannot tell is None or estimated."""
    found = benchmark.stats
    spread = Spread(
        min_ms=found.min * 1e3,
        max_ms=found.max * 1e3,
        sd_ms=found.stddev * 1e3,
        q1_ms=found.q1 * 1e3,
        q3_ms=found.q3 * 1e3,
        low_ms=found.ld15iqr * 1e3,
        high_ms=found.hd15iqr * 1e3,
        beyond_fences=found.iqr_outliers,
        beyond_sd=found.stddev_outliers,
    )
    p50_ms, mean_ms = found.median * 1e3, found.mean * 1e3
    if found.data is None:
        half = NORMAL_ERROR * found.iqr * 1e3 / found.rounds**0.5
        interval = (max(0.0, p50_ms - half), p50_ms + half)
        return Quantiles(p50_ms, None, None, mean_ms, interval, found.rounds, spread=spread)
    ordered = sorted(1e3 * one for one in found.data)
    p90_ms, p99_ms = stats.quantile(ordered, 0.90), stats.quantile(ordered, 0.99)
    # no p10_ms: baselines remember it of one and the same artefact, and what code was timed here is not known
    return Quantiles(p50_ms, p90_ms, p99_ms, mean_ms, stats.median_interval(ordered), found.rounds, spread=spread)


def records(
    batch: Batch,
    earlier: Sequence[Batch],
    accepted: Callable[[Case], Mapping[str, Entry]],
    plan: Callable[[Case], LatencyPlan] = lambda _: LatencyPlan(),
) -> list[Record]:
    """The records of a batch; `earlier` are those before it, oldest first, of which the same machine class counts."""
    before = [one for one in earlier if one.environment.fingerprint == batch.environment.fingerprint]
    screenings = {one.case.id: comparable(one.latency, _history(before, one)) for one in batch.measured}
    slow = [suspicious(plan(one.case), screenings[one.case.id]) for one in batch.measured]
    broken = broken_job((), (), slow)
    return [
        _record(one, plan(one.case), accepted(one.case).get(one.case.id), screenings[one.case.id], broken)
        for one in batch.measured
    ]


def _history(before: Sequence[Batch], one: Measured) -> list[Latency]:
    return [latency for batch in before for latency in batch.latencies(one.case)]


def _record(one: Measured, plan: LatencyPlan, entry: Entry | None, screening: Screening, broken: str | None) -> Record:
    found: Verdict = verdict(plan, one.latency, entry, screening, broken)
    kept = {name: getattr(one.benchmark, name) for name in ("fullname", "name", "group", "param", "params")}
    about = {**kept, "extra_info": one.benchmark.extra_info, "iterations": one.benchmark.stats.iterations}
    return Record(
        case=one.case,
        environment=DEFAULT_ENVIRONMENT,
        status=found.status,
        headline=found.headline,
        checks=found.checks,
        latency=replace(one.latency, baseline_digest=entry.digest()) if entry else one.latency,
        measures={},
        stages={},
        attested={TOOL: encode(about)},
        digests=Digests(),
        error=None,
        attempts=1,
        reproduce=shlex.join(["pytest", one.benchmark.fullname]),
        notes=one.notes,
        baseline=entry.latency if entry else None,
    )


@dataclass(frozen=True)
class File:
    """One file of results."""

    path: Path
    results: Results
    batch: Batch

    def run(self, found: Sequence[Record], command: str) -> Run:
        """Its run, with the time and the commit at which it was measured."""
        when = self.results.when.isoformat(timespec="seconds")
        digest = sha256(repr(self.results).encode()).hexdigest()
        id_ = f"{self.results.when:%Y%m%d-%H%M%S}-{digest[:4]}"
        commit = str(self.results.commit_info.get("id"))
        head = Header(id_, when, command, commit if re.fullmatch("[0-9a-f]{7,64}", commit) else None)
        made = finish(head, {DEFAULT_ENVIRONMENT: self.batch.environment}, found)
        return replace(made, finished=when)


def file_of(path: Path, suite: str) -> File:
    """One file as a batch; UsageError when it cannot be."""
    results = read(path)
    location = Location(os.fspath(path), 1)
    try:
        environment = _environment(results)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: its machine_info is damaged: {error}; give the file as it was written") from error
    batch = Batch(environment, tuple(measured(suite, one, location) for one in results.benchmarks))
    return File(path, results, batch)


def _environment(results: Results) -> Environment:
    """The machine that a file tells of; GPUs are known only of those that this harness wrote."""
    machine: Mapping[str, Any] = results.machine_info
    ours = machine.get("harness")
    if ours is not None:
        told = decode(Environment, ours)
        return replace(told, fingerprint=fingerprint(told.gpus, told.cpu))
    cpu = machine.get("cpu")
    brands = cpu if isinstance(cpu, dict) else {}
    name = str(brands.get("brand_raw") or brands.get("brand") or machine.get("processor") or "unknown")
    versions = {"python": str(machine.get("python_version")), TOOL: results.version}
    return Environment(str(machine.get("node")), name, (), versions, fingerprint((), name))
