"""What a runtime makes of a model that is to run there: whether it takes the file, and each precision of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.records.outcomes import Failure
from harness.records.plans import ModelFile


@dataclass(frozen=True)
class Facts:
    """What a model says of its versions."""

    opset: int
    ir: int
    nodes: int
    domains: Mapping[str, int]
    """Sets of operators beside the standard one, to their versions."""


@dataclass(frozen=True)
class Estimate:
    """What a file needs by its graph alone, in MiB."""

    weights_mib: float
    activations_mib: float
    """The most that tensors hold that are alive at one time, each in memory of its own."""
    unknown: int = 0
    """Tensors whose size the graph does not tell: they count nothing."""


@dataclass(frozen=True)
class Refused:
    """A node that a runtime does not take."""

    name: str
    operator: str
    """With its domain in front where that is not the standard one."""
    reason: str
    """In the runtime's words."""


@dataclass(frozen=True)
class Parsed:
    """What a runtime says of a file."""

    reason: str = ""
    """Why it does not take it, in its own words; empty where it does."""
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """A file that a runtime loaded or built."""

    only_built: str = ""
    """Why it was built and not run; empty where it ran once."""
    measures: Mapping[str, float | None] = field(default_factory=dict)
    """`host_mib`, `device_mib` and `engine_bytes`, where they are told."""
    computes: tuple[str, ...] = ()
    """Precisions in which convolutions and matrix products multiplied."""


@dataclass(frozen=True)
class Made:
    """The file of a precision, or why the harness makes none of the model."""

    precision: str
    file: ModelFile | None = None
    facts: Facts | None = None
    """Of the file, which may be of a later opset than the model."""
    needs: Estimate | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Answer:
    """What one runtime says of a model."""

    runs_on: str
    """Backend, and the environment where that is not the harness's own."""
    package: str
    version: str = ""
    absent: str = ""
    """Why the runtime is not here; empty where it is."""
    lost: Failure | None = None
    """Why it gave no answer."""
    parsed: Parsed | None = None
    fits: tuple[Fit | Failure, ...] = ()
    """For each precision in turn; none where the file itself is refused."""
