"""The `accuracy:` part of a suite: limits per precision and output, and which of them hold for a case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from harness.allowed import OPTION
from harness.metrics import ELEMENTWISE, LIMITS, LOWER_TASKS, SETTINGS, TASK_SETTINGS
from harness.metrics.plugins import declared, installed, limit_of
from harness.records import PRECISIONS, Limits
from harness.suites.fields import Share, Slice, Strict, TaskMetric, TensorFile, Text

_SHARE = Field(ge=0, le=1)
_SPECIAL: dict[str, Any] = {
    "rule": (Literal["sum", "either"], "sum: |a-r| <= atol + rtol*|r|; either: within atol or within rtol."),
    "exact": (bool, "Outputs must be bit-equal."),
    "mismatch_share_max": (Annotated[float, _SHARE], "Share of elements that may break atol and rtol."),
    "topk": (Annotated[int, Field(ge=1)], "k of topk_agreement_min; 5 when not given."),
    "margin": (
        Annotated[float, Field(ge=0)],
        "Classes at most this far apart in the reference may change places in argmax_agreement_min and "
        "topk_agreement_min, in the unit of the output; 0 counts every change. By default twice the measured noise, at "
        "most what the precision's default limits allow.",
    ),
    "cosine_min": (Annotated[float, Field(ge=-1, le=1)], "Cosine similarity: at least this."),
    "argmax_agreement_min": (
        Annotated[float, _SHARE],
        "Share of rows with one argmax, within margin: at least this.",
    ),
    "argmax_agreement_raw_min": (Annotated[float, _SHARE], "Share of rows with the very same argmax: at least this."),
    "mask_iou_min": (Annotated[float, _SHARE], "Overlap of label maps, mean over the labels: at least this."),
    "box_iou_min": (Annotated[float, _SHARE], "Overlap of boxes, whatever their order, on average: at least this."),
    "embedding_cosine_min": (
        Annotated[float, Field(ge=-1, le=1)],
        "Cosine of each row along the last axis with the reference's, on average: at least this.",
    ),
    "topk_agreement_min": (
        Annotated[float, _SHARE],
        "Share of the top k that is kept, within margin: at least this.",
    ),
}


_INSTALLED = {
    f"{name}_{side}": name
    for name in declared()
    for side in ("max", "min")
    if f"{name}_{side}" not in {*LIMITS, *ELEMENTWISE, *SETTINGS}
}
"""What may be a limit on a metric of an installed distribution; which side it has is known when it may be imported."""


def _of_installed(limit: str) -> AfterValidator:
    """A check that the metric of a limit may be imported, and has that side."""

    def check(value: float) -> float:
        metric = installed().get(_INSTALLED[limit])
        if metric is None:
            raise ValueError(
                f"limits the metric '{_INSTALLED[limit]}' of an installed distribution, whose code runs only where the "
                f"command line allows it: {OPTION} {_INSTALLED[limit]}"
            )
        if limit_of(metric) != limit:
            raise ValueError(f"unknown key '{limit}', did you mean '{limit_of(metric)}'?")
        return value

    return AfterValidator(check)


def _limit(name: str) -> tuple[Any, Any]:
    """Type and description of one limit; what bounds from above cannot be negative."""
    if name in _SPECIAL:
        kind, text = _SPECIAL[name]
    elif name in _INSTALLED:
        words = "at least" if name.endswith("_min") else "at most"
        kind = Annotated[float, _of_installed(name)]
        text = f"{_INSTALLED[name]}, of an installed distribution: {words} this."
    elif name in LIMITS and LIMITS[name].side == "min":
        kind, text = float, f"{LIMITS[name].metric}: at least this."
    else:
        kind = Annotated[float, Field(ge=0)]
        text = f"{LIMITS[name].metric if name in LIMITS else name}: at most this."
    return kind | None, Field(None, description=text)


LIMIT_NAMES = (*ELEMENTWISE, *LIMITS, *SETTINGS, *_INSTALLED)
_Limits: type[Strict] = create_model(  # type: ignore[call-overload]
    "Limits", __base__=Strict, __doc__="Limits on the outputs.", **{name: _limit(name) for name in LIMIT_NAMES}
)
_ByPrecision: type[Strict] = create_model(  # type: ignore[call-overload]
    "OutputLimits",
    __base__=_Limits,
    __doc__="Limits for all precisions and, nearer, for single ones.",
    **{name: (_Limits | None, Field(None, description=f"Limits at {name}.")) for name in PRECISIONS},
)


class Labels(Strict):
    """The labels of a task metric."""

    file: TensorFile = Field(description="A .npz, .npy or .pb file.")
    key: Text | None = Field(None, description="Array of an .npz file.")
    slice: Slice | None = Field(None, description="[start, stop] or [start, stop, step] over the rows.")


class TaskEntry(Strict):
    """A task metric over all rows."""

    metric: TaskMetric = Field(description="The task metric.")
    output: Text = Field(description="Output that the metric reads.")
    labels: Labels | None = Field(
        None, description="What the outputs should say; by default the labels that come with an input."
    )
    min: float | None = Field(None, description="The metric must be at least this, where higher is better.")
    max_drop: Share | None = Field(None, description="It may be this much below the reference's.")
    max: float | None = Field(None, ge=0, description="The metric must be at most this, where lower is better.")
    max_rise: Share | None = Field(None, description="It may be this much above the reference's.")
    tokens: Annotated[list[str], Field(min_length=2, max_length=100_000)] | None = Field(
        None, description="wer: what each class of the output says, word tokens with their space; '' is CTC's blank."
    )
    stride: Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None, description="wer: frames of the input to one of the output, which says where clips end; 1 when not given."
    )

    @model_validator(mode="after")
    def _decides(self) -> Self:
        better, bounds = (
            ("lower", ("max", "max_rise")) if self.metric in LOWER_TASKS else ("higher", ("min", "max_drop"))
        )
        settings = TASK_SETTINGS.get(self.metric, ())
        keys = {"min", "max_drop", "max", "max_rise", "tokens", "stride"}
        if foreign := sorted(self.model_fields_set & keys - {*bounds, *settings}):
            told = f"{self.metric}, of which {better} is better: its limits are {' or '.join(bounds)}"
            raise ValueError(f"'{foreign[0]}' means nothing for {told}")
        if all(getattr(self, name) is None for name in bounds):
            raise ValueError(f"decides nothing: give {', '.join(bounds)} or both")
        if "tokens" in settings and (self.tokens is None or self.tokens.count("") != 1):
            raise ValueError("tokens: must say what each class of the output stands for, and '' once, CTC's blank")
        return self


Accuracy: type[Strict] = create_model(
    "Accuracy",
    __base__=_ByPrecision,
    __doc__="Limits on outputs; the nearest wins key by key.",
    outputs=(dict[str, _ByPrecision] | None, Field(None, description="Limits of single outputs.")),
    variants=(
        dict[str, _Limits] | None,
        Field(None, description="Limits of variants that change the model, by their part of the case id."),
    ),
    task=(TaskEntry | None, Field(None, description="A task metric over all rows.")),
)


def limits_at(precision: str, accuracy: Mapping[str, Any]) -> Limits:
    """The limits for every output at a precision."""
    general = {name: value for name, value in accuracy.items() if name in LIMIT_NAMES}
    return {**general, **accuracy.get(precision, {})}


def output_limits_at(precision: str, accuracy: Mapping[str, Any]) -> Mapping[str, Limits]:
    """The limits that outputs have of their own at a precision; outputs without any are left out."""
    own = {name: limits_at(precision, entry) for name, entry in accuracy.get("outputs", {}).items()}
    return {name: limits for name, limits in own.items() if limits}
