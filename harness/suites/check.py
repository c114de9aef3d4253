"""A document against the suite format: every mistake with its line, in the words of the user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from harness.errors import Problem
from harness.suites.document import Document, Key, KeyPath
from harness.suites.entries import SuiteEntry
from harness.suites.places import Places
from harness.suites.words import translated

_NEEDED = frozenset({"name", "source", "sha256", "shapes", "profile"})
"""Keys of a model without which its other keys cannot be checked against each other."""
_OF_INPUTS = frozenset({"accuracy", "int8", "invariance", "serving"})
"""Keys that are checked against `inputs`: what they would lack where those are wrong is no mistake of theirs."""


@dataclass(frozen=True)
class Checked:
    """A document and what of it is valid; `indices` are the places of the models in the file."""

    document: Document
    suite: SuiteEntry | None
    indices: tuple[int, ...]
    problems: tuple[Problem, ...]


class _Schema(GenerateJsonSchema):
    """The JSON Schema of what may be written: null may not, although it is the default of some keys."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", 0) is not None:
            return super().default_schema(schema)
        inner = self.generate_inner(schema["schema"])
        written = [kind for kind in inner.get("anyOf", []) if kind != {"type": "null"}]
        return written[0] if len(written) == 1 else {"anyOf": written} if written else inner


def schema() -> dict[str, Any]:
    """The JSON Schema of a suite file."""
    generated = SuiteEntry.model_json_schema(schema_generator=_Schema)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | generated | {"title": "trt-harness suite"}


def check(document: Document, places: Places) -> Checked:
    """The valid part of a document and all of its problems."""
    data = document.root.value if document.root else None
    if not isinstance(data, dict):
        problems = document.problems
        if document.root:
            problems += (document.problem((), "must be a mapping with 'suite:' and 'models:'"),)
        return Checked(document, None, (), problems)
    suite, errors = _validated(data, places)
    indices = tuple(range(len(suite.models))) if suite else ()
    if errors:
        suite, indices = _valid_part(data, errors, places)
    found = (*document.problems, *translated(document, errors, _keys_at), *_twins(document, data))
    return Checked(document, suite, indices, found)


def _validated(data: Any, places: Places) -> tuple[SuiteEntry | None, list[ErrorDetails]]:
    try:
        return SuiteEntry.model_validate(data, context=places), []
    except ValidationError as failure:
        return None, failure.errors(include_url=False)


def _valid_part(
    data: Mapping[str, Any], errors: Sequence[ErrorDetails], places: Places
) -> tuple[SuiteEntry | None, tuple[int, ...]]:
    """What is left without the keys that are wrong, so that the rest is checked in the same go."""
    wrong = {error["loc"][:3] for error in errors}
    if any(loc == ("models",) or loc[0] == "defaults" for loc in wrong):
        return None, ()
    of_model: dict[Key, set[KeyPath]] = defaultdict(set)
    for loc in wrong:
        if loc[0] == "models":
            of_model[loc[1]].add(loc)
    models = {index: _without(model, of_model[index]) for index, model in enumerate(data["models"])}
    kept = {index: model for index, model in models.items() if model is not None}
    bad = {loc[0] for loc in wrong}
    top = {key: value for key, value in data.items() if key not in bad}
    rest = {"suite": "unnamed", **top, "models": list(kept.values())}
    return _validated(rest, places)[0], tuple(kept)


def _without(model: Any, mine: set[KeyPath]) -> Mapping[str, Any] | None:
    keys = {loc[2] for loc in mine if len(loc) > 2}
    if len(keys) < len(mine) or keys & _NEEDED:
        return None
    left_out = keys | _OF_INPUTS if "inputs" in keys else keys
    return {key: value for key, value in model.items() if key not in left_out}


def _twins(document: Document, data: Mapping[str, Any]) -> Iterator[Problem]:
    """Model names that stand in the file twice."""
    models = data.get("models")
    first: dict[str, int] = {}
    for index, model in enumerate(models if isinstance(models, list) else []):
        name = model.get("name") if isinstance(model, dict) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            line, column = document.position(("models", first[name], "name"))
            message = f"duplicate model name '{name}', first at {document.label}:{line}:{column}"
            yield document.problem(("models", index, "name"), message)


@cache
def _schema_once() -> dict[str, Any]:
    return schema()


def _keys_at(path: KeyPath) -> list[str]:
    """The keys that the format knows at a path."""
    whole = _schema_once()
    node: dict[str, Any] = whole
    for part in path:
        node = node["items"] if isinstance(part, int) else node.get("properties", {}).get(part) or _of_any_key(node)
        if "$ref" in node:
            node = whole["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node.get("properties", {}))


def _of_any_key(node: dict[str, Any]) -> dict[str, Any]:
    """What stands under every key of a mapping whose keys are names, free or of a pattern."""
    found: dict[str, Any] = node.get("additionalProperties") or next(iter(node["patternProperties"].values()))
    return found
