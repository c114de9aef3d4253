"""Pydantic's errors in the words of people who write YAML files by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from harness.errors import Problem, did_you_mean
from harness.suites.document import Document, KeyPath

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
MAX_PROBLEMS = 1000
"""Mistakes against the format that are told of one file."""


def translated(
    document: Document, errors: Sequence[ErrorDetails], keys_at: Callable[[KeyPath], Iterable[str]]
) -> Iterator[Problem]:
    """The problems that errors stand for, in the words of the user; `keys_at` tells what keys are known at a path."""
    told = {problem.path for problem in document.problems}
    for error in errors[:MAX_PROBLEMS]:
        loc = error["loc"]
        path = loc[:-1] if loc[-1:] == ("[key]",) else loc
        at_key = path != loc or error["type"] == "extra_forbidden"
        problem = document.problem(path, _message(error, path, keys_at), at_key=at_key)
        # the YAML told already that there is no value
        if error["input"] is not None or problem.path not in told:
            yield problem


def _message(error: ErrorDetails, path: KeyPath, keys_at: Callable[[KeyPath], Iterable[str]]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        name = str(path[-1])
        return f"unknown key '{name}'{did_you_mean(name, keys_at(path[:-1]))}"
    if kind == "missing":
        return f"the required key '{path[-1]}' is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("too_short", "too_long"):
        return _length(context, error["input"])
    # what is left are pydantic's own sentences, such as "Input should be greater than 0"
    text = _KINDS.get(kind) or error["msg"].removeprefix("Input should be ").replace("True", "true")
    return f"must be {text}, not {_shown(error['input'])}"


def _length(context: Mapping[str, Any], value: Any) -> str:
    if context["actual_length"] == 0:
        return "is empty"
    if isinstance(value, dict):
        return f"has {len(value)} keys: {context['max_length']} are the most"
    wanted = context.get("min_length", context.get("max_length"))
    return f"must have {wanted} items, not {context['actual_length']}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return repr(value)[:80]
