"""What must not change the outputs, as a suite says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from harness.metrics import LOWER_TASKS, PLACED_TASKS
from harness.records import FidelityPlan, FlipPlan, InputSpec
from harness.suites.fields import Share, Strict, Text

WIDTH = {"nchw": 3, "nhwc": 2}
"""The axis of the width in each order of axes."""
PICTURES = ("images", "video")


class FlipEntry(Strict):
    """All rows are run again with their images mirrored, and judged against the precision twin that is fed the same."""

    axes: Annotated[dict[Text, Annotated[int, Field(ge=1)]], Field(max_length=64)] = Field(
        {},
        description="Input to the axis of its width, counted from 0; default: all made from `images` or `video`.",
    )
    max_drop: Share | None = Field(
        FlipPlan.max_drop, description="The task metric may be this much below that on the images as they are."
    )
    max_changed: float | None = Field(
        FlipPlan.max_changed, ge=0, le=1, description="Share of rows whose largest entry may stand at another place."
    )


class InvarianceEntry(Strict):
    """What must not change the outputs; judged against the precision twin."""

    batch: bool = Field(
        FidelityPlan.batch, description="Where a row stands in the batch, and how many rows there are beside it."
    )
    flip: FlipEntry | None = Field(None, description="Mirrored images.")


def moves_rows(entry: InvarianceEntry | None) -> bool:
    """Whether rows are run in other places of the batch."""
    return FidelityPlan.batch if entry is None else entry.batch


def flip(entry: InvarianceEntry | None, inputs: Mapping[str, InputSpec]) -> FlipPlan | None:
    """How images are mirrored, if the suite asks for it."""
    found = entry.flip if entry else None
    if found is None:
        return None
    return FlipPlan(found.axes or _images(inputs), found.max_drop, found.max_changed)


def wrong(
    entry: InvarianceEntry | None, inputs: Mapping[str, InputSpec], given: Mapping[str, Any], *, twin: bool
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What cannot be meant, with the keys where it stands; `given` is what is said of the task, if there is one.

    `twin` tells whether a precision twin judges the model.
    """
    found = entry.flip if entry else None
    if found is None:
        return
    if not found.axes and not _images(inputs):
        told = "no input is made from `images` or `video`: name those that are images, with the axis of their width"
        yield ("flip",), f"{told}, as in `axes: {{image: 3}}`"
    if not (twin or found.model_fields_set & {"max_drop", "max_changed"} or given.keys() & {"max_drop", "max_rise"}):
        yield ("flip",), "judges nothing: fidelity is not enabled, and neither flip nor the task has a limit for it"
    if found.max_drop is None:
        return
    task = given.get("metric")
    if task is None:
        yield ("flip", "max_drop"), "is about the task metric, and accuracy has no `task`"
    elif task in PLACED_TASKS:
        yield ("flip", "max_drop"), f"the labels of {task} are places in the image, which are not mirrored"
    elif task in LOWER_TASKS:
        yield ("flip", "max_drop"), f"means nothing for {task}, of which lower is better"


def _images(inputs: Mapping[str, InputSpec]) -> dict[str, int]:
    """The inputs that are made from images, or from frames of video."""
    made = {name: spec.preparation for name, spec in inputs.items()}
    return {name: WIDTH[one.settings["layout"]] for name, one in made.items() if one and one.kind in PICTURES}
