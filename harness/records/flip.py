"""What a case must do on mirrored images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FlipPlan:
    """All rows of a case are run again with their images mirrored."""

    axes: Mapping[str, int]
    """Input to the axis of its width, counted from 0."""
    max_drop: float | None = None
    """How far the task metric may fall below that on the images as they are; None: the model may tell them apart."""
    max_changed: float | None = None
    """Share of rows whose largest entry may stand at another place; None: as many as like."""
