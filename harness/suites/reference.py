"""The reference of suite files: every key with its type, default and meaning, as Markdown, from the JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness.records import PRECISIONS

HEAD = """# Every key of a suite

Generated from the JSON Schema: `harness schema --markdown > docs/reference.md`. What the keys are for, with examples,
is in [suites.md](suites.md). A key without a default has none, or one that its meaning tells. NAME is a name of your
own or of a tensor; a PRECISION is one of {precisions}.
"""
SHARED = ("Limits", "DriftLimits")
WORDS: Mapping[str, str] = {"string": "text", "boolean": "`true`, `false`", "null": "nothing"}
UNBOUNDED = 2**62  # bounds of the integer types themselves are no news
Schema = Mapping[str, Any]


def reference(whole: Schema) -> str:
    """One section a mapping, in the order in which a reader meets them; a mapping that occurs twice is told once."""
    defs = whole["$defs"]
    sections = _sections(whole)
    head = HEAD.format(precisions=", ".join(f"`{one}`" for one in PRECISIONS))
    told = [name for name in sections if name not in ("", "Settings")]
    tables = [_table(whole, sections, defs, "The file"), *(_table(defs[n], sections, defs, sections[n]) for n in told)]
    return "\n".join([head, *tables])


def _sections(whole: Schema) -> dict[str, str]:
    """Names of definitions to their headings, which are the ways to them; what `defaults` may say, models may."""
    found = {"Settings": "models", "ModelEntry": "models"}

    def visit(part: Schema, way: str) -> None:
        for key, value in part["properties"].items():
            for name, last in _referred(value, _row(key, value)):
                if name == "Settings" or (name in found and name != "ModelEntry"):
                    continue
                inside = "" if name == "ModelEntry" else f"{way}{last}."
                found.setdefault(name, inside[:-1])
                visit(whole["$defs"][name], inside)

    visit(whole, "")
    return found


def _referred(value: Schema, way: str) -> Iterator[tuple[str, str]]:
    """Names of the definitions that a value leads to, and the ways to them."""
    if "$ref" in value:
        yield _name(value), way
    if "items" in value:
        yield from _referred(value["items"], way)
    for inner in _values(value):
        yield from _referred(inner, f"{way}.NAME")


def _table(part: Schema, sections: Mapping[str, str], defs: Mapping[str, Schema], heading: str) -> str:
    own = dict(part["properties"])
    lines = [f"## {heading}", "", part["description"]]
    for shared in SHARED:
        if part is not defs[shared] and defs[shared]["properties"].items() <= own.items():
            own = {key: value for key, value in own.items() if key not in defs[shared]["properties"]}
            lines[-1] += f" All keys of {_link(sections[shared])}, and:"
    lines += ["", "| key | type | default | meaning |", "|---|---|---|---|"]
    for key, value in _rows(own).items():
        needed = "needed" if key in part.get("required", ()) else _default(value)
        meaning = value.get("description") or defs[_name(value)]["description"]
        cells = (f"`{key}`", _type(value, sections), needed, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _rows(own: Mapping[str, Schema]) -> dict[str, Schema]:
    """Rows with their schemas; precisions, which are alike, are one row."""
    rows: dict[str, Schema] = {}
    for key, value in own.items():
        row = _row(key, value)
        rows[row] = value if row == key else {**value, "description": "At that precision; nearer than at all."}
    return rows


def _row(key: str, value: Schema) -> str:
    shared = "$ref" in value and _name(value) in SHARED
    return "PRECISION" if shared and key in PRECISIONS else key


def _type(value: Schema, sections: Mapping[str, str]) -> str:
    """A schema in words."""
    if "$ref" in value:
        less = " without `name`, `source`, `sha256`" if _name(value) == "Settings" else ""
        return _link(sections[_name(value)]) + less
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one, sections) for one in value["anyOf"]))
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if value["type"] == "array":
        return f"list of {_count(value)}{_type(value['items'], sections)}"
    if value["type"] == "object":
        kinds = dict.fromkeys(_type(inner, sections) for inner in _values(value))
        key = "PRECISION" if "enum" in value.get("propertyNames", {}) else "NAME"
        return f"mapping of {key} to {' or '.join(kinds)}"
    return WORDS.get(value["type"], value["type"]) + _bounds(value)


def _values(value: Schema) -> list[Schema]:
    """What a mapping with free keys maps to."""
    free = value.get("additionalProperties")
    return [*value.get("patternProperties", {}).values(), *([free] if isinstance(free, dict) else [])]


def _count(value: Schema) -> str:
    least, most = value.get("minItems", 0), value.get("maxItems")
    if most is None:
        return ""
    return f"{most}: " if least == most else f"{least} to {most}: "


def _bounds(value: Schema) -> str:
    names = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    told = [f"{sign} {value[name]:,}" for name, sign in names.items() if name in value and abs(value[name]) < UNBOUNDED]
    return f" {', '.join(told)}" if told else ""


def _default(value: Schema) -> str:
    return f"`{json.dumps(value['default'])}`" if value.get("default") is not None else ""


def _name(value: Schema) -> str:
    return str(value["$ref"]).rpartition("/")[2]


def _link(heading: str) -> str:
    anchor = re.sub(r"[^a-z0-9 _-]", "", heading.lower())
    return f"[{heading}](#{anchor})"
