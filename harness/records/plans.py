"""What is to be measured: suite files become one `Plan` a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.records.flip import FlipPlan
from harness.records.serving import ServingPlan

Limits = Mapping[str, float | bool | str]
"""Limit name to value, for example {"atol": 1e-5, "rtol": 1e-4, "cosine_min": 0.9999}."""
DEFAULT_ENVIRONMENT = "default"
"""The name of the interpreter that runs the harness."""


ENGINE_SUFFIXES = (".engine", ".plan")
"""Of files that a runtime loads as they are, and which may run code of whoever made them."""


def built_as(precision: str, chain: tuple[str, ...]) -> str:
    """A precision and a chain as part of an id, which becomes a file's name: "int8", or "int8+prune-2-4"."""
    return "+".join((precision, *(step.replace(":", "-").replace("%", "") for step in chain)))


@dataclass(frozen=True)
class Location:
    """A place in a suite file; line and column count from 1."""

    file: str
    line: int
    column: int = 1


@dataclass(frozen=True)
class Case:
    """What names one case; the id holds no counter and no time."""

    id: str
    suite: str
    model: str
    backend: str
    precision: str
    shape: str
    tags: tuple[str, ...]
    location: Location
    environment: str = DEFAULT_ENVIRONMENT
    """The name of the interpreter that it runs in."""
    chain: tuple[str, ...] = ()
    """What is done to the model before it is built at the precision: ("fold-bn", "prune-2:4")."""

    @property
    def built_as(self) -> str:
        """Precision and chain as the id has them: "int8", or "int8+prune-2-4"."""
        return built_as(self.precision, self.chain)

    @property
    def runs_on(self) -> str:
        """Backend and environment as the id has them: "onnxruntime-cpu", or "onnxruntime-cpu@ort-1.20"."""
        default = self.environment == DEFAULT_ENVIRONMENT
        return self.backend if default else f"{self.backend}@{self.environment}"

    def moved(self, environment: str) -> Case:
        """The same case in another environment."""
        there = replace(self, environment=environment)
        head, _, precision, shape = self.id.rsplit("/", 3)
        return replace(there, id=f"{head}/{there.runs_on}/{precision}/{shape}")


@dataclass(frozen=True)
class Interpreter:
    """A Python in which workers run."""

    name: str = DEFAULT_ENVIRONMENT
    python: str | None = None
    """Absolute path; None for the interpreter that runs the harness, and for one that has no path on this machine."""

    @property
    def own(self) -> bool:
        """Whether it is the interpreter that runs the harness."""
        return self.name == DEFAULT_ENVIRONMENT


@dataclass(frozen=True)
class ModelFile:
    """A model file that was made for a precision, as it is handed to another interpreter."""

    path: str
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorSpec:
    """The type and shape of an input of a model that does not tell them itself."""

    dtype: str
    dims: tuple[int | str, ...]
    """A size or a symbolic name for every axis."""


@dataclass(frozen=True)
class Export:
    """How a model of PyTorch or TensorFlow becomes an ONNX file."""

    inputs: Mapping[str, TensorSpec]
    """By the names of the parameters of its `forward`; of TensorFlow's models what the suite says of some."""
    outputs: tuple[str, ...]
    """Empty: as the model names them, or output_0 and so on."""
    opset: int
    sizes: Mapping[str, int]
    """Of the symbolic dimensions while it is traced."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from: an ONNX file, a folder in the ONNX test layout, an https address, or a framework."""

    kind: str
    """A name among `harness.sources.SOURCES`: "file", "folder", "url", "torch" (a factory), "saved-model"."""
    path: str
    """Absolute path, the address, or "framework:package.module:factory"."""
    sha256: str | None = None
    beside: str | None = None
    """The module or package of a factory that lies in the suite's folder, where there is one of its name."""
    export: Export | None = None
    """Of a framework's alone."""
    made: str | None = None
    """The digest of what was exported, from when it is."""


@dataclass(frozen=True)
class Preparation:
    """How raw files become the arrays of inputs."""

    kind: str
    """Its name among `harness.inputs.PREPARATIONS`: "images"."""
    source: str
    """Absolute path of a folder, or of a file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the suite says of it, with every default filled in."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Absolute paths of the other files that it reads; "labels" among them where there are any."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages that decode, where the harness runs."""


@dataclass(frozen=True)
class InputSpec:
    """How one input tensor is made."""

    kind: str
    """"file", "prepared", "normal", "uniform", "integers", "ones" or "zeros"."""
    file: str | None = None
    key: str | None = None
    """Which array of the file, or of what is prepared."""
    slice: tuple[int | None, ...] | None = None
    """start, stop and optional step over the rows of the file."""
    range: tuple[float, float] | None = None
    """mean and standard deviation (normal) or low and high (uniform: high excluded; integers: high excluded)."""
    seed: int = 0
    preparation: Preparation | None = None


@dataclass(frozen=True)
class Reference:
    """What outputs are compared with."""

    kind: str = "backend"
    """"backend", "file" or "stored"."""
    backend: str = "onnxruntime-cpu"
    precision: str = "fp32"
    file: str | None = None


@dataclass(frozen=True)
class Calibration:
    """Data for static int8 quantisation."""

    file: str | None
    key: str | None = None
    samples: int = 128
    input: str | None = None
    """The model input it feeds; needed when the model has several."""
    raw: str | None = None
    """Instead of a file of arrays, raw files that are prepared as the input is."""


@dataclass(frozen=True)
class Task:
    """A task metric, judged on all rows together."""

    metric: str
    output: str
    labels_file: str | None = None
    labels_key: str | None = None
    labels_slice: tuple[int | None, ...] | None = None
    min: float | None = None
    max_drop: float | None = None
    labels_input: str | None = None
    """The prepared input whose labels they are, where no file is named."""
    max: float | None = None
    max_rise: float | None = None
    tokens: tuple[str, ...] | None = None
    """What each class of the output says, for metrics of text."""
    stride: int | None = None
    """Frames of the input to one of the output, for metrics of text."""


@dataclass(frozen=True)
class LatencyPlan:
    """How a case is timed and when a change counts."""

    enabled: bool = True
    regression: float | None = None
    """Relative change that the gate decides on; None: 2 % between interleaved sides, 5 % against a stored window."""
    floor_us: float | None = None
    """Changes below this many microseconds never count; None: 0.5 between interleaved sides, 5 against a window."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """Limits on quantiles, for example {"p99_ms": 2.0}."""
    min_time_s: float = 1.0
    min_count: int = 64
    warmup_s: float = 0.2
    profile: str = "auto"
    """"auto" (layers are profiled where that adds little to the case), "always" or "never"."""
    transfers: bool = False
    """Inputs are copied to the GPU and outputs back in every iteration, from and to pinned memory of the host."""
    cuda_graph: bool = False
    """Iterations are replayed from a CUDA graph."""
    flush_l2: bool = False
    """The GPU's second-level cache is overwritten before every iteration."""
    streams: int = 1
    """Sessions that run side by side, each on a stream of its own, for the throughput."""
    depth: int = 1
    """Iterations in flight on each stream, for the throughput."""


@dataclass(frozen=True)
class FidelityPlan:
    """How a case is compared with its precision twin."""

    enabled: bool = True
    required: bool = False
    """A case whose twin cannot be made fails; otherwise its budget decides alone, and the record says so."""
    samples: int = 16
    """Rows to compare at least, where inputs are random; given rows are all compared."""
    members: int = 8
    """Noisy evaluations of the twin."""
    budget_s: float = 10.0
    """Seconds that the twin and its noise may take; beyond that fewer batches are compared."""
    slack: float = 1.0
    """Multiplies the limits, for a backend whose arithmetic is known to be coarser."""
    batch: bool = True
    """The first batch is run with its rows in other places as well, where they are independent in the twin."""


@dataclass(frozen=True)
class DriftPlan:
    """When an error has drifted away from the one that was accepted."""

    max_factor: float = 2.0
    """Growth beyond this counts, where rounding does not explain it."""
    gate: bool = False
    """Whether a drifted error fails the case; otherwise the headline tells it."""


@dataclass(frozen=True)
class AttestationPlan:
    """What must be seen of the precision that ran on a GPU."""

    min_share: float | None = None
    """Share of convolutions and matrix products that must have run in the precision asked for; None: one will do."""
    unknown: str = "fail"
    """"fail" or "pass": what it means for fp16, bf16, int8 and fp8 that a runtime does not tell."""


@dataclass(frozen=True)
class Plan:
    """Everything a worker needs to measure one case; all paths are absolute."""

    case: Case
    source: Source
    dimensions: Mapping[str, int]
    """Values of the symbolic dimensions of this case."""
    shapes: tuple[Mapping[str, int], ...]
    """Every shape of the model, so that one engine serves them all."""
    profile: Mapping[str, tuple[int, int, int]] | None
    files: Mapping[str, str]
    """Precision to a variant of the user's own."""
    inputs: Mapping[str, InputSpec]
    calibration: Calibration | None
    reference: Reference
    limits: Limits
    """Explicit limits for every output at this precision; empty means the defaults of the precision."""
    output_limits: Mapping[str, Limits]
    """Limits that single outputs have of their own; key by key they come before `limits`."""
    task: Task | None
    latency: LatencyPlan
    options: Mapping[str, Any]
    """The options of this case's backend."""
    excluded: str | None = None
    """The suite's reason for leaving the case out."""
    attestation: AttestationPlan = AttestationPlan()
    fidelity: FidelityPlan = FidelityPlan()
    builds: int = 1
    """Fresh builds of the case; accuracy must hold for all of them, the first is timed."""
    fuzzed: bool = False
    """The shape was drawn, not listed: rows of files are repeated or cut to fit it."""
    notes: tuple[str, ...] = ()
    """What the suite asked for and could not have."""
    drift: DriftPlan = DriftPlan()
    output_drift: Mapping[str, DriftPlan] = field(default_factory=dict)
    """Of outputs that have settings of their own; they replace `drift`."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Limits on what a case takes, for example {"engine_mib": 100}."""
    serving: ServingPlan | None = None
    """The load that the case is put under; None: only single iterations are timed."""
    flip: FlipPlan | None = None
    """How all rows are run again with their images mirrored; None: they are not."""
    custom_ops: tuple[str, ...] = ()
    """Libraries of operators for ONNX Runtime's CPU provider, where it computes reference and precision twin."""
    interpreter: Interpreter = Interpreter()
    exporter: Interpreter = Interpreter()
    """Where a framework's model is exported."""
    against: Interpreter | None = None
    """Where the same case is the one that this one's speed is compared with."""
    variant: ModelFile | None = None
    """The file to build, where it was made already: one conversion serves all environments."""
    kept_since: float | None = None
    """Nothing that was kept before (seconds since the epoch) is used; None: whatever is kept."""
    changed: bool = False
    """The chain changes what the model computes on purpose: no default limit of the precision is about that."""
    trusted: tuple[str, ...] = ()
    """Digests of engine files of the suite's own that somebody vouches for."""
