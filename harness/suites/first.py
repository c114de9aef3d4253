"""The text of a first suite: YAML with comments that say where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from harness.foreign import plain
from harness.records import InputSpec

WIDTH = 110


@dataclass(frozen=True)
class Commented:
    """A value and why it is that."""

    value: Any
    why: str = ""


@dataclass(frozen=True)
class First:
    """What a first suite says about one model."""

    suite: str
    model: str
    source: str
    backends: Sequence[str]
    precisions: Sequence[str]
    shapes: Sequence[Mapping[str, int]] = ()
    inputs: Mapping[str, Commented] = field(default_factory=dict)
    """Each value an InputSpec."""
    limits: Mapping[str, Mapping[str, Mapping[str, Commented]]] = field(default_factory=dict)
    """Output to precision to limit."""
    head: Sequence[str] = ()
    """Comments above the suite."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Comments by the key of the model that they stand above."""


def text(first: First) -> str:
    """The suite as YAML."""
    model = CommentedMap(name=first.model, source=first.source)
    model["backends"] = _inline(first.backends)
    model["precisions"] = _inline(first.precisions)
    if first.shapes:
        model["shapes"] = _inline([_inline_map(shape) for shape in first.shapes])
    if first.inputs:
        made = {name: Commented(_input(one.value), one.why) for name, one in first.inputs.items()}
        model["inputs"] = _commented(made, indent=6)
    if first.limits:
        model["accuracy"] = CommentedMap(outputs=_outputs(first.limits))
    _note(model, first.notes)
    suite = CommentedMap(suite=first.suite, models=CommentedSeq([model]))
    if first.head:
        suite.yaml_set_start_comment("\n".join(map(_line, first.head)))
    yaml, stream = YAML(), StringIO()
    yaml.width = WIDTH
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(suite, stream)
    return stream.getvalue()


def _outputs(limits: Mapping[str, Mapping[str, Mapping[str, Commented]]]) -> CommentedMap:
    made = CommentedMap()
    for output, precisions in limits.items():
        made[output] = CommentedMap(
            {precision: _commented(found, indent=12) for precision, found in precisions.items()}
        )
    return made


def _commented(values: Mapping[str, Commented], *, indent: int) -> CommentedMap:
    """A mapping whose comments stand one below the other."""
    made = CommentedMap({key: one.value for key, one in values.items()})
    column = indent + max(len(f"{key}: {_shown(one.value)}") for key, one in values.items()) + 2
    for key, one in values.items():
        if one.why:
            made.yaml_add_eol_comment(_line(one.why), key, column=column)
    return made


def _shown(value: Any) -> str:
    """About what YAML makes of it."""
    text = str({**value} if isinstance(value, Mapping) else value)
    return text.replace("'", "")


def _input(spec: InputSpec) -> CommentedMap:
    if spec.range is None:
        return _inline_map({spec.kind: True})
    return _inline_map({spec.kind: _inline([int(bound) for bound in spec.range]), "seed": spec.seed})


def _note(model: CommentedMap, notes: Mapping[str, Sequence[str]]) -> None:
    for key, lines in notes.items():
        if lines and key in model:
            model.yaml_set_comment_before_after_key(key, before="\n".join(map(_line, lines)), indent=4)


def _inline(values: Sequence[Any]) -> CommentedSeq:
    made = CommentedSeq(values)
    made.fa.set_flow_style()
    return made


def _inline_map(values: Mapping[str, Any]) -> CommentedMap:
    made = CommentedMap(values)
    made.fa.set_flow_style()
    return made


def _line(words: str) -> str:
    """One line: a line break would end the comment."""
    return plain(words)
