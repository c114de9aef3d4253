"""What `harness debug` finds out about a failing case: the content of debug.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA = "harness.debug/1"


@dataclass(frozen=True)
class Node:
    """A node of the model, by its first output."""

    tensor: str
    name: str
    op: str


@dataclass(frozen=True)
class Spot:
    """A tensor that can be looked at."""

    tensor: str
    node: Node
    reads: tuple[str, ...]
    """The nearest such tensors upstream."""
    final: bool
    beyond: bool
    """In fp32 it holds values that fp16 cannot."""


@dataclass(frozen=True)
class Distance:
    """How far one tensor is from two yardsticks; None where one does not exist for it."""

    nonfinite: float
    """Elements that are NaN or infinite though the precision twin is finite."""
    overflowed: float
    """Elements that are NaN or infinite though the fp32 model is finite."""
    noise: float | None
    """Root mean square of the difference from the precision twin, in multiples of what rounding does."""
    excess: float | None
    """The worst of the twin's distances over its limit: beyond 1 rounding does not explain it."""
    relative: float | None
    """Root mean square of the difference from the same in fp32, relative to that."""
    file: float | None = None
    """The same for the precision twin: what the file costs whoever computes it."""


@dataclass(frozen=True)
class Part:
    """The nodes between known tensors and one that they make, and the error that they add to what they were given."""

    tensor: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    added: Distance
    probe: int


@dataclass(frozen=True)
class Probe:
    """One build with tensors marked as outputs."""

    number: int
    distances: Mapping[str, Distance]
    """Tensor to its distance from the twin and the fp32 model on the model's own inputs."""
    parts: tuple[Part, ...]
    changed: float | None
    """How far marking moved the final outputs: the worst distance over its limit; None where that is not known."""
    refused: str | None = None
    """Why there is no such build."""


@dataclass(frozen=True)
class Survey:
    """What is known of a case before any tensor is marked."""

    spots: tuple[Spot, ...]
    keepable: tuple[Node, ...]
    finals: Mapping[str, Distance]
    batches: tuple[int, ...]
    """Those that are looked at, the worst first."""
    own_file: bool
    plain: Mapping[str, Any]
    """The outcome of the model in fp32 on the plainest backend."""
    untwinned: str | None = None
    strange: bool = False
    """The file names its tensors otherwise than the model, so that only outputs can be compared with fp32."""
    above: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The nearest float tensors that outputs are computed from which are none themselves: integers, booleans, text."""


@dataclass(frozen=True)
class Trial:
    """One build with nodes kept in fp32."""

    kept: tuple[str, ...]
    passed: bool
    words: str


@dataclass(frozen=True)
class Mend:
    """The nodes that, kept in fp32, bring a case back inside its limits."""

    nodes: tuple[Node, ...] | None
    """None: there is no such set, or none was found."""
    minimal: bool
    """Without any one of the nodes the case fails; otherwise the set is sufficient only."""
    words: str
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Slice:
    """The part around the culprit as a model of its own."""

    tensor: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    case: str
    command: str
    status: str
    headline: str
    through: bool
    """It goes on to the model's outputs, because the part alone does not show what the case shows."""
    shows: bool
    """It fails as the case does: by its twin where that is the yardstick."""


@dataclass(frozen=True)
class Findings:
    """Everything about one failing case."""

    schema: str
    case: str
    backend: str
    precision: str
    headline: str
    """Why the case fails."""
    cause: str
    """"backend", "precision", "file", "reference" or "unknown"."""
    verdict: str
    """The cause in one sentence."""
    first: str | None = None
    """The first tensor where the candidate has parted."""
    first_node: Node | None = None
    yardstick: str = "twin"
    """"twin" or "fp32": what the candidate has parted from."""
    tensors: Mapping[str, Distance] = field(default_factory=dict)
    ranking: tuple[Part, ...] = ()
    mend: Mend | None = None
    slice: Slice | None = None
    notes: tuple[str, ...] = ()
    builds: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
