"""The building blocks of the suite format: strict mappings and checked kinds of text."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from harness.allowed import option, permits
from harness.backends import BACKENDS
from harness.errors import did_you_mean
from harness.metrics import TASKS
from harness.records import PRECISIONS
from harness.records.plans import ENGINE_SUFFIXES
from harness.suites.places import NAME, Found, Places, id_part, sources
from harness.variants.chains import LONGEST, Chain, chain_of, step_of

NO_VARIANT = "none"
"""In an exclusion, the model as it is."""
TENSOR_FILES = (".npz", ".npy", ".pb")


class Strict(BaseModel):
    """A mapping without unknown keys and without conversions between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Choice(Strict):
    """A mapping that is one of several kinds; merging never mixes two kinds."""

    def kind(self) -> str:
        """The kind it is."""
        raise NotImplementedError


def one_key(entry: BaseModel, alternatives: Sequence[str]) -> str:
    """The one key of `alternatives` that the entry sets; ValueError unless it is exactly one."""
    given = [name for name in alternatives if name in entry.model_fields_set]
    if len(given) == 1:
        return given[0]
    if given:
        raise ValueError(f"sets {' and '.join(given)}; give exactly one of {', '.join(alternatives)}")
    raise ValueError(f"needs exactly one of {', '.join(alternatives)}")


def known(kind: str, names: Collection[str]) -> AfterValidator:
    """A check that text is one of `names`."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"unknown {kind} '{value}'{did_you_mean(value, names)}")
        return value

    return AfterValidator(check)


def _suite_name(value: str) -> str:
    if value.startswith("."):
        raise ValueError(f"'{value}' begins with a dot: it becomes the name of a file, which would be hidden")
    return id_part(value)


def _not_empty(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


def unique(values: list[Any]) -> list[Any]:
    """The list itself; ValueError names an item that stands in it twice."""
    seen = set()
    for value in values:
        key = frozenset(value.items()) if isinstance(value, dict) else value
        if key in seen:
            raise ValueError(f"holds {_short(value)} twice")
        seen.add(key)
    return values


def ordered(values: list[float]) -> list[float]:
    """The list itself; ValueError unless it grows strictly."""
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"must be [low, high] with low < high, not {values}")
    return values


def growing(values: list[int]) -> list[int]:
    """The list itself; ValueError when it falls anywhere."""
    if any(low > high for low, high in pairwise(values)):
        raise ValueError(f"must be [min, opt, max] with min <= opt <= max, not {values}")
    return values


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    return f"'{value}'"


def _step(values: list[int | None]) -> list[int | None]:
    if len(values) == 3 and (values[2] is None or values[2] < 1):
        raise ValueError(f"must have a step of at least 1, not {values[2]}")
    return values


def _percent(value: Any) -> float:
    number = _fraction(value)
    if number is None or not math.isfinite(number) or not 0 < number < 1:
        raise ValueError(f"must be a share between 0 and 1 such as 2% or 0.02, not {value!r}")
    return number


def _share(value: Any) -> float:
    number = _fraction(value)
    if number is None or not 0 <= number < 1:
        raise ValueError(f"must be 0, or a share below 1 such as 2% or 0.02, not {value!r}")
    return number


def _fraction(value: Any) -> float | None:
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?%", value)
        # The decimal point is moved in the text: 7 / 100 is not always the float that 0.07 is.
        return float(f"{match[1]}e-2") if match else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def places(info: ValidationInfo) -> Places:
    """Where the paths of the suite that is being checked may lead."""
    return cast(Places, info.context)


def _file(*suffixes: str) -> AfterValidator:
    def check(text: str, info: ValidationInfo) -> str:
        return places(info).file(text, suffixes)

    return AfterValidator(check)


def _library(text: str, info: ValidationInfo) -> str:
    path = places(info).file(text, (".so", ".dylib", ".dll"))
    if not permits(path):
        raise ValueError(f"'{text}' is code, which runs only where the command line allows it: {option(path)}")
    return path


def _sources(value: Any, info: ValidationInfo) -> tuple[Found, ...]:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text: an ONNX file, a folder, a glob, an https:// address or a model of a framework")
    return sources(places(info), value)


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError(f"must be 64 hexadecimal digits, not {len(value)} characters '{value[:80]}'")
    return value.lower()


def _chain(value: Any) -> Chain:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"must be a variant or a list of them, not {value!r}")
    return chain_of(texts)


def _step_or_none(value: str) -> str:
    return value if value == NO_VARIANT else step_of(value).text


def _enum(names: Collection[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(names)})


def _backend_in(value: str) -> str:
    backend, mark, environment = value.partition("@")
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend '{backend}'{did_you_mean(backend, BACKENDS)}")
    if mark:
        id_part(environment)
    return value


_ENUM = {"type": "string", "enum": list(BACKENDS)}

IdPart = Annotated[str, AfterValidator(id_part), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
SuiteName = Annotated[
    str,
    AfterValidator(_suite_name),
    WithJsonSchema({"type": "string", "pattern": f"^(?!\\.){NAME.pattern}$"}),
]
Text = Annotated[str, AfterValidator(_not_empty), WithJsonSchema({"type": "string", "minLength": 1})]
Backend = Annotated[str, known("backend", BACKENDS), _enum(BACKENDS)]
BackendIn = Annotated[
    str,
    AfterValidator(_backend_in),
    WithJsonSchema({"anyOf": [_ENUM, {"type": "string", "pattern": f"^({'|'.join(BACKENDS)})@{NAME.pattern}$"}]}),
]
"""A backend, with the environment that it runs in where that is not the harness's own."""
Precision = Annotated[str, known("precision", PRECISIONS), _enum(PRECISIONS)]
Step = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]
VariantChain = Annotated[
    Chain,
    PlainValidator(
        _chain, json_schema_input_type=Step | Annotated[list[Step], Field(min_length=1, max_length=LONGEST)]
    ),
]
"""One step, or a list of steps."""
StepOrNone = Annotated[str, AfterValidator(_step_or_none)]
TaskMetric = Annotated[str, known("task metric", TASKS), _enum(TASKS)]
TensorFile = Annotated[str, _file(*TENSOR_FILES)]
JsonFile = Annotated[str, _file(".json")]
CsvFile = Annotated[str, _file(".csv")]
ArchiveFile = Annotated[str, _file(".npz")]
VariantFile = Annotated[str, _file(".onnx", *ENGINE_SUFFIXES)]
LibraryFile = Annotated[str, AfterValidator(_library)]
ScriptFile = Annotated[str, _file(".yaml", ".yml")]
Percent = Annotated[float, PlainValidator(_percent, json_schema_input_type=float | str)]
Share = Annotated[float, PlainValidator(_share, json_schema_input_type=float | str)]
"""As `Percent`, or nothing at all."""
Sources = Annotated[tuple[Found, ...], PlainValidator(_sources, json_schema_input_type=str)]
Sha256 = Annotated[str, AfterValidator(_sha256), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})]
Slice = Annotated[
    list[int | None],
    Field(min_length=2, max_length=3),
    AfterValidator(_step),
]
Size = Annotated[int, Field(ge=1, le=2**63 - 1)]
Rows = Annotated[int, Field(ge=1, le=1_000_000)]
"""Rows that are all held at once."""
