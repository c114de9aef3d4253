"""Large runs with records like those of real ones: a dozen checks, twenty measurements, forty layers of TensorRT."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from harness.records import (
    Case,
    Check,
    Digests,
    Environment,
    Failure,
    Gate,
    Gpu,
    Latency,
    LayerTime,
    Location,
    Measurement,
    Profile,
    Quantiles,
    Record,
    Run,
    Spread,
)
from harness.report.trend import Past, PastRun, Point

COLUMNS = [
    (backend, precision) for backend in ("onnxruntime-cuda", "tensorrt") for precision in ("fp32", "fp16", "int8")
]
SHAPES = ("n-1", "n-8", "n-32", "n-64")
METRICS = (
    "max_abs",
    "mean_abs",
    "max_rel",
    "rmse_rel",
    "rmse",
    "sqnr_db",
    "psnr_db",
    "ulp",
    "twin_spread",
    "tolerance_ratio",
)
ODD = ("failed", "regressed", "inconclusive", "new", "improved", "error", "skipped")


def large_run(cases: int, seed: int = 0) -> Run:
    """A run of so many cases; one in twenty is not passed."""
    rng = random.Random(seed)
    records = tuple(_record(rng, place) for place in range(cases))
    gpu = Gpu("NVIDIA L4", "GPU-0f0e", "570.86.15", "8.9", 23034)
    machine = Environment(
        "ci-7", "AMD EPYC 7B13", (gpu,), {"tensorrt": "10.13.3", "onnxruntime": "1.22.0"}, "nvidia-l4-x1"
    )
    counts = {status: sum(one.status == status for one in records) for status in ("passed", *ODD)}
    return Run(
        "harness.run/1", "2026-03-02-0915-4f1c", "2026-03-02T09:15:04+00:00", "2026-03-02T10:22:41+00:00",
        "harness run suites/", "4f1c09ab27d8e6a1b0c3d4e5f60718293a4b5c6d", Gate(False, 1, counts), {"main": machine},
        records,
    )  # fmt: skip


def fifty_runs(run: Run, seed: int = 1) -> Past:
    """Fifty points of history a case, in fifty runs."""
    rng = random.Random(seed)
    runs = tuple(
        PastRun(f"2026-01-{n % 28 + 1:02d}-{n:04d}", f"2026-01-{n % 28 + 1:02d}T00:00:00+00:00", f"{n:040x}")
        for n in range(50)
    )
    return Past(runs, {record.case.id: list(_points(rng, record)) for record in run.records})


def _points(rng: random.Random, record: Record) -> Iterator[Point | None]:
    base = record.latency.host.p50_ms if record.latency else 1.0
    for n in range(50):
        mark = ("accepted", "compared with another accepted result than the run before") if n == 25 else ("", "")
        yield None if rng.random() < 0.02 else (float(f"{base * rng.gauss(1, 0.01):.4g}"), "passed", *mark)


def _record(rng: random.Random, place: int) -> Record:
    backend, precision = COLUMNS[place % 6]
    shape = SHAPES[place // 6 % 4]
    model = f"family-{place // 240}/model-{place // 24}"
    id_ = f"zoo/{model}/{backend}/{precision}/{shape}"
    case = Case(id_, "zoo", model, backend, precision, shape, ("nightly",), Location("suites/zoo.yaml", 12 + place))
    status = rng.choice(ODD) if rng.random() < 0.05 else "passed"
    bare = Record(
        case, "main", status, "the runtime refuses it: no kernel", (), None, {}, {}, {}, Digests(),
        Failure("build", "build", "no kernel for Conv", "a line of a log\n" * 80) if status == "error" else None,
        1, f"harness run suites/zoo.yaml -k {id_}",
    )  # fmt: skip
    return bare if status in ("error", "skipped") else _measured(rng, bare)


def _measured(rng: random.Random, bare: Record) -> Record:
    now, before = _latency(rng, 2.0), _latency(rng, 2.0)
    ratio = now.host.p50_ms / before.host.p50_ms
    settings = {
        "transfers": False,
        "cuda_graph": False,
        "streams": 1,
        "warmup_s": 0.2,
        "min_time_s": 1.0,
        "min_count": 64,
    }
    headline = (
        f"p50 {now.host.p50_ms:.4g} ms against {before.host.p50_ms:.4g} ms ({(ratio - 1) * 100:+.1f}%, limit +5.0%)"
    )
    outputs = ("logits", "boxes")[: 1 + (rng.random() < 0.3)]
    checks = [check for output in outputs for check in _checks(rng, output)]
    regression = Check(
        "latency/regression",
        "latency",
        None,
        "p50_ms",
        now.host.p50_ms,
        before.host.p50_ms * 1.05,
        before.host.p50_ms,
        bare.status != "regressed",
        headline,
    )
    layers = tuple(_layer(rng, n) for n in range(40))
    then = tuple(replace(layer, ms=layer.ms * rng.gauss(1, 0.02)) for layer in layers[:20])
    profiled = bare.case.backend == "tensorrt"
    return replace(
        bare,
        headline=headline,
        checks=(*checks, regression),
        latency=replace(now, settings=settings),
        baseline=None if bare.status == "new" else replace(before, settings=settings),
        measures={name: rng.uniform(5, 900) for name in ("build_s", "engine_bytes", "device_mib", "first_infer_ms")},
        stages={name: rng.uniform(0.01, 9) for name in ("prepare_s", "build_s", "load_s", "infer_s", "time_s")},
        attested={"layers": [{"kind": "conv", "storage": "fp16", "compute": "fp16", "count": 41}], "tf32": False},
        digests=Digests(*(f"{rng.getrandbits(256):064x}" for _ in range(4))),
        measurements=tuple(_measurement(rng, output, metric) for output in outputs for metric in METRICS),
        profile=Profile(layers, sum(layer.ms for layer in layers), 20, "gpu", 12, 0.4) if profiled else None,
        baseline_profile=Profile(then, 2.0, 20, "gpu", 32, 0.9) if profiled else None,
    )  # fmt: skip


def _checks(rng: random.Random, output: str) -> Iterator[Check]:
    for metric in ("missing_outputs", "shape_mismatches", "dtype_mismatches", "nonfinite"):
        yield Check(f"{output}/{metric}", "fidelity", output, metric, 0.0, 0.0, None, True, "")
    cosine, used = 1 - rng.uniform(1e-8, 1e-4), rng.uniform(0.01, 0.6)
    yield Check(
        f"{output}/cosine_min", "budget", output, "cosine", cosine, 0.995, None, True, f"cosine {cosine:.7g} >= 0.995"
    )
    words = f"the worst error is {used:.3g} times what |c-r| <= 0.0062 + 0.02*|r| allows (limit 1); {_worst(rng)}"
    yield Check(f"{output}/tolerance", "budget", output, "tolerance_ratio", used, 1.0, None, True, words)


def _worst(rng: random.Random) -> str:
    at = f"[{rng.randrange(64)}, {rng.randrange(1000)}]"
    return f"worst element {at}: expected {rng.random():.6g}, found {rng.random():.6g}"


def _measurement(rng: random.Random, output: str, metric: str) -> Measurement:
    detail = _worst(rng) if metric == "tolerance_ratio" else ""
    return Measurement(output, metric, rng.random() * 10 ** rng.randrange(-6, 2), {}, detail)


def _layer(rng: random.Random, place: int) -> LayerTime:
    nodes = tuple(f"/stage{place // 8}/block{place % 8}/{name}" for name in ("Conv", "Add", "Relu"))
    return LayerTime(
        " + ".join(nodes), "CaskConvolution", 0.2 / (place + 1) * rng.uniform(0.9, 1.1), rng.random() / 40, nodes
    )


def _latency(rng: random.Random, base: float) -> Latency:
    return Latency(_quantiles(rng, base), _quantiles(rng, base * 0.98), "gpu", {}, f"{rng.getrandbits(256):064x}", 0.21)


def _quantiles(rng: random.Random, base: float) -> Quantiles:
    p50 = base * rng.gauss(1, 0.02)
    low, high = p50 * 0.999, p50 * 1.001
    spread = Spread(p50 * 0.97, p50 * 1.9, p50 * 0.01, p50 * 0.99, p50 * 1.01, p50 * 0.97, p50 * 1.04, 12, 90)
    return Quantiles(p50, p50 * 1.04, p50 * 1.2, p50 * 1.01, (low, high), 486, p50 * 0.985, spread)
