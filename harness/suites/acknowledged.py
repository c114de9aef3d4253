"""The reviewed file of known failures: read with every mistake at once, and edited without losing a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

from harness import disk
from harness.errors import Problem, SuiteError
from harness.records import ACKNOWLEDGED_FILE, BLOCKING, ERROR_KINDS, LONGEST_DAYS, KnownFailure
from harness.suites.document import Document, KeyPath, parse
from harness.suites.fields import Percent, Strict, Text, known, unique
from harness.suites.find import label, read
from harness.suites.words import translated

EMPTY = "is empty: write 'acknowledged: []', or remove the file"
HEAD = """\
# Cases that are known to block, and may do so until a date. Reviewed like code: see docs/signoff.md.
acknowledged: []
"""


def _case(value: str) -> str:
    if value.count("/") < 4:
        raise ValueError(f"'{value}' is no case id: `harness list` prints them (suite/model/backend/precision/shape)")
    return value


def _day(value: str) -> str:
    try:
        if date.fromisoformat(value).isoformat() == value:
            return value
    except ValueError:
        pass
    raise ValueError(f"'{value}' is no date: write it as 2026-03-31")


Day = Annotated[str, AfterValidator(_day)]


class Entry(Strict):
    """One case that is known to block."""

    case: Annotated[str, AfterValidator(_case)]
    status: Annotated[str, known("blocking status", BLOCKING)]
    reason: Text
    issue: Text
    since: Day
    until: Day
    by: Text = ""
    machine: Text = ""
    kind: Annotated[str, known("kind of error", ERROR_KINDS)] = ""
    checks: Annotated[list[Text], Field(min_length=1), AfterValidator(unique)] | None = None
    up_to: Percent | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if problems := list(self._misfits()):
            raise ValueError("; ".join(problems))
        return self

    def _misfits(self) -> Iterator[str]:
        days = (date.fromisoformat(self.until) - date.fromisoformat(self.since)).days
        if days < 0:
            yield f"until {self.until} is before since {self.since}"
        if days > LONGEST_DAYS:
            yield f"until {self.until} is {days} days after since {self.since}: {LONGEST_DAYS} are the most"
        given = self.model_fields_set
        for status, key, needed in (("error", "kind", True), ("failed", "checks", True), ("regressed", "up_to", False)):
            if self.status == status and needed and key not in given:
                yield f"status {status} needs the key '{key}': without it anything that goes wrong would be accepted"
            if self.status != status and key in given:
                yield f"the key '{key}' goes with status {status} only"


class File(Strict):
    """The whole file."""

    acknowledged: list[Entry]


def known_failures(folder: Path) -> list[KnownFailure]:
    """The entries of a folder of baselines; none without the file. SuiteError lists everything that is wrong in it."""
    path = folder / ACKNOWLEDGED_FILE
    return _entries(read(path), label(path)) if path.exists() else []


def acknowledge(folder: Path, entry: KnownFailure) -> bool:
    """Add an entry to the file of a folder of baselines, or renew the one of the same case, status and machine class.

    Comments and everything else stay. Returns whether one was there; SuiteError where the file is or would be wrong.
    """
    path = folder / ACKNOWLEDGED_FILE
    text = read(path) if path.exists() else HEAD
    before = [_key(vars(one)) for one in _entries(text, label(path))]
    changed = _edited(text, entry)
    _entries(changed, label(path))
    folder.mkdir(parents=True, exist_ok=True)
    disk.replace(path, changed)
    return _key(vars(entry)) in before


def _entries(text: str, name: str) -> list[KnownFailure]:
    document = parse(text, name, EMPTY)
    data = document.root.value if document.root else None
    problems = list(document.problems)
    found: File | None = None
    if document.root and not isinstance(data, dict):
        problems.append(document.problem((), "must be a mapping with 'acknowledged:'"))
    elif isinstance(data, dict):
        try:
            found = File.model_validate(data)
        except ValidationError as error:
            problems += translated(document, error.errors(include_url=False), _keys_at)
        problems += _twins(document, data)
    if problems or found is None:
        raise SuiteError(sorted(problems, key=lambda one: (one.line, one.column)))
    return [_known(document, place, one) for place, one in enumerate(found.acknowledged)]


def _known(document: Document, place: int, entry: Entry) -> KnownFailure:
    values = {name: value for name, value in entry.model_dump().items() if value is not None}
    line, _ = document.position(("acknowledged", place))
    values["checks"] = tuple(values.get("checks", ()))
    return KnownFailure(**values, place=f"{ACKNOWLEDGED_FILE}:{line}")


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry.get("case"), entry.get("status"), entry.get("machine") or ""


def _twins(document: Document, data: Mapping[str, Any]) -> Iterator[Problem]:
    """Entries about the same case, status and machine class."""
    entries = data.get("acknowledged")
    first: dict[str, int] = {}
    for place, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict) or "case" not in entry:
            continue
        before = first.setdefault(repr(_key(entry)), place)
        if before != place:
            line, column = document.position(("acknowledged", before))
            message = f"the case is acknowledged for this status already at {document.label}:{line}:{column}"
            yield document.problem(("acknowledged", place, "case"), message)


def _keys_at(path: KeyPath) -> Iterable[str]:
    return Entry.model_fields if path else File.model_fields


def _edited(text: str, entry: KnownFailure) -> str:
    indented = re.search(r"^acknowledged:[^\n]*\n(?:\s*(?:#[^\n]*)?\n)*- ", text, re.MULTILINE) is None
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4 if indented else 2, offset=2 if indented else 0)
    data = yaml.load(text)
    entries = data["acknowledged"]
    if not entries:
        entries.fa.set_block_style()
    values = _values(entry)
    same = next((one for one in entries if _key(one) == _key(values)), None)
    if same is None:
        entries.append(CommentedMap(values))
    else:
        _renew(same, values)
    written = StringIO()
    yaml.dump(data, written)
    return written.getvalue()


def _renew(entry: CommentedMap, values: Mapping[str, Any]) -> None:
    """Give an entry other values; comments on those that go move behind it, before what stands there already."""
    ends = [
        list(entry)[-1],
        [*(key for key in entry if key in values), *(key for key in values if key not in entry)][-1],
    ]
    behind: list[str] = []
    for key, value in list(entry.items()):
        comments = entry.ca.items.get(key, [])
        if key in values and not (isinstance(value, list) and (key in ends or value != values[key])):
            behind += _lines(getattr(value, "comment", None), entry)  # of text over several lines
            behind += _taken(comments) if key == ends[0] else []
            continue
        behind += [*_lines(comments, entry), *_lines(value, entry)]
        entry.ca.items.pop(key, None)
        if key in values:
            entry[key] = CommentedSeq(values[key])
            entry[key].fa.set_flow_style()  # so that what is put behind it does not stand inside
        else:
            del entry[key]
    entry.update({key: value for key, value in values.items() if entry.get(key) != value})
    if behind:
        _put_behind(entry, behind)


def _lines(found: Any, entry: CommentedMap) -> Iterator[str]:
    """The lines of comments, with those inside of a list; what stood behind a value gets a line of its own."""
    if isinstance(found, CommentToken):
        first, *others = found.value.rstrip("\n").split("\n")
        yield from [" " * entry.lc.col + first.strip(), *others] if first else others
    elif isinstance(found, CommentedSeq):
        yield from _lines([found.ca.items[place] for place in sorted(found.ca.items)], entry)
    elif isinstance(found, list):
        for one in found:
            yield from _lines(one, entry)


def _taken(comments: list[Any]) -> list[str]:
    """The lines of comments that stand behind a key, and are then no more there; what is beside its value stays."""
    if len(comments) < 3 or comments[2] is None:
        return []
    first, *others = comments[2].value.rstrip("\n").split("\n")
    comments[2].value = f"{first}\n"
    return list(others)


def _put_behind(entry: CommentedMap, lines: Sequence[str]) -> None:
    comments = entry.ca.items.setdefault(next(reversed(entry)), [None, None, None, None])
    beside = comments[2].value.rstrip("\n") if comments[2] else ""
    comments[2] = CommentToken("\n".join([beside, *lines, ""]), CommentMark(0), None)


def _values(entry: KnownFailure) -> dict[str, Any]:
    """The keys of an entry that say something, in the order of the file."""
    found = {name: getattr(entry, name) for name in Entry.model_fields}
    found |= {name: date.fromisoformat(found[name]) for name in ("since", "until")}
    found["checks"] = list(entry.checks)
    found["up_to"] = f"{100 * entry.up_to:g}%" if entry.up_to is not None else None
    return {name: value for name, value in found.items() if value}
