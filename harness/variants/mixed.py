"""mixed-int8 and mixed-fp16: the layers whose conversion costs most accuracy stay in fp32, the others do not.

`mixed-int8-3` keeps the three worst, `mixed-int8-30db` as many as bring the outputs within 30 dB (SQNR) of the model's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from harness.cache import Cache
from harness.errors import Unsupported
from harness.inputs.feeds import Feeds
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import VARIANTS, Variant
from harness.variants.chains import Step
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


def mixed_int8(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The int8 model but for its most sensitive layers."""
    return _mixed("int8", step, plan, fetched, info, cache)


def mixed_fp16(step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The fp16 model but for its most sensitive layers."""
    return _mixed("fp16", step, plan, fetched, info, cache)


def _mixed(precision: str, step: Step, plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    data, note = calibration_data(plan, fetched, info, cache)
    whole: Variant = VARIANTS.load(precision)(plan, fetched, info, cache)
    parts = (fetched.sha256, whole.digest, f"{step.text}/1", data.digest)

    def make() -> Made:
        model, notes = _make(step, _Layers(precision, fetched.model, whole.path, data))
        before = whole.notes if precision == "fp16" else ()  # of int8 it would tell how many layers were converted
        return model, (*before, note, *notes)

    return kept(step.text, parts, cache, make)


class _Layers:
    """The convolutions and matrix products of a model, each of which may be in the precision or in fp32."""

    def __init__(self, precision: str, source: Path, whole: Path, data: Feeds) -> None:
        self._precision, self._source, self._whole = precision, source, whole
        original, _ = load_model(source)
        products = [name for name, node in makers(original).items() if node.op_type in PRODUCTS]
        self.names = keepable(load_model(whole)[0], products)
        self.trial = Trial(data, original)

    def model(self, fp32: Collection[str]) -> Any:
        """The model with these layers in fp32 and the others in the precision."""
        model = keep(self._precision, self._source, self._whole, fp32)
        finish(model, self._source)
        return model

    def alone(self, layer: str) -> float:
        """The error of the outputs with this layer alone in the precision."""
        return self.trial.error(self.model([other for other in self.names if other != layer]))


def _make(step: Step, layers: _Layers) -> Made:
    count = len(layers.names)
    if count < 2 or (not step.unit and step.number >= count):
        raise Unsupported(
            f"cannot make the {step.text} variant: the precision takes {count} convolutions and matrix products of the "
            "model, and some must be left in it"
        )
    if count > MOST:
        raise Unsupported(f"cannot make the {step.text} variant: {count} layers are more than the {MOST} to measure")
    errors = {layer: layers.alone(layer) for layer in layers.names}
    worst = sorted(layers.names, key=lambda layer: -errors[layer])
    kept_high = _enough(step, layers, worst) if step.unit else worst[: step.number]
    told = named([f"{layer} ({errors[layer]:.2g})" for layer in kept_high])
    words = f"{count - len(kept_high)} of {count} layers are converted; in fp32 stay those that alone cost the largest"
    return layers.model(kept_high), (f"{step.text}: {words} errors on {layers.trial.rows} rows: {told}",)


def _enough(step: Step, layers: _Layers, worst: Sequence[str]) -> Sequence[str]:
    """As many of the worst layers as bring the outputs within so many decibels of the model's."""
    limit = 10 ** (-step.number / 20)
    if layers.trial.error(layers.model(())) <= limit:
        raise Unsupported(f"cannot make the {step.text} variant: without any layer in fp32 that holds already")
    for count in range(1, len(worst)):
        if layers.trial.error(layers.model(worst[:count])) <= limit:
            return worst[:count]
    raise Unsupported(f"cannot make the {step.text} variant: that holds with no layer in the precision alone")
