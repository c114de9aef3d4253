"""mixed-int8-N and mixed-fp16-N: the N layers whose conversion costs most accuracy stay in fp32, the others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.cache import Cache
from harness.errors import Unsupported
from harness.inputs.feeds import Feeds
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import VARIANTS, Variant
from harness.variants.graph import finish, load_model
from harness.variants.int8 import calibration_data
from harness.variants.keep import keep, keepable
from harness.variants.operators import PRODUCTS
from harness.variants.sensitivity import Trial
from harness.variants.store import Made, kept
from harness.variants.taps import makers
from harness.variants.weights import named

MOST = 300
"""Layers whose sensitivity is measured; each costs one run of the model."""


def mixed_int8(number: float, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The int8 model but for its most sensitive layers."""
    return _mixed("int8", int(number), plan, fetched, info, cache)


def mixed_fp16(number: float, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The fp16 model but for its most sensitive layers."""
    return _mixed("fp16", int(number), plan, fetched, info, cache)


def _mixed(precision: str, count: int, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    step = f"mixed-{precision}-{count}"
    data, note = calibration_data(plan, fetched, info)
    whole: Variant = VARIANTS.load(precision)(plan, fetched, info, cache)
    parts = (fetched.sha256, whole.digest, f"{step}/1", data.digest)
    return kept(step, parts, cache, lambda: _make(step, fetched.model, whole.path, count, data, note))


def _make(step: str, source: Path, whole: Path, count: int, data: Feeds, note: str) -> Made:
    precision = step.split("-")[1]
    original, notes = load_model(source)
    layers = convertible(original, load_model(whole)[0])
    if not layers:
        raise Unsupported(f"cannot make the {step} variant: no convolution or matrix product is in {precision}")
    if count >= len(layers):
        raise Unsupported(f"cannot make the {step} variant: the model has {len(layers)} such layers, which leaves none")
    if len(layers) > MOST:
        raise Unsupported(
            f"cannot make the {step} variant: {len(layers)} layers are more than {MOST}, the most to measure"
        )
    trial = Trial(data, original)
    found = sensitivities(precision, source, whole, layers, trial)
    worst = sorted(layers, key=lambda layer: -found[layer])[:count]
    model = _with(precision, source, whole, worst)
    told = [f"{layer} ({found[layer]:.2g})" for layer in worst]
    words = f"{step}: kept in fp32, as each alone costs the largest error on {trial.rows} rows: {named(told)}"
    return model, (*notes, *([] if note in notes else [note]), words)


def convertible(original: Any, whole: Any) -> list[str]:
    """The convolutions and matrix products that are not in fp32 in the converted model."""
    products = [name for name, node in makers(original).items() if node.op_type in PRODUCTS and name == node.output[0]]
    return list(keepable(whole, products))


def sensitivities(
    precision: str, source: Path, whole: Path, layers: Collection[str], trial: Trial
) -> Mapping[str, float]:
    """The error of the outputs with each layer alone in the precision."""
    return {
        layer: trial.error(_with(precision, source, whole, [other for other in layers if other != layer]))
        for layer in layers
    }


def _with(precision: str, source: Path, whole: Path, fp32: Collection[str]) -> Any:
    """The model with these layers in fp32 and the others in the precision."""
    model = deepcopy(keep(precision, source, whole, fp32))
    finish(model, source)
    return model
