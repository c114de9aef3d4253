"""What a backend, its artefact, its session and a bound step are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.records import Fusion, LayerTime, Source
from harness.records.support import Parsed

Tensor = NDArray[np.generic]
Feeds = Mapping[str, Tensor]


@dataclass(frozen=True)
class Mode:
    """What `bind` makes of an iteration on a GPU; outputs are compared on sessions of the plain mode alone."""

    transfers: bool = False
    """Inputs are copied in and outputs out, from and to pinned memory of the host."""
    cuda_graph: bool = False
    """The work is captured once and replayed."""


PLAIN = Mode()


@dataclass(frozen=True)
class BuildSpec:
    """What is built: a variant file at a precision, for ranges of input shapes."""

    case: str
    model: Path
    precision: str
    profile: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
    """Input name to its smallest, typical and largest shape."""
    dtypes: Mapping[str, str]
    """Inputs and outputs of the ONNX model to their dtype."""
    options: Mapping[str, Any]
    typed: bool = False
    """fp32 tensors of the file are computed in fp32 also where the precision would allow a runtime to lower them."""
    attest: bool = True
    """Whether the session tells what ran; of a reference or a twin nobody asks."""
    source: Source | None = None
    """Of a model that was exported, which its framework runs instead of the file."""
    weights: str | None = None
    """The digest of the weights that were exported."""
    mode: Mode = PLAIN
    """How the session's iterations are made; means nothing to a build."""


@dataclass(frozen=True)
class Artefact:
    """What `build` made: a file that `open` can load, and what was measured on the way."""

    path: Path
    digest: str | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    attested: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Some of an iteration's work on its stream; `run` enqueues it."""

    name: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Step:
    """Inference bound to resident buffers: `run(n)` enqueues n iterations and does not wait for a stream."""

    run: Callable[[int], None]
    stream: int | None = None
    """CUDA stream handle; None: the work is done when `run` returns."""
    scripted_ms: Callable[[], float] | None = None
    """A clock that tells scripted durations instead of measuring."""
    scripted_load_ms: Callable[[], float] | None = None
    """The same clock while the case is under load."""
    canary_ms: float | None = None
    """What the canary takes where durations are scripted."""
    parts: tuple[Part, ...] = ()
    """What `run(1)` enqueues, in order, where its parts can be timed one by one."""
    before: Callable[[], None] | None = None
    """Is done before every iteration and not timed; when it returns, the stream is idle."""


class Evaluator(Protocol):
    """A model that gives outputs."""

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name, on the host, in the dtypes of the ONNX model."""

    def close(self) -> None:
        """Free what it holds."""


class Session(Evaluator, Protocol):
    """A loaded model that can be timed."""

    loads_again: bool
    """Whether `profile` loads the model a second time."""
    overhead_s: float
    """About what profiling adds to each inference."""

    @property
    def attested(self) -> Mapping[str, Any]:
        """What was allowed and what ran, for the record; read before `close`, after the session was fed."""

    def bind(self, feeds: Feeds) -> Step:
        """A step over these feeds, copied to the device once."""

    def fusion(self) -> Fusion | None:
        """Which nodes of the file became which layer; None where the runtime does not tell. Read as `attested` is."""

    def why_no_profile(self) -> str | None:
        """Why the runtime does not tell how long each layer takes; None if it does."""

    def profile(self, feeds: Feeds, iterations: int) -> tuple[LayerTime, ...]:
        """The time of each layer over so many inferences; never while timing. Unsupported where it is not told."""


class Backend(Protocol):
    """A runtime."""

    device: str
    """"cpu" or "cuda"."""
    recipe: str | None
    """Names the way it builds, with a number that grows when that changes; None where it builds nothing to be kept."""

    def why_not(self) -> str | None:
        """Why this machine cannot build with the backend, in the runtime's own words; None if it can."""

    def why_not_run(self) -> str | None:
        """Why this machine can build but not run; None if it can."""

    def versions(self) -> dict[str, str]:
        """Versions of the runtime's packages and libraries."""

    def build(self, spec: BuildSpec, folder: Path) -> Artefact:
        """The artefact, written to `folder`; raises BuildError or Unsupported."""

    def open(self, artefact: Artefact, spec: BuildSpec) -> Session:
        """A session on the artefact; raises Unsupported, OutOfMemory or DeviceError."""

    def probe(self, case: str, options: Mapping[str, Any]) -> None:
        """Whether the device still does what it is told, asked after a case failed on it; DeviceError if not."""


class Parser(Backend, Protocol):
    """A runtime that reads ONNX files, as all do but the scripted one."""

    def parse(self, model: Path) -> Parsed:
        """What it says of a file, and of each node that it does not take."""


class Exported(Protocol):
    """A model as its framework has it."""

    @property
    def digest(self) -> str:
        """Of code and weights: the same one gives the same export."""

    @property
    def weights(self) -> str:
        """Of the weights, or of all of it."""


class Exporter(Protocol):
    """A framework that ONNX files are exported from, and which their outputs are compared with."""

    recipe: int
    """Grows when the file that is written for the same model changes."""

    def why_not(self) -> str | None:
        """Why it cannot be used here, in its own words; None if it can."""

    def why_not_run(self) -> str | None:
        """None: what exports also runs."""

    def versions(self) -> dict[str, str]:
        """Versions for the record of the environment."""

    def packages(self) -> dict[str, str]:
        """Versions of what takes part in an export."""

    def load(self, source: Source) -> Any:
        """The model (`Exported`) of a source that the command line allows; InputError where there is none."""

    def write(self, model: Any, source: Source, folder: Path) -> None:
        """The model as an ONNX file in a folder; raises BuildError, Unsupported or InputError."""

    def open(self, spec: BuildSpec) -> Evaluator:
        """The model itself, on the CPU in fp32; InputError where it is not the one that was exported."""
