"""The suite file as pydantic models: every key, its type and its meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from harness.records import DEFAULT_ENVIRONMENT, Calibration, FidelityPlan, InputSpec, LatencyPlan
from harness.suites import prepared
from harness.suites.drift import Drift
from harness.suites.fields import (
    ArchiveFile,
    Backend,
    BackendIn,
    Choice,
    IdPart,
    Percent,
    Precision,
    Rows,
    Sha256,
    Size,
    Slice,
    Sources,
    StepOrNone,
    Strict,
    SuiteName,
    TensorFile,
    Text,
    VariantChain,
    VariantFile,
    growing,
    one_key,
    ordered,
    unique,
)
from harness.suites.invariance import InvarianceEntry
from harness.suites.limits import Accuracy
from harness.suites.options import Options
from harness.suites.prepared import AudioKeys, ImagesKeys, PreparedKeys, TextKeys, VideoKeys
from harness.suites.serving import ServingEntry

INPUT_KINDS = ("file", *prepared.KEYS, "normal", "uniform", "integers", "ones", "zeros")
_SEEDED = ("normal", "uniform", "integers")

Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(ordered)]
IntegerRange = Annotated[
    list[Annotated[int, Field(ge=-(2**63), le=2**64)]], Field(min_length=2, max_length=2), AfterValidator(ordered)
]
Profile = Annotated[list[Size], Field(min_length=3, max_length=3), AfterValidator(growing)]
Shape = Annotated[dict[IdPart, Size], Field(min_length=1, max_length=64)]
Positive = Annotated[float, Field(gt=0)]


class InputEntry(VideoKeys, TextKeys, AudioKeys, ImagesKeys, PreparedKeys, Choice):
    """How an input is made: exactly one of file, audio, images, text, video, normal, uniform, integers, ones, zeros."""

    file: TensorFile | None = Field(None, description="Rows from a .npz, .npy or .pb file.")
    key: Text | None = Field(None, description="Array of an .npz file.")
    slice: Slice | None = Field(None, description="[start, stop] or [start, stop, step] over the rows.")
    normal: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="[mean, standard deviation]"
    )
    uniform: Range | None = Field(None, description="[low, high), floats.")
    integers: IntegerRange | None = Field(None, description="[low, high), whole numbers.")
    ones: Literal[True] | None = Field(None, description="All elements are 1.")
    zeros: Literal[True] | None = Field(None, description="All elements are 0.")
    seed: int = Field(InputSpec.seed, ge=0, le=2**63 - 1, description="Seed of normal, uniform and integers.")

    def kind(self) -> str:
        """Which of the kinds it is."""
        return one_key(self, INPUT_KINDS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kind = self.kind()
        fits = {"seed"} if kind in _SEEDED else {"key", "slice"} if kind == "file" else set()
        if kind in prepared.KEYS:
            fits = {"slice", *prepared.keys(kind)}
        stray = sorted(self.model_fields_set - fits - {kind})
        if stray:
            raise ValueError(f"'{stray[0]}' means nothing beside '{kind}'")
        if kind in prepared.KEYS:
            prepared.check(self, kind)
        if self.normal is not None and self.normal[1] < 0:
            raise ValueError(f"normal must be [mean, standard deviation], and {self.normal[1]} is below 0")
        return self


class ReferenceEntry(Choice):
    """What outputs are compared with: a backend at a precision, a file, or the stored outputs of the folder."""

    backend: Backend | None = Field(None, description="Default: onnxruntime-cpu.")
    precision: Precision | None = Field(None, description="Default: fp32.")
    file: ArchiveFile | None = Field(None, description=".npz file with one array an output.")
    stored: Literal[True] | None = Field(None, description="The outputs in test_data_set_*.")

    def kind(self) -> str:
        """backend, file or stored."""
        if self.model_fields_set and self.model_fields_set <= {"backend", "precision"}:
            return "backend"
        kind = one_key(self, ("file", "stored"))
        if len(self.model_fields_set) > 1:
            raise ValueError(f"'{kind}' stands alone: it cannot be combined with backend or precision")
        return kind

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.kind()
        return self


class ExportInput(Strict):
    """An input of a model that is exported."""

    dtype: Literal["float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool"] = Field(
        "float32", description="Its type."
    )
    dims: list[Size | IdPart] = Field(description="A size, or a name that `shapes` gives values, for every axis.")


class ExportEntry(Strict):
    """How a model of PyTorch or TensorFlow becomes an ONNX file."""

    inputs: dict[Text, ExportInput] = Field(
        {},
        description="Its inputs in order, by the names of the parameters of `forward`; of TensorFlow's models, names "
        "and sizes for free axes.",
    )
    outputs: Annotated[list[Text], AfterValidator(unique)] = Field(
        [], description="Names of the outputs; default: the model's own, or output_0 and so on."
    )
    opset: Annotated[int, Field(ge=13, le=30)] = Field(18, description="Version of ONNX's standard operators.")
    environment: IdPart = Field(DEFAULT_ENVIRONMENT, description="Environment that has the framework and exports.")


class CalibrationEntry(Choice):
    """Data for static int8 quantisation: exactly one of file and raw."""

    file: TensorFile | None = Field(None, description="A .npz, .npy or .pb file.")
    raw: prepared.Data | None = Field(None, description="Raw files, prepared as those of the input are.")
    key: Text | None = Field(None, description="Array of an .npz file.")
    samples: Rows = Field(Calibration.samples, description="Rows to take.")
    input: Text | None = Field(None, description="The model input it feeds; needed when there are several.")

    def kind(self) -> str:
        """file or raw."""
        return one_key(self, ("file", "raw"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind() == "raw" and self.key is not None:
            raise ValueError("'key' means nothing beside 'raw'")
        return self


class Int8Entry(Strict):
    """How the int8 variant is made."""

    calibration: CalibrationEntry | None = Field(None, description="Rows that set the quantisation ranges.")


class BudgetEntry(Strict):
    """Absolute limits on latency."""

    p50_ms: Positive | None = Field(None, description="Median, at most.")
    p90_ms: Positive | None = Field(None, description="90th percentile, at most.")
    p99_ms: Positive | None = Field(None, description="99th percentile, at most.")
    mean_ms: Positive | None = Field(None, description="Mean, at most.")


class LatencyEntry(Strict):
    """How a case is timed and when a change counts."""

    enabled: bool = Field(LatencyPlan.enabled, description="false: accuracy only.")
    regression: Percent | None = Field(
        None, description="Relative change that fails; by default 2% where both sides are timed in turns, else 5%."
    )
    floor_us: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Smaller changes never count; by default 0.5 us in turns, 5 us against a stored window."
    )
    budget: BudgetEntry | None = Field(None, description="Absolute limits.")
    min_time_s: float = Field(LatencyPlan.min_time_s, gt=0, description="Time at least this long.")
    min_count: Size = Field(LatencyPlan.min_count, description="Take at least this many samples.")
    warmup_s: float = Field(LatencyPlan.warmup_s, ge=0, description="Run this long before timing.")
    profile: Literal["auto", "always", "never"] = Field(
        "auto", description="Time each layer too; auto: where that adds little to the case."
    )

    transfers: bool = Field(
        LatencyPlan.transfers, description="true: with the copies of inputs to the GPU and outputs back."
    )
    cuda_graph: bool = Field(LatencyPlan.cuda_graph, description="true: iterations are replayed from a CUDA graph.")
    flush_l2: bool = Field(
        LatencyPlan.flush_l2, description="true: the GPU's second-level cache is overwritten before each iteration."
    )
    streams: Annotated[int, Field(ge=1, le=64)] = Field(
        LatencyPlan.streams, description="Sessions side by side on a GPU, for the throughput."
    )
    depth: Annotated[int, Field(ge=1, le=1024)] = Field(
        LatencyPlan.depth, description="Iterations in flight on each stream, for the throughput."
    )

    @model_validator(mode="after")
    def _cold_or_in_flight(self) -> Self:
        if self.flush_l2 and (self.streams > 1 or self.depth > 1):
            raise ValueError("flush_l2 empties the cache between iterations: it means nothing beside streams and depth")
        return self

    @model_validator(mode="after")
    def _measures_what_it_limits(self) -> Self:
        if self.budget is not None and not self.enabled:
            raise ValueError("has a budget but enabled: false: nothing would be measured against it")
        return self


class ResourcesEntry(Strict):
    """Absolute limits on what a case takes."""

    engine_mib: Positive | None = Field(None, description="Size of the built engine, at most.")
    model_mib: Positive | None = Field(None, description="Size of the file that is built or loaded, at most.")
    build_s: Positive | None = Field(None, description="Seconds to build the engine, at most.")
    device_mib: Positive | None = Field(None, description="Memory of the GPU after the first inference, at most.")
    host_mib: Positive | None = Field(
        None, description="Peak memory of the host while loading and at the first inference, at most."
    )
    first_infer_ms: Positive | None = Field(None, description="The first inference after loading, at most.")
    cold_start_ms: Positive | None = Field(
        None, description="From the start of a fresh process to its first answer, at most."
    )
    cold_load_ms: Positive | None = Field(
        None, description="In a fresh process, from loading the runtime to the first answer, at most."
    )
    process_mib: Positive | None = Field(None, description="Peak memory of that whole process, at most.")


class AttestationEntry(Strict):
    """What must be seen of the precision that ran on a GPU."""

    min_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Share of convolutions and matrix products that must have run in fp16, bf16, int8 or fp8; "
        "0: none need have. Default: one will do.",
    )
    unknown: Literal["fail", "pass"] = Field(
        "fail", description="What it means that the runtime does not tell in what it ran."
    )


class FidelityEntry(Strict):
    """How a case is compared with its precision twin."""

    enabled: bool = Field(FidelityPlan.enabled, description="false: only the limits of `accuracy` decide.")
    required: bool = Field(FidelityPlan.required, description="true: a case whose twin cannot be made fails.")
    samples: Rows = Field(FidelityPlan.samples, description="Rows to compare at least, where inputs are random.")
    members: Annotated[int, Field(ge=3, le=64)] = Field(FidelityPlan.members, description="Noisy evaluations.")
    budget_s: float = Field(FidelityPlan.budget_s, gt=0, description="Seconds for the twin and its noise.")
    slack: float = Field(FidelityPlan.slack, gt=0, description="Multiplies the limits.")


class ExcludeEntry(Strict):
    """Cases that are left out: all that fit every key given here."""

    backend: BackendIn | None = Field(
        None, description="Backend of the case; without @environment, in every environment."
    )
    precision: Precision | None = Field(None, description="Precision of the case.")
    variant: StepOrNone | None = Field(None, description="A step of its chain, or `none` for the plain model.")
    shape: Shape | None = Field(None, description="Values that the shape of the case has.")
    reason: Text = Field(description="Why; it is shown as the reason of the skip.")


class Settings(Strict):
    """What a model may set and `defaults` may set for all models."""

    tags: list[Text] = Field([], description="Words for -k, beside those of the suite.")
    files: dict[Precision, VariantFile] = Field(
        {}, description="A variant of one's own for a precision: an ONNX file, or an engine that --trust-engine names."
    )
    shapes: Annotated[list[Shape], Field(min_length=1), AfterValidator(unique)] | None = Field(
        None, description="Values of the symbolic dimensions; one case per entry."
    )
    profile: Annotated[dict[IdPart, Profile], Field(min_length=1, max_length=64)] | None = Field(
        None, description="TensorRT [min, opt, max] by dimension; default: smallest, last and largest of shapes."
    )
    inputs: dict[Text, InputEntry] = Field({}, description="By input tensor; the others are seeded random.")
    export: ExportEntry | None = Field(None, description="How a model of PyTorch or TensorFlow becomes an ONNX file.")
    int8: Int8Entry | None = Field(None, description="How the int8 variant is made.")
    reference: ReferenceEntry | None = Field(None, description="Default: onnxruntime-cpu at fp32.")
    backends: Annotated[list[BackendIn], Field(min_length=1), AfterValidator(unique)] = Field(
        ["onnxruntime-cpu"], description="Runtimes to measure; backend@environment runs in that environment."
    )
    precisions: Annotated[list[Precision], Field(min_length=1), AfterValidator(unique)] = Field(
        ["fp32"], description="Precisions to build the model in."
    )
    variants: Annotated[list[VariantChain], Field(min_length=1), AfterValidator(unique)] | None = Field(
        None, description="Chains of changes to the model; each is measured beside the plain model."
    )
    accuracy: Accuracy | None = Field(None, description="Limits; the nearest wins key by key.")
    fidelity: FidelityEntry | None = Field(None, description="Comparison with the precision twin.")
    drift: Drift | None = Field(None, description="Growth of errors against the accepted baseline.")
    invariance: InvarianceEntry | None = Field(None, description="What must not change the outputs.")
    latency: LatencyEntry | None = Field(None, description="How cases are timed.")
    resources: ResourcesEntry | None = Field(None, description="Absolute limits on what a case takes.")
    serving: ServingEntry | None = Field(None, description="Load that cases are put under.")
    attestation: AttestationEntry | None = Field(None, description="What must be seen of the precision that ran.")
    options: Options | None = Field(None, description="Backend name to its options.")
    builds: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="Fresh builds of each case; accuracy must hold for all of them."
    )
    shape_fuzz: Annotated[int, Field(ge=0, le=256)] = Field(
        0, description="That many more seeded shapes inside the profile, accuracy only."
    )
    exclude: list[ExcludeEntry] = Field([], description="Cases to leave out, with the reason.")


class ModelEntry(Settings):
    """One model, or the models that a glob finds."""

    name: IdPart = Field(description="Second part of the case ids.")
    source: Sources = Field(
        description="ONNX file, folder in the ONNX test layout, glob of either, an https:// address with sha256, "
        "a PyTorch model (torch:package.module:factory or a .pt2 file), or one of TensorFlow "
        "(tensorflow:package.module:factory, a SavedModel's folder, a .keras or .h5 file)."
    )
    sha256: Sha256 | None = Field(None, validate_default=True, description="Required for what is downloaded.")

    @field_validator("sha256")
    @classmethod
    def _fits_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        found: Any = info.data.get("source", ())
        if value is None and any(item.kind == "url" for item in found):
            raise ValueError("is required for a source that is downloaded")
        if value is not None and any(item.kind in ("torch", "tensorflow") for item in found):
            raise ValueError("cannot hold for what a factory makes")
        if value is not None and any(item.kind == "saved-model" for item in found):
            raise ValueError("cannot hold for a SavedModel, which is several files")
        if value is not None and any(item.match for item in found):
            raise ValueError("cannot hold for a glob: name the files one by one")
        return value


class EnvironmentEntry(Strict):
    """A Python interpreter that cases run in, with the runtimes installed there."""

    python: Text | None = Field(
        None, description="Its path: absolute, ~ or relative to the suite file. --environment NAME=PYTHON sets it too."
    )
    against: IdPart | None = Field(
        None, description="Environment in which the same case is the one that its speed is compared with, in turns."
    )


class SuiteEntry(Strict):
    """A suite of trt-harness: models x backends x precisions x shapes, one case each."""

    suite: SuiteName = Field(description="First part of every case id.")
    tags: list[Text] = Field([], description="Tags of all cases, for -k.")
    environments: dict[IdPart, EnvironmentEntry] = Field(
        {}, max_length=64, description="Name to interpreter; 'default' is the one that runs the harness."
    )
    defaults: Settings | None = Field(None, description="What holds for every model that does not set it itself.")
    models: Annotated[list[ModelEntry], Field(min_length=1, description="The models; one case per combination.")]
