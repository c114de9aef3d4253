"""prune-N%: N % of the weights become zero, the smallest of each layer first, most of them where that costs least."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import Cache
from harness.errors import Unsupported
from harness.inputs.feeds import Feeds
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant
from harness.variants.chains import Step
from harness.variants.graph import finish, load_model
from harness.variants.int8 import calibration_data
from harness.variants.sensitivity import Trial
from harness.variants.store import Made, kept
from harness.variants.weights import Values, Weight, some, zero_share

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of a layer's weights that are tried as zeros."""
COARSE = (0.3, 0.6, 0.9)
"""And of models with many layers, where each try costs more."""
MANY = 40


def prune(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The model with so many % of its weights zero, spread over the layers by their measured sensitivity."""
    data, note = calibration_data(plan, fetched, info, cache)
    parts = (fetched.sha256, f"{step.text}/1", data.digest)
    return kept(step.text, parts, cache, lambda: _make(step.text, step.number / 100, fetched.model, data, note))


def _make(step: str, share: float, path: Path, data: Feeds, note: str) -> Made:
    model, notes = load_model(path)
    layers = some(step, model)
    if zero_share(layers) >= share:
        raise Unsupported(f"cannot make the {step} variant: {zero_share(layers):.0%} of the weights are zero already")
    trial = Trial(data, model)
    costs = sensitivities(model, layers, trial)
    chosen = spread(costs, [weight.values.size for weight in layers], share)
    for weight, level in zip(layers, chosen, strict=True):
        weight.store(without_smallest(weight.values, level))
    finish(model, path)
    told = ", ".join(f"{weight.layer} {level:.0%}" for weight, level in _extremes(layers, chosen))
    words = f"{step}: {zero_share(layers):.1%} of the weights of {len(layers)} layers are zero"
    return model, (*notes, note, f"{words}, by their errors on {trial.rows} rows: {told}")


def sensitivities(model: Any, layers: Sequence[Weight], trial: Trial) -> list[Mapping[float, float]]:
    """For each layer the shares of zeros that are tried, and the error of the outputs with that layer alone pruned."""
    found: list[Mapping[float, float]] = []
    for weight in layers:
        values = weight.values
        errors = {}
        for share in SHARES if len(layers) < MANY else COARSE:
            weight.store(without_smallest(values, share))
            errors[share] = trial.error(model)
        weight.store(values)
        found.append(errors)
    return found


def spread(costs: Sequence[Mapping[float, float]], sizes: Sequence[int], share: float) -> list[float]:
    """The share of zeros of each layer, so that all together have `share`, for the least error.

    Step by step the layer goes on whose next zeros cost least each; errors of layers add up as squares. The last step
    is cut so that the share is met.
    """
    chosen, wanted = [0.0] * len(costs), share * sum(sizes)
    steps = [_next(costs[at], 0.0, sizes[at], at) for at in range(len(costs))]
    queue = [step for step in steps if step]
    heapq.heapify(queue)
    while queue and wanted > 0:
        _, at, level = heapq.heappop(queue)
        zeros = (level - chosen[at]) * sizes[at]
        chosen[at] += min(zeros, wanted) / sizes[at]
        wanted -= zeros
        if more := _next(costs[at], level, sizes[at], at):
            heapq.heappush(queue, more)
    rest = max(0.0, wanted) / sum(sizes)  # beyond what was tried, from all alike
    return [min(1.0, level + rest) for level in chosen]


def _next(costs: Mapping[float, float], level: float, size: int, at: int) -> tuple[float, int, float] | None:
    """The cheapest step up from a level: what each zero costs, the layer, and the level that it leads to."""
    here = costs.get(level, 0.0) ** 2
    steps = [((costs[to] ** 2 - here) / ((to - level) * size), at, to) for to in costs if to > level]
    return min(steps, default=None)


def without_smallest(values: Values, share: float) -> Values:
    """The weights with a share of them, the smallest ones, set to zero."""
    count = round(share * values.size)
    made = values.copy().reshape(-1)
    made[np.argsort(np.abs(made), kind="stable")[:count]] = 0
    return made.reshape(values.shape)


def _extremes(layers: Sequence[Weight], chosen: Sequence[float]) -> list[tuple[Weight, float]]:
    """The least and the most pruned layers."""
    order = sorted(zip(layers, chosen, strict=True), key=lambda pair: pair[1])
    return order if len(order) <= 4 else [*order[:2], *order[-2:]]
