"""The `drift:` part of a suite: how far an error may grow against the baseline, per precision and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, create_model

from harness.records import PRECISIONS, DriftPlan
from harness.suites.fields import Strict, Text

_Limits: type[Strict] = create_model(
    "DriftLimits",
    __base__=Strict,
    __doc__="When an error counts as drifted, and whether that fails the case.",
    max_factor=(
        Annotated[float, Field(gt=1)] | None,
        Field(None, description=f"Growth against the baseline that counts; default {DriftPlan.max_factor:g}."),
    ),
    gate=(bool | None, Field(None, description="true: a drifted error fails the case; default false: it is told.")),
)
_ByPrecision: type[Strict] = create_model(  # type: ignore[call-overload]
    "OutputDrift",
    __base__=_Limits,
    __doc__="Drift at all precisions and, nearer, at single ones.",
    **{name: (_Limits | None, Field(None, description=f"Drift at {name}.")) for name in PRECISIONS},
)
Drift: type[Strict] = create_model(
    "Drift",
    __base__=_ByPrecision,
    __doc__="Errors against those of the accepted baseline; the nearest setting wins key by key.",
    outputs=(dict[Text, _ByPrecision] | None, Field(None, description="Drift of single outputs.")),
)
_KEYS = ("max_factor", "gate")


def drift_at(precision: str, given: Mapping[str, Any]) -> DriftPlan:
    """What holds for every output at a precision."""
    return DriftPlan(**_nearest(precision, given))


def output_drift_at(precision: str, given: Mapping[str, Any]) -> Mapping[str, DriftPlan]:
    """What holds for outputs that are named, at a precision."""
    own = {name: _nearest(precision, entry) for name, entry in given.get("outputs", {}).items()}
    return {name: DriftPlan(**{**_nearest(precision, given), **keys}) for name, keys in own.items() if keys}


def _nearest(precision: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: given[key] for key in _KEYS if key in given}, **given.get(precision, {})}
