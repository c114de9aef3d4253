"""The reference of suite files: nothing of the schema is missing, and the committed page is what the schema gives."""

from __future__ import annotations

import re
from pathlib import Path

from harness.cli import main
from harness.records import PRECISIONS
from harness.suites import reference, schema

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"


def test_the_committed_page_is_what_the_schema_gives(capsys) -> None:
    assert main(["schema", "--markdown"]) == 0
    assert PAGE.read_text() == capsys.readouterr().out, "harness schema --markdown > docs/reference.md"


def test_every_key_of_the_schema_has_a_row() -> None:
    whole = schema()
    keys = {key for part in (whole, *whole["$defs"].values()) for key in part["properties"]}
    rows = set(re.findall(r"^\| `([^`]+)` \|", reference(whole), re.MULTILINE))
    limits_at_a_precision = set(PRECISIONS) - {"int8"}  # one row for all; int8 is a key of models as well
    assert rows == keys - limits_at_a_precision | {"PRECISION"}


def test_every_link_inside_the_page_leads_to_one_heading() -> None:
    page = reference(schema())
    headings = [re.sub(r"[^a-z0-9_-]", "", one.lower()) for one in re.findall(r"^## (.+)$", page, re.MULTILINE)]
    assert len(set(headings)) == len(headings)
    assert set(re.findall(r"\(#([^)]+)\)", page)) <= set(headings)


def test_a_new_key_is_told_with_type_bounds_default_and_need() -> None:
    whole = schema()
    latency = whole["$defs"]["LatencyEntry"]
    latency["properties"]["knob"] = {"type": "integer", "minimum": 3, "default": 5, "description": "a|b"}
    latency["required"] = ["floor_us"]
    page = reference(whole)
    assert "| `knob` | integer ≥ 3 | `5` | a\\|b |" in page
    assert "| `floor_us` | number ≥ 0 | needed |" in page
