"""What a first suite needs to know of a model; light, because the process that writes suites loads no model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputOutline:
    """One input of a graph and what is done with it."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...] | None
    """A size, a symbolic name or None (unknown) for every axis; None when even the rank is unknown."""
    kind: str = "tensor"
    rows: int | None = None
    """Rows of the smallest table that the input picks from; None where it picks from none."""


@dataclass(frozen=True)
class Outline:
    """A model from outside."""

    inputs: tuple[InputOutline, ...]
    outputs: tuple[str, ...]
    opset: int
    only_as_is: str = ""
    """Why no precision variants can be made of it; empty where they can."""
    rounds_as: str = "fp32"
    """The precision whose rounding it has as it is: that of its coarsest tensors."""
