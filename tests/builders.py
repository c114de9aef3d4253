"""Small builders of records, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.records import (
    BLOCKING,
    SCHEMA,
    STATUSES,
    Case,
    Check,
    Digests,
    Environment,
    Failure,
    Gate,
    Gpu,
    Latency,
    Location,
    Measurement,
    Quantiles,
    Record,
    Run,
)


def case(id: str = "vision/digits/tensorrt/fp16/n-64", tags: Sequence[str] = ("smoke",)) -> Case:  # noqa: A002
    """A case from its id; a model may hold slashes."""
    suite, *model, backend, precision, shape = id.split("/")
    location = Location(file=f"suites/{suite}.yaml", line=12)
    return Case(id, suite, "/".join(model), backend, precision, shape, tuple(tags), location)


def quantiles(p50_ms: float = 1.2, spread: float = 0.01) -> Quantiles:
    """A plausible distribution around a median."""
    ci95_ms = (p50_ms * (1 - spread), p50_ms * (1 + spread))
    return Quantiles(p50_ms, p50_ms * 1.08, p50_ms * 1.31, p50_ms * 1.02, ci95_ms, samples=400)


def latency(p50_ms: float = 1.2, spread: float = 0.01, decided_on: str = "gpu") -> Latency:
    """A latency whose host clock is 40 µs above the GPU's."""
    settings = {"transfers": False, "graph": True, "streams": 1, "warmup_s": 0.2, "clock_policy": "unlocked"}
    return Latency(quantiles(p50_ms + 0.04, spread), quantiles(p50_ms, spread), decided_on, settings)


def check(
    name: str = "cosine_min", value: float | None = 0.99998, limit: float | None = 0.9999, **changes: Any
) -> Check:
    """An accuracy check that holds, unless changed."""
    made = Check(
        name, "budget", "logits", name.removesuffix("_min"), value, limit, None, ok=True, reason="within limit"
    )
    return replace(made, **changes)


def record(id: str = "vision/digits/tensorrt/fp16/n-64", status: str = "passed", **changes: Any) -> Record:  # noqa: A002
    """A measured record, unless its status says that nothing was measured."""
    make = _bare if status in {"error", "missing", "skipped"} else _measured
    return replace(make(id, status), **changes)


def _bare(id: str, status: str) -> Record:  # noqa: A002
    return Record(
        case=case(id),
        environment="main",
        status=status,
        headline=f"{status}: as the status says",
        checks=(),
        latency=None,
        measures={},
        stages={},
        attested={},
        digests=Digests(),
        error=Failure("build", "build", "no kernel for node Conv_3", "line one\nline two")
        if status == "error"
        else None,
        attempts=1,
        reproduce=f"harness run suites/vision.yaml -k '{id}'",
    )


def _measured(id: str, status: str) -> Record:  # noqa: A002
    return replace(
        _bare(id, status),
        checks=(check(),),
        latency=latency(),
        measures={"build_s": 31.24, "engine_bytes": 25_480_396.0, "device_mib": 212.0},
        stages={"prepare_s": 0.21, "build_s": 31.24, "load_s": 0.4, "infer_s": 0.09, "time_s": 1.31},
        attested={
            "layers": [{"kind": "conv", "storage": "fp16", "compute": "fp16", "count": 41}],
            "rows": [],
            "tf32": False,
        },
        digests=Digests("9b1c" * 16, "77d0" * 16, "c2a1" * 16, "04ee" * 16),
        measurements=(Measurement("logits", "cosine", 0.99998), Measurement("logits", "max_abs", 3.1e-4)),
        baseline=None if status == "new" else latency(1.19),
    )


def environment(**changes: Any) -> Environment:
    """A machine with one GPU."""
    gpu = Gpu("NVIDIA L4", "GPU-0f0e", "570.86.15", "8.9", 23034)
    versions = {"tensorrt": "10.13.3", "onnxruntime": "1.22.0", "harness": "0.1.0"}
    return replace(Environment("ci-7", "AMD EPYC 7B13", (gpu,), versions, "nvidia-l4-x1"), **changes)


def run(*records: Record, **changes: Any) -> Run:
    """A finished run of some records, gated as their statuses say."""
    blocks = any(one.status in BLOCKING for one in records)
    counts = {name: n for name in STATUSES if (n := sum(one.status == name for one in records))}
    made = Run(
        schema=SCHEMA,
        id="2026-03-02-0915-4f1c",
        started="2026-03-02T09:15:04+00:00",
        finished="2026-03-02T09:22:41+00:00",
        command="harness run suites/ --shard 1/1",
        commit="4f1c09ab27d8e6a1b0c3d4e5f60718293a4b5c6d",
        gate=Gate(passed=not blocks, exit_status=1 if blocks else 0, counts=counts),
        environments={"main": environment()},
        records=tuple(records),
    )
    return replace(made, **changes)


def every_status() -> Run:
    """A run with one record of every status."""
    return run(*(record(f"vision/model-{name}/tensorrt/fp16/n-64", name) for name in STATUSES))
