"""Accepted results as reviewable text: `<baselines>/<fingerprint>/<suite>.json`, sorted, one case a line."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from glob import escape
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness import disk
from harness.codec import decode, encode, parsed
from harness.errors import HarnessError, UsageError
from harness.judge.drift import Accuracy, values_of
from harness.judge.latency import decided, incomparable
from harness.judge.launches import LOOKS
from harness.judge.screen import KEPT
from harness.records import Admission, Digests, Latency, Profile, Record
from harness.records.profiles import BASELINE, shortened

SCHEMA = "harness.baseline/1"
ACCEPTABLE = frozenset({"passed", "new", "improved", "regressed", "inconclusive"})
"""Statuses whose measurements can be accepted."""
DIGITS = 5
PASTS = 30
"""Artefacts of the past that an entry remembers, so that small losses can be summed."""

Ran = tuple[str, float, float | None]
Earlier = tuple[str, float, float | None, int]


@dataclass(frozen=True)
class Entry:
    """What was accepted for one case."""

    latency: Latency | None
    accuracy: Mapping[str, Mapping[str, float | None]]
    """Output to metric to value."""
    digests: Digests
    versions: Mapping[str, str]
    run: str
    commit: str | None
    date: str
    by: str
    reason: str
    measures: Mapping[str, float | None] = field(default_factory=dict)
    file: str | None = None
    """Name of the suite file that made the case: files may share a suite, each misses only its own cases."""
    options: Mapping[str, Any] | None = None
    """Options of the backend; None in entries that are older than their recording."""
    admission: Admission | None = None
    """What can be seen of its speed on this machine class."""
    reference: str | None = None
    """What the errors are against; None in entries that are older than its recording."""
    profile: Profile | None = None
    """Where the time went: the slowest layers; None where the run did not tell."""
    history: tuple[Ran, ...] = ()
    """Run, p10 and the canary's p10 in ms of every accepted run of this very artefact, oldest first."""
    past: tuple[Earlier, ...] = ()
    """The same of what was accepted before it: of each the run in the middle, and how many there were."""
    seconds: float | None = None
    """What all stages of the case took together; None in entries that are older than its recording."""
    timed: str | None = None
    """The run of `latency` where this run was not timed and the artefact is another since then."""

    @property
    def errors(self) -> Accuracy:
        """The errors, with what tells whether others can be compared with them."""
        return Accuracy(self.accuracy, self.digests, self.reference)

    def digest(self) -> str:
        """SHA-256 that names this accepted result."""
        return sha256(json.dumps(encode(self), sort_keys=True).encode()).hexdigest()


def read(folder: Path, fingerprint: str, suite: str) -> dict[str, Entry]:
    """Case id to what was accepted for it on this machine class; empty when nothing was; UsageError when damaged."""
    path = folder / fingerprint / f"{suite}.json"
    if not path.exists():
        return {}
    try:
        return _entries(path.read_text(encoding="utf-8"), fingerprint, suite)
    except (OSError, *WRONG) as error:
        raise UsageError(f"{path}: not a baseline: {error}; restore it from version control") from error


WRONG = (ValueError, TypeError, KeyError, AttributeError)
"""What a text that is no baseline raises."""


def _entries(text: str, fingerprint: str, suite: str) -> dict[str, Entry]:
    data = parsed(text)
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema is {data.get('schema')!r}, expected {SCHEMA!r}")
    if (data["fingerprint"], data["suite"]) != (fingerprint, suite):
        raise ValueError(f"it says that it is of {data['fingerprint']}, suite {data['suite']}")
    return {_case_of(suite, case): _sound(case, decode(Entry, entry)) for case, entry in data["cases"].items()}


def seconds(folder: Path, suite: str) -> dict[str, float]:
    """Case id to the most seconds that it took on any machine class; every machine reads the same here."""
    found: dict[str, float] = {}
    for name in classes(folder, suite):
        with suppress(HarnessError):  # what is damaged is told where it counts
            for case, entry in read(folder, name, suite).items():
                if entry.seconds is not None:
                    found[case] = max(entry.seconds, found.get(case, 0.0))
    return found


def classes(folder: Path, suite: str) -> list[str]:
    """The machine classes on which something was accepted for a suite."""
    return sorted(path.parent.name for path in folder.glob(f"*/{escape(suite)}.json"))


def _case_of(suite: str, case: str) -> str:
    if not case.startswith(f"{suite}/") or case.count("/") < 4:
        raise ValueError(f"'{case}' is no case id of suite {suite}")
    return case


def _sound(case: str, entry: Entry) -> Entry:
    """The entry itself; ValueError where its numbers are none that could have been measured."""
    one = entry.admission
    if one is not None and not (0 <= one.sd < 1 and one.launches >= LOOKS[0] and 0 <= one.mde < math.inf):
        raise ValueError(f"{case}: no launches differ like that: {one}")
    for quantiles in (entry.latency.host, entry.latency.gpu) if entry.latency else ():
        if quantiles is not None and not quantiles.sound:
            raise ValueError(f"{case}: its latency holds what is no time: {quantiles}")
    if entry.seconds is not None and not 0 <= entry.seconds < math.inf:
        raise ValueError(f"{case}: took {entry.seconds} seconds, which is no time")
    beside = [entry.latency.canary_ms] if entry.latency else []
    for _, p10_ms, canary_ms in (*entry.history, *(run[:3] for run in entry.past)):
        beside += [p10_ms, canary_ms]
    if any(run[3] < 1 for run in entry.past):
        raise ValueError(f"{case}: its past counts {entry.past}")
    if any(ms is not None and not 0 < ms < math.inf for ms in beside):
        raise ValueError(f"{case}: its history or its canary holds what is no time: {beside}")
    return entry


Place = tuple[Path, str, str]
"""Of a baseline: folder, machine class, suite."""


def write(folder: Path, fingerprint: str, suite: str, entries: Mapping[str, Entry]) -> Path:
    """Write one suite's baseline as `write_all` does; returns its path."""
    (path,) = write_all({(folder, fingerprint, suite): entries})
    return path


def write_all(files: Mapping[Place, Mapping[str, Entry]]) -> list[Path]:
    """Write baselines, all of them or none; their paths. UsageError for an entry that could not be read again."""
    paths = [folder / fingerprint / f"{suite}.json" for folder, fingerprint, suite in files]
    texts = dict(zip(paths, (_text(place, entries) for place, entries in files.items()), strict=True))
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.settle(path.parent.parent)
    disk.write(texts)
    return paths


def _text(place: Place, entries: Mapping[str, Entry]) -> str:
    _, fingerprint, suite = place
    lines = [f"  {json.dumps(case)}: {_line(entries[case])}" for case in sorted(entries)]
    head = f'{{\n"schema": "{SCHEMA}",\n"fingerprint": {json.dumps(fingerprint)},\n"suite": {json.dumps(suite)},\n'
    text = head + '"cases": {\n' + ",\n".join(lines) + "\n}\n}\n"
    try:
        _entries(text, fingerprint, suite)
    except WRONG as error:
        raise UsageError(f"cannot be a baseline: {error}; nothing was written") from error
    return text


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others of this machine from changing a folder of baselines; where locks are unknown, nobody is kept out."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def accept(
    entries: Mapping[str, Entry],
    records: Sequence[Record],
    about: Mapping[str, Any],
    admissions: Mapping[str, Admission | None] = MappingProxyType({}),
    unchanged: Collection[str] = (),
) -> dict[str, Entry]:
    """The entries after accepting these records: measured ones replace, others stay.

    Removed is what the suite does not make any more; what no part of a run holds stays. `unchanged` are the cases whose
    artefact, options, inputs and versions are the accepted ones: a run more of them.
    """
    changed = dict(entries)
    for record in records:
        case, same = record.case.id, record.case.id in unchanged
        if record.status == "missing":
            if not record.not_run:
                changed.pop(case, None)
            continue
        before = changed.get(case)
        history, past = _grown(record.latency, about["run"], before, unchanged=same)
        entry = replace(_entry(record, about), admission=admissions.get(case), history=history, past=past)
        changed[case] = entry if before is None or entry.latency else _timed_before(entry, before, unchanged=same)
    return changed


def acceptable(record: Record) -> bool:
    """Whether accepting a record changes what is accepted."""
    return record.status in ACCEPTABLE or (record.status == "missing" and not record.not_run)


def _timed_before(entry: Entry, before: Entry, *, unchanged: bool) -> Entry:
    """An entry of a run without times, with those that are known."""
    if unchanged:
        return replace(entry, latency=before.latency, timed=before.timed, admission=before.admission)
    return replace(entry, latency=before.latency, timed=before.timed or before.run if before.latency else None)


def _grown(
    latency: Latency | None, run: str, before: Entry | None, *, unchanged: bool
) -> tuple[tuple[Ran, ...], tuple[Earlier, ...]]:
    """The runs of the accepted artefact with one more, and the artefacts before it."""
    p10_ms = decided(latency).p10_ms if latency else None
    now = [(run, p10_ms, latency.canary_ms or None)] if latency and p10_ms else []
    if before is None:
        return tuple(now), ()
    theirs = before.latency
    if not unchanged or (latency and theirs and (before.timed or incomparable(latency, theirs))):
        return tuple(now), (*before.past, *_middle(before.history))[-PASTS:]
    if run in {one[0] for one in before.history}:  # it is accepted a second time
        return before.history, before.past
    later = [one for one in before.history if now and _began(one[0]) > _began(run) > ""]
    return (*before.history[: len(before.history) - len(later)], *now, *later)[-KEPT:], before.past


def _began(run: str) -> str:
    """When a run began, as its id tells it; empty where it does not."""
    return run[:15] if re.match(r"\d{8}-\d{6}", run) else ""


def _middle(runs: Sequence[Ran]) -> tuple[Earlier, ...]:
    """The run that stands for all of them; nothing of none."""
    if not runs:
        return ()
    steady = all(canary_ms for _, _, canary_ms in runs)
    ordered = sorted(runs, key=lambda one: one[1] / one[2] if steady and one[2] else one[1])
    return ((*ordered[(len(ordered) - 1) // 2], len(runs)),)


def _entry(record: Record, about: Mapping[str, Any]) -> Entry:
    return Entry(
        record.latency and _bare(record.latency),
        values_of(record.measurements),
        record.digests,
        measures=record.measures,
        file=Path(record.case.location.file).name,
        options=record.attested.get("options"),
        reference=record.reference,
        profile=shortened(record.profile, BASELINE) if record.profile and record.profile.layers else None,
        seconds=math.fsum(record.stages.values()) if record.stages else None,
        **about,
    )


def _bare(latency: Latency) -> Latency:
    """A latency without its spread, by which nothing is decided, and without a canary that took no time."""
    gpu = latency.gpu and replace(latency.gpu, spread=None)
    return replace(latency, host=replace(latency.host, spread=None), gpu=gpu, canary_ms=latency.canary_ms or None)


def _line(entry: Entry) -> str:
    data = _rounded(encode(entry))
    for clock in ("host", "gpu"):
        if data["latency"] and data["latency"][clock]:
            del data["latency"][clock]["spread"]
    if data["profile"]:
        data["profile"]["layers"] = [_lean(layer) for layer in data["profile"]["layers"]]
    return json.dumps(data, sort_keys=True)


def _lean(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer without what can be worked out, and without what it does not have."""
    return {key: value for key, value in layer.items() if key != "share" and (value or key in ("name", "kind", "ms"))}


def _rounded(value: Any) -> Any:
    """Numbers with five significant digits: a readable diff, and finer than any decision."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
