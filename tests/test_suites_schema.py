"""The JSON Schema of suite files, and the tables that must agree with the registries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.backends import BACKENDS
from harness.metrics import ELEMENTWISE, LIMITS, SETTINGS
from harness.records import PRECISIONS
from harness.suites import schema
from harness.suites.options import OPTIONS


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    whole = schema()
    for owner, part in {"SuiteEntry": whole, **whole["$defs"]}.items():
        for name, value in part["properties"].items():
            yield owner, name, value


def test_the_schema_is_plain_json_with_a_head() -> None:
    whole = json.loads(json.dumps(schema()))
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (whole["title"], whole["required"]) == ("trt-harness suite", ["suite", "models"])


def test_limits_are_the_registered_ones_and_topk() -> None:
    limits = schema()["$defs"]["Limits"]["properties"]
    assert set(limits) == {*LIMITS, *ELEMENTWISE, *SETTINGS}


@pytest.mark.parametrize("kind", ["Accuracy", "OutputLimits"])
def test_limits_can_be_given_per_precision(kind: str) -> None:
    assert set(PRECISIONS) <= set(schema()["$defs"][kind]["properties"])


def test_every_backend_has_a_place_for_options() -> None:
    assert set(schema()["$defs"]["Options"]["properties"]) == set(BACKENDS)
    assert set(OPTIONS) <= set(BACKENDS)


def test_no_mapping_takes_unknown_keys() -> None:
    whole = schema()
    assert all(part["additionalProperties"] is False for part in (whole, *whole["$defs"].values()))


def test_every_key_is_described_or_refers_to_what_is() -> None:
    bare = [f"{owner}.{name}" for owner, name, value in properties() if not {"description", "$ref"} & set(value)]
    assert bare == []


def test_a_key_cannot_be_null() -> None:
    assert [name for _, name, value in properties() if {"type": "null"} in value.get("anyOf", [])] == []
