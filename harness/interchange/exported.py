"""A run as pytest-benchmark's results, so that what reads those reads a run as well."""

from __future__ import annotations

import re
from typing import Any

from harness.codec import encode
from harness.interchange.schema import RELEASE, TOOL, Benchmark, Results, Stats
from harness.judge.latency import decided
from harness.records import Environment, Quantiles, Record, Run, Spread

UNTIMED, OLDER = "not timed", "measured before their spread was recorded: run them again"


def results(run: Run) -> tuple[Results, dict[str, list[str]]]:
    """The timed cases of a run on the clock that decides, and the ids of the others by why they are left out."""
    benchmarks: list[Benchmark] = []
    left_out: dict[str, list[str]] = {}
    for record in run.records:
        found = decided(record.latency) if record.latency else None
        if found is None or found.spread is None:
            left_out.setdefault(UNTIMED if found is None else OLDER, []).append(record.case.id)
        else:
            benchmarks.append(_benchmark(run, record, found, found.spread))
    machine = next(map(_machine, run.environments.values()), {})
    return Results(machine, _commit(run), tuple(benchmarks), run.finished, RELEASE), left_out


def as_json(found: Results) -> dict[str, Any]:
    """What the file holds; single times are in no run, so that there is no `data`."""
    data: dict[str, Any] = encode(found)
    for benchmark in data["benchmarks"]:
        del benchmark["stats"]["data"]
    return data


def _benchmark(run: Run, record: Record, found: Quantiles, spread: Spread) -> Benchmark:
    case = record.case
    origin = record.attested.get(TOOL, {})
    parts = {name: getattr(case, name) for name in ("model", "backend", "precision", "shape", "environment")}
    param = "/".join((case.runs_on, case.built_as, case.shape))
    return Benchmark(
        name=origin.get("name", f"{case.model}[{param}]"),
        fullname=origin.get("fullname", case.id),
        stats=_stats(found, spread, origin.get("iterations", 1)),
        group=origin.get("group", f"{case.suite}/{case.model}/{case.shape}"),
        params=origin.get("params", parts),
        param=origin.get("param", param),
        extra_info={**origin.get("extra_info", {}), "harness": _extra(run, record, found)},
        options=record.latency.settings if record.latency else {},
    )


def _stats(found: Quantiles, spread: Spread, iterations: int) -> Stats:
    mean = found.mean_ms / 1e3
    return Stats(
        min=spread.min_ms / 1e3,
        max=spread.max_ms / 1e3,
        mean=mean,
        stddev=spread.sd_ms / 1e3,
        rounds=found.samples,
        median=found.p50_ms / 1e3,
        iqr=(spread.q3_ms - spread.q1_ms) / 1e3,
        q1=spread.q1_ms / 1e3,
        q3=spread.q3_ms / 1e3,
        iqr_outliers=spread.beyond_fences,
        stddev_outliers=spread.beyond_sd,
        ld15iqr=spread.low_ms / 1e3,
        hd15iqr=spread.high_ms / 1e3,
        outliers=f"{spread.beyond_sd};{spread.beyond_fences}",
        ops=1 / mean if mean > 0 else 0.0,
        total=mean * found.samples,
        iterations=iterations,
    )


def _extra(run: Run, record: Record, found: Quantiles) -> dict[str, Any]:
    """What pytest-benchmark has no field for."""
    return {
        "run": run.id,
        "case": record.case.id,
        "tags": record.case.tags,
        "status": record.status,
        "headline": record.headline,
        "clock": record.latency.decided_on if record.latency else None,
        "p90_ms": found.p90_ms,
        "p99_ms": found.p99_ms,
        "ci95_ms": found.ci95_ms,
        "environment": record.environment,
        "versions": run.environments[record.environment].versions,
    }


def _machine(environment: Environment) -> dict[str, Any]:
    """What a run knows of its machine; the rest of what pytest-benchmark tells is null."""
    return {
        "node": environment.host,
        "processor": None,
        "machine": None,
        "python_compiler": None,
        "python_implementation": None,
        "python_implementation_version": environment.versions.get("python"),
        "python_version": environment.versions.get("python"),
        "python_build": None,
        "release": None,
        "system": None,
        "cpu": {"brand_raw": environment.cpu},
        "harness": environment,
    }


def _commit(run: Run) -> dict[str, Any]:
    """The commit by its id, or the word that pytest-benchmark has for none."""
    commit = run.commit if run.commit and re.fullmatch("[0-9a-f]{7,64}", run.commit) else None
    return {
        "id": commit or "unversioned",
        "time": None,
        "author_time": None,
        "dirty": None,
        "project": None,
        "branch": None,
    }
