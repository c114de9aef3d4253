"""Several builds of one case: the worst of each number decides, and how far the builds are apart is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

import numpy as np

from harness.backends.base import Tensor
from harness.judge.stability import BUILD, BUILDS
from harness.metrics import METRICS, TASKS
from harness.metrics.defaults import is_exact
from harness.metrics.fidelity import SMALLEST, Noise
from harness.metrics.plugins import installed
from harness.metrics.slices import differences
from harness.records import Measurement
from harness.runner.prepared import Batches


def worst(builds: Sequence[Sequence[Measurement]]) -> tuple[Measurement, ...]:
    """Of every number the worst that any build has, with the build it is of where they differ; builds count from 1.

    Limits bound a number from one side only, so the worst within a limit means that every build is.
    """
    found: dict[tuple[str | None, str], list[tuple[int, Measurement]]] = {}
    for number, measured in enumerate(builds, 1):
        for one in measured:
            found.setdefault((one.output, one.metric), []).append((number, one))
    return tuple(_worst(ones, len(builds)) for ones in found.values())


def _worst(ones: Sequence[tuple[int, Measurement]], builds: int) -> Measurement:
    if len(ones) == 1:
        return ones[0][1]
    badness = [_badness(one) for _, one in ones]
    number, one = ones[badness.index(max(badness))]
    if len(set(badness)) == 1:
        return one
    return replace(one, settings={**one.settings, BUILD: float(number), BUILDS: float(builds)})


def _badness(measured: Measurement) -> float:
    """Larger is worse; what could not be measured is the worst."""
    if measured.value is None:
        return inf
    return -measured.value if _better(measured.metric) == "higher" else measured.value


def _better(metric: str) -> str:
    """Which way a metric is better, those of installed distributions too; what is no metric counts something bad."""
    for table in (METRICS, TASKS):
        if metric in table:
            return str(table.load(metric).better)
    return installed()[metric].better if metric in installed() else "lower"


@dataclass(frozen=True)
class _Apart:
    """The largest difference between two builds; `times` is its RMS as a multiple of what rounding does."""

    largest: float | None
    times: float | None


def variation(builds: Sequence[Batches], noise: Mapping[str, Noise]) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """The largest difference of each output between any two builds, and a note on the largest of them."""
    if len(builds) == 1:
        return (), ()
    names = [name for name in builds[0][0] if all(name in outputs for batches in builds for outputs in batches)]
    found = {name: _between(name, builds, noise.get(name)) for name in names}
    measured = [
        Measurement(name, "build_variation", one.largest, {BUILDS: float(len(builds)), **_told(one)})
        for name, one in found.items()
    ]
    return tuple(measured), (_note(len(builds), found),)


def _between(name: str, builds: Sequence[Batches], noise: Noise | None) -> _Apart:
    sides = [[outputs[name] for outputs in batches] for batches in builds]
    apart = [_apart(one, other, noise) for one, other in combinations(sides, 2)]
    if any(one.largest is None for one in apart):
        return _Apart(None, None)
    times = [one.times for one in apart if one.times is not None]
    return _Apart(max(one.largest or 0.0 for one in apart), max(times, default=None))


def _apart(one: Sequence[Tensor], other: Sequence[Tensor], noise: Noise | None) -> _Apart:
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(one, other, strict=True)):
        return _Apart(None, None)
    if is_exact(one[0].dtype.name):
        return _Apart(float(sum(np.count_nonzero(a != b) for a, b in zip(one, other, strict=True))), None)
    found = differences([_real(a) for a in one], [_real(b) for b in other])
    if found.nonfinite or found.masked:
        return _Apart(None, None)
    if noise is None:
        return _Apart(found.largest, None)
    return _Apart(found.largest, found.rms() / max(noise.rms(), noise.least(), SMALLEST))


def _real(values: Tensor) -> Tensor:
    return np.stack([values.real, values.imag], -1) if values.dtype.kind == "c" else values


def _told(apart: _Apart) -> dict[str, float]:
    return {} if apart.times is None else {"times_noise": apart.times}


def _note(builds: int, found: Mapping[str, _Apart]) -> str:
    name, most = max(found.items(), key=lambda item: inf if item[1].largest is None else item[1].largest)
    if most.largest == 0:
        return f"{builds} builds gave the same outputs"
    far = "in shape, type or what is finite" if most.largest is None else f"by up to {most.largest:.3g}"
    times = "" if most.times is None else f", RMS {most.times:.2g} times what rounding does"
    return f"{builds} builds differ most in '{name}': {far}{times}"
