"""YAML text to plain data with positions: YAML 1.2 core schema, data only, every duplicate key found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from harness.errors import Problem

MAX_NODES = 1_000_000
"""Values in one file with all aliases written out; more is an alias bomb."""
MAX_DEPTH = 60
MAX_PROBLEMS = 1000
"""Mistakes of the YAML after which the rest of a file is not read."""

EMPTY = "is empty; a suite needs 'suite:' and 'models:'"

Key = str | int
KeyPath = tuple[Key, ...]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,4000}|0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,3000}")
"""No longer than what Python prints again."""
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASES = {"0o": 8, "0x": 16}


class Node(NamedTuple):
    """One value, where it stands (counted from 1), and the nodes below it."""

    line: int
    column: int
    value: Any
    children: Mapping[Key, Node]
    keys: Mapping[Key, tuple[int, int]]
    """Positions of the keys of a mapping."""
    size: int
    """Values in it with aliases written out."""


@dataclass(frozen=True)
class Document:
    """One suite file as data; `root` is None when the text could not be read to its end."""

    label: str
    root: Node | None
    problems: tuple[Problem, ...] = ()

    def problem(self, path: KeyPath, message: str, *, at_key: bool = False) -> Problem:
        """A problem at the deepest place of `path` that exists in the file."""
        line, column = self.position(path, at_key=at_key)
        return Problem(self.label, line, column, path_text(path), message)

    def has(self, path: KeyPath) -> bool:
        """Whether there is a value at `path`."""
        node = self.root
        for part in path:
            node = node.children.get(part) if node else None
        return node is not None

    def position(self, path: KeyPath, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path`, or of its key."""
        node = self.root
        if node is None:
            return 1, 1
        for index, part in enumerate(path):
            if at_key and index == len(path) - 1 and part in node.keys:
                return node.keys[part]
            if part not in node.children:
                break
            node = node.children[part]
        return node.line, node.column


def path_text(path: Sequence[Key]) -> str:
    """A path as people write it: models[0].inputs.ids."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def parse(text: str, label: str, empty: str = EMPTY) -> Document:
    """The document in `text`; mistakes of the YAML itself are in its `problems`, `empty` for text without any data."""
    builder = _Builder(label, text, empty)
    try:
        root = builder.document()
    except _Unreadable as failure:
        return Document(label, None, (*builder.problems, failure.problem))
    return Document(label, root, tuple(builder.problems))


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Builder:
    """Builds nodes from ruamel's parser events, which is twice as fast as its composer."""

    def __init__(self, label: str, text: str, empty: str) -> None:
        self.label, self._empty = label, empty
        self.problems: list[Problem] = []
        self._events = self._guarded(text)
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node:
        documents = 0
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop(event, "holds a second document; one a file")
                root = self._node(next(self._events), ())
        if root is None or root.value is None:
            raise _Unreadable(Problem(self.label, 1, 1, "", self._empty))
        return root

    def _guarded(self, text: str) -> Iterator[Any]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            message = ", ".join(str(part) for part in (error.context, error.problem) if part)
            raise _Unreadable(Problem(self.label, line, column, "", f"not valid YAML: {message}")) from error
        except YAMLError as error:  # a character that YAML forbids
            before = text[: getattr(error, "position", 0)]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            message = f"not valid YAML: {getattr(error, 'reason', error)}"
            raise _Unreadable(Problem(self.label, line, column, "", message)) from error
        except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF", which the parser does not place
            message = f"not valid YAML: it holds an escape that is no character ({error})"
            raise _Unreadable(Problem(self.label, 1, 1, "", message)) from error

    def _node(self, event: Any, path: KeyPath) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        self._refuse_tag(event, path)
        if len(path) > MAX_DEPTH:
            raise self._stop(event, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, MappingStartEvent):
            node = self._mapping(event, path)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, path)
        else:
            text = self._text(event)
            node = Node(*_place(event), resolve_scalar(text) if event.implicit[0] else text, {}, {}, 1)
        if node.size > MAX_NODES:
            raise self._stop(event, f"holds more than {MAX_NODES} values when its aliases are written out")
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise self._stop(event, f"the alias '*{event.anchor}' has no anchor that ends before it")
        return self._anchors[event.anchor]

    def _mapping(self, start: Any, path: KeyPath) -> Node:
        children: dict[Key, Node] = {}
        keys: dict[Key, tuple[int, int]] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, path)
            node = self._node(next(self._events), (*path, key))
            if key in children:
                first = "{}:{}:{}".format(self.label, *keys[key])
                self._report(event, (*path, key), f"duplicate key '{key}', first at {first}")
                continue
            children[key], keys[key] = node, _place(event)
            if node.value is None:
                self._report(event, (*path, key), "has no value")
        value = {key: child.value for key, child in children.items()}
        return Node(*_place(start), value, children, keys, 1 + sum(child.size for child in children.values()))

    def _key(self, event: Any, path: KeyPath) -> str:
        """Keys are the text as written, so that a tensor may be called 495 or no."""
        if not isinstance(event, ScalarEvent):
            raise self._stop(event, "a key must be plain text")
        self._refuse_tag(event, path)
        if event.value == "<<" and event.implicit[0]:
            self._report(event, path, "merge keys '<<' are not YAML 1.2; put what models share under 'defaults:'")
        return self._text(event)

    def _text(self, event: Any) -> str:
        text: str = event.value
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise self._stop(event, "holds half of a surrogate pair, which is no character")
        return text

    def _sequence(self, start: Any, path: KeyPath) -> Node:
        items: list[Node] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, (*path, len(items))))
        value = [item.value for item in items]
        return Node(*_place(start), value, dict(enumerate(items)), {}, 1 + sum(item.size for item in items))

    def _refuse_tag(self, event: Any, path: KeyPath) -> None:
        if event.tag is not None:
            self._report(event, path, f"the tag '{event.tag}' is not allowed: files hold data only")

    def _report(self, event: Any, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.label, *_place(event), path_text(path), message))
        if len(self.problems) >= MAX_PROBLEMS:
            raise self._stop(event, f"holds {MAX_PROBLEMS} mistakes: the rest of the file was not read")

    def _stop(self, event: Any, message: str) -> _Unreadable:
        return _Unreadable(Problem(self.label, *_place(event), "", message))


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def resolve_scalar(text: str) -> Any:
    """The value of an unquoted scalar in the YAML 1.2 core schema: `no` is text, 010 is ten."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text, _BASES.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _SPECIAL.fullmatch(text) else text
