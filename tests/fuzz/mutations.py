"""Seeded damage to files of every kind the harness reads: the same mutants on every machine, in every run."""

from __future__ import annotations

import copy
import json
import random
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

HOSTILE_TEXT = (
    *("", " ", "\t", "\x00", "\x1b[31mred\x1b[0m", "a\nb", "a\r\nb", "\u202eabc", "ü", "😀", "\ud800", "x" * 5000),
    *("..", "../../etc/passwd", "/etc/passwd", "/dev/zero", ".", "...", "~", "a/b", "-rf", "--help", "%s%n", "{{7*7}}"),
    *("=1+1", "+1", "-1", "@SUM(A1)", "::error::x", "##vso[task.setvariable]x", "<script>alert(1)</script>"),
    *("|", "`x`", "[x](https://x)", "$(id)", "`id`", "; id", "nan", "inf", "1e999", "null", "true", "https://a/b"),
    *("torch:os:system", "tensorflow:os:system", "a.keras", "a.tflite"),
    *("file:///etc/passwd", "http://a/b.onnx", "**/*", "[", "*" * 50, "?" * 300),
)
HOSTILE_NUMBERS = (
    *(0, -1, 1, 2, 7, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, -0.5, 1e-320, 1e308, -1e308, 1e30, 3.9999999),
)
HOSTILE_VALUES = (*HOSTILE_TEXT, *HOSTILE_NUMBERS, None, True, False, [], {}, [[]], [None], {"a": 1}, [1, 2, 3], [0.5])
YAML_WORDS = (
    *("&a ", "*a", "<<: ", "!!python/object/apply:os.system ", "!!binary ", "? ", "- ", ": ", "{", "}", "[", "]"),
    *(
        "|\n",
        ">\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n---\n",
        "%TAG ! tag:x,2000:\n",
        "#",
        "'",
        '"',
        '"\\x00"',
        '"\\ud800"',
    ),
    *('"\\UFFFFFFFF"', "0x" + "f" * 3999, "9" * 3999, "1e9999", ".inf", ".nan", "~", "\t", "\ufeff", "\u2028", "\x85"),
)


def text(rng: random.Random, source: str, words: Sequence[str] = YAML_WORDS, others: Sequence[str] = ()) -> str:
    """`source` with one to four changes: bytes, words, lines, numbers, spans."""
    made = source
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        made = rng.choice(_TEXT_CHANGES)(rng, made, words, others or (source,))
    return made


def _span(rng: random.Random, length: int) -> tuple[int, int]:
    start = rng.randint(0, length)
    return start, min(length, start + rng.choice((1, 1, 2, 5, 20, 100)))


def _cut(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    start, end = _span(rng, len(made))
    return made[:start] + made[end:]


def _repeat(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    start, end = _span(rng, len(made))
    return made[:end] + made[start:end] * rng.choice((1, 1, 3, 50)) + made[end:]


def _insert(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    at = rng.randint(0, len(made))
    word = rng.choice((rng.choice(words), str(rng.choice(HOSTILE_TEXT)), str(rng.choice(_SHORT_NUMBERS))))
    return made[:at] + word + made[at:]


def _replace_word(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    """Another value where one stands: what lies between two signs of punctuation."""
    ends = [place for place, char in enumerate(made) if char in ":,[]{}\n"]
    if len(ends) < 2:
        return made
    start = rng.randrange(len(ends) - 1)
    value = rng.choice((*HOSTILE_TEXT, *_SHORT_NUMBERS, "null", "[]", "{}", '"quoted"'))
    return f"{made[: ends[start] + 1]} {value}{made[ends[start + 1] :]}"


def _swap_lines(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    lines = made.splitlines(keepends=True)
    if len(lines) < 2:
        return made
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return "".join(lines)


def _indent(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    lines = made.splitlines(keepends=True)
    if not lines:
        return made
    at = rng.randrange(len(lines))
    lines[at] = rng.choice((" " + lines[at], lines[at].removeprefix(" "), "  " + lines[at]))
    return "".join(lines)


def _splice(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    other = rng.choice(others)
    return made[: rng.randint(0, len(made))] + other[rng.randint(0, len(other)) :]


def _character(rng: random.Random, made: str, words: Sequence[str], others: Sequence[str]) -> str:
    if not made:
        return made
    at = rng.randrange(len(made))
    return made[:at] + rng.choice(string.printable) + made[at + 1 :]


_SHORT_NUMBERS = tuple(value for value in HOSTILE_NUMBERS if abs(value) < 10**31)
_TEXT_CHANGES: tuple[Callable[[random.Random, str, Sequence[str], Sequence[str]], str], ...] = (
    *(_cut, _repeat, _insert, _replace_word, _replace_word, _swap_lines, _indent, _splice, _character),
)


def tree(rng: random.Random, source: Any) -> str:
    """JSON text of `source` with one to three values changed, taken away, doubled or nested; or damaged as text."""
    made = copy.deepcopy(source)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(rng, made)
    dumped = json.dumps(made)
    return (
        text(rng, dumped, ("NaN", "Infinity", "-Infinity", "[" * 2000, "1" * 5000, "1e999", "\\u0000"))
        if (rng.random() < 0.15)
        else dumped
    )


def _change(rng: random.Random, made: Any) -> None:
    places = list(_places(made))
    if not places:  # an earlier change left nothing
        return
    owner, key = rng.choice(places)
    what = rng.random()
    if what < 0.2:
        owner[key] = _like(rng, owner[key])
    elif what < 0.6:
        owner[key] = copy.deepcopy(rng.choice(HOSTILE_VALUES))
    elif what < 0.75:
        del owner[key]
    elif what < 0.85:
        other, name = rng.choice(places)
        owner[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
    elif what < 0.9:
        for _ in range(rng.choice((1, 50, 300))):
            owner[key] = [owner[key]]
    elif isinstance(owner, dict):
        owner[str(rng.choice(HOSTILE_TEXT))] = owner.pop(key)
    else:
        owner.extend(copy.deepcopy(owner[-3:]))


def _like(rng: random.Random, value: Any) -> Any:
    """Another value of the same kind, which may well be sound."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float) and abs(value) < 1e300:
        return rng.choice((value + 1, value * 2, value / 2, -value, value * 1000, value / 1000, 1))
    if isinstance(value, str):
        return rng.choice((f"{value}x", value[:-1], value.upper(), f"{value}/{value}", rng.choice(HOSTILE_TEXT)))
    return value if not isinstance(value, list) else value[::-1] + value[:1]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree that holds a value; those near the root more often."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def damaged(rng: random.Random, source: bytes) -> bytes:
    """Bytes with one to six changes."""
    made = bytearray(source)
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randint(0, max(0, len(made) - 1))
        what = rng.random()
        if what < 0.4 and made:
            made[at] ^= 1 << rng.randrange(8)
        elif what < 0.6 and made:
            made[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif what < 0.7:
            made[at:at] = rng.choice((b"\xff" * 10, b"\x00" * 8, b"\x80" * 9 + b"\x01", b"A" * 300))
        elif what < 0.85:
            del made[at : at + rng.choice((1, 2, 8, 64))]
        elif what < 0.95:
            start = rng.randint(0, max(0, len(made) - 1))
            made[at:at] = made[start : start + rng.choice((4, 16, 64))]
        else:
            del made[at:]
    return bytes(made)


def message(rng: random.Random, source: Any) -> Any:
    """A copy of a protobuf message with one to three of its fields, at any depth, set to something else."""
    made = type(source)()
    made.CopyFrom(source)
    for _ in range(rng.randint(1, 3)):
        _change_field(rng, rng.choice(list(_messages(made))))
    return made


def _messages(one: Any) -> Iterator[Any]:
    yield one
    for field, value in one.ListFields():
        if field.message_type is not None:
            for inner in value if _is_repeated(field) else [value]:
                yield from _messages(inner)


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def _change_field(rng: random.Random, one: Any) -> None:
    field = rng.choice(list(one.DESCRIPTOR.fields))
    if field.message_type is not None:
        _change_inner(rng, one, field)
        return
    value = _value(rng, field)
    if not _is_repeated(field):
        setattr(one, field.name, value)
        return
    values = getattr(one, field.name)
    if values and rng.random() < 0.7:
        values[rng.randrange(len(values))] = value
    elif values and rng.random() < 0.5:
        del values[rng.randrange(len(values))]
    else:
        values.extend([value] * rng.choice((1, 2, 100)))


def _change_inner(rng: random.Random, one: Any, field: Any) -> None:
    if not _is_repeated(field):
        if rng.random() < 0.5:
            one.ClearField(field.name)
        else:
            getattr(one, field.name).SetInParent()
        return
    values = getattr(one, field.name)
    if values and rng.random() < 0.5:
        del values[rng.randrange(len(values))]
    elif values:
        values.add().CopyFrom(rng.choice(list(values)))
    else:
        values.add()


def _value(rng: random.Random, field: Any) -> Any:
    if field.enum_type is not None:
        return rng.choice([value.number for value in field.enum_type.values])
    match field.cpp_type:
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            return rng.choice((b"", b"\x00" * 4, b"\xff" * 64, b"EPContext"))
        case field.CPPTYPE_STRING:
            return rng.choice([value for value in HOSTILE_TEXT if "\ud800" not in value] + ["Loop", "If", "EPContext"])
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
        case field.CPPTYPE_INT32 | field.CPPTYPE_UINT32:
            return rng.choice((0, 1, 2, 16, 99, 2**31 - 1))
        case field.CPPTYPE_UINT64:
            return rng.choice((0, 1, 2**40, 2**64 - 1))
    return rng.choice((0, 1, -1, 3, 10, 1000, 2**31, 2**40, 2**62, -(2**63)))
