"""`harness accept`: make measurements of runs the baseline."""

from __future__ import annotations

import argparse
import getpass
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness import baselines, store, suites
from harness.baselines import Entry, Place
from harness.commands.admitted import admitted
from harness.commands.places import baselines_folder, cache_folder
from harness.commands.tidy import tidy
from harness.errors import UsageError
from harness.judge.drift import accuracy_of, between
from harness.records import Admission, Environment, Record, Run
from harness.runner.footing import unchanged
from harness.suitefile import root_above

CANARY = "canary"


@dataclass(frozen=True)
class Part:
    """Records of a run that go into one baseline file."""

    run: Run
    environment: Environment
    place: Place
    records: Sequence[Record]


def accept(asked: argparse.Namespace) -> int:
    """Write the baseline files of the runs' machine classes, oldest run first; cases not named stay as they are.

    Nothing is written before everything is known to be right.
    """
    if not asked.reason.strip():
        raise UsageError("--reason is empty: tell the reviewer why this is right")
    runs = sorted(map(store.read_run, asked.runs), key=lambda run: run.started)
    parts = [part for run in runs for part in _parts(asked, run, _acceptable(run, asked.expression))]
    admissions = _admitted(asked, parts)
    folders = sorted({part.place[0] for part in parts})
    with ExitStack() as held:  # admission took minutes, in which others may have accepted cases
        for folder in folders:
            held.enter_context(baselines.alone(folder))
        before = _read(parts)
        states = _states(asked, parts, admissions, before)
        paths = baselines.write_all(states[-1])
    written = dict(zip(states[-1], paths, strict=True))
    for part, then in zip(parts, states, strict=False):
        print(f"accepted {_counts(part.records)} into {written[part.place]}")
        _tell_drift(then[part.place], part.records)
    for run in runs:
        _tell_left(suites.select(run.records, asked.expression))
    tidy(cache_folder(asked.artefacts), set(folders))
    return 0


def _acceptable(run: Run, expression: str) -> list[Record]:
    """The records that can be a baseline; UsageError where a run has none."""
    records = suites.select(run.records, expression)
    if not records:
        raise UsageError(f"no case of run {run.id} matches -k '{expression}'")
    good = [record for record in records if baselines.acceptable(record)]
    if not good:
        raise UsageError(
            f"nothing of run {run.id} can be accepted: {_counts(records)}; failed and unmeasured cases cannot be a "
            "baseline"
        )
    return good


def _parts(asked: argparse.Namespace, run: Run, records: Sequence[Record]) -> list[Part]:
    found: dict[tuple[str, Place], list[Record]] = {}
    for record in records:
        folder, environment = _folder(asked, record.case.location.file), run.environments[record.environment]
        place = folder, environment.fingerprint, record.case.suite
        found.setdefault((record.environment, place), []).append(record)
    return [Part(run, run.environments[name], place, some) for (name, place), some in found.items()]


def _folder(asked: argparse.Namespace, file: str) -> Path:
    """Where what is accepted of a suite file goes; UsageError where a run alone says that, and nobody here."""
    if not (asked.baselines or asked.root):
        if not Path(file).exists():
            raise UsageError(
                f"{file}: is not here, so the baselines of its root cannot be found: "
                "work in the folder of the run, or name --baselines"
            )
        here = root_above(Path.cwd())
        if not Path(file).parent.resolve().is_relative_to(here):
            raise UsageError(
                f"{file}: lies outside of {here}, and what a run names is not written to by itself: "
                "work in the root of the suite, or name --baselines or --root"
            )
    return baselines_folder(asked.baselines, asked.root, file).resolve()  # links to one folder are one folder


def _admitted(asked: argparse.Namespace, parts: Sequence[Part]) -> list[Mapping[str, Admission | None]]:
    """The admissions of each part, as its cases are accepted after those of the parts before it."""
    found: list[Mapping[str, Admission | None]] = []
    entries = _read(parts)
    for number, part in enumerate(parts, start=1):
        later = {one.case.id for other in parts[number:] if other.place == part.place for one in other.records}
        before = entries[part.place]
        found.append(admitted(asked, part.environment, part.records, before, later))
        entries[part.place] = _with(asked, part, found[-1], before)
    return found


def _read(parts: Sequence[Part]) -> dict[Place, Mapping[str, Entry]]:
    return {place: baselines.read(*place) for place in {part.place: None for part in parts}}


def _states(
    asked: argparse.Namespace,
    parts: Sequence[Part],
    admissions: Sequence[Mapping[str, Admission | None]],
    before: Mapping[Place, Mapping[str, Entry]],
) -> list[Mapping[Place, Mapping[str, Entry]]]:
    """All baselines before each part, and after the last one."""
    found = [before]
    for part, some in zip(parts, admissions, strict=True):
        now = found[-1]
        found.append({**now, part.place: _with(asked, part, some, now[part.place])})
    return found


def _with(
    asked: argparse.Namespace, part: Part, admissions: Mapping[str, Admission | None], before: Mapping[str, Entry]
) -> dict[str, Entry]:
    """What is accepted of a suite once a part is."""
    about = {
        "versions": part.environment.versions,
        "run": part.run.id,
        "commit": part.run.commit,
        "date": part.run.finished,
        "by": asked.by or getpass.getuser(),
        "reason": asked.reason,
    }
    more = [one.case.id for one in part.records if one.case.id in before and _once_more(one, before, part.environment)]
    return baselines.accept(before, part.records, about, admissions, more)


def _tell_left(records: Sequence[Record]) -> None:
    """What is not accepted of a run, and what of that keeps its baseline although it is missing."""
    left = [record for record in records if not baselines.acceptable(record)]
    if left:
        print(f"not accepted: {_counts(left)}")
    if kept := [record.case.id for record in left if record.not_run]:
        print(f"kept as accepted before, because no part of the run holds it: {', '.join(kept)}")


def _once_more(record: Record, before: Mapping[str, Entry], environment: Environment) -> bool:
    """Whether a run is one more of what is accepted, timed beside the same canary."""
    entry = before[record.case.id]
    same_canary = entry.versions.get(CANARY) == environment.versions.get(CANARY)
    return same_canary and unchanged(record, entry, environment)


def _tell_drift(before: Mapping[str, Entry], records: Sequence[Record]) -> None:
    """Errors that grew and are the new measure from now on: small steps, each accepted, make a long way."""
    for record in records:
        entry = before.get(record.case.id)
        found = between(entry.errors, accuracy_of(record), record.case.precision) if entry else []
        for drift in found:
            print(f"accepted with drifted accuracy: {record.case.id} {drift.words()}")


def _counts(records: Sequence[Record]) -> str:
    return ", ".join(f"{count} {status}" for status, count in Counter(record.status for record in records).items())
