"""Makes one fault and looks at what became of the run: nothing here knows any fault."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faults.bases import QUIET, Base
from faults.fault import FAULTY, Fault
from faults.place import Place, Process, copy
from harness.codec import encode
from harness.errors import HarnessError, UsageError
from harness.records import Record, Run
from harness.records.fusion import Fused
from harness.report import FILES
from harness.store import read_run

EXIT_USAGE = 2
TIMEOUT_S = 6
"""Of the stages of cases."""


@dataclass(frozen=True)
class Result:
    """What became of a fault; `problems` is what should be otherwise."""

    fault: Fault
    exit: int | None
    resumed: int | None
    seconds: float
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether it ended otherwise than it should; or as it should although it was known not to."""
        return bool(self.problems) != bool(self.fault.known)


def run(fault: Fault, base: Base, folder: Path, sabotage: Sequence[str] = ()) -> Result:
    """Make the fault in a copy of the project. `sabotage` are protections of the harness that are taken away first."""
    began = time.monotonic()
    place = copy(base.place.folder, folder)
    place.inside = inside(fault, place, sabotage)
    with place.cleaning as held:
        problems: list[str] = []
        status = _disturbed(fault, place, held, problems)
        if fault.resume is not None:
            _compare(fault, base, place, problems, whole=False)
        problems += [f"left running: {words}" for words in place.left()]
        if fault.mend is not None:
            try:
                fault.mend(place)
            except OSError as error:
                problems.append(f"the fault cannot be made: {error}")
        resumed = None
        if fault.resume is not None:
            resumed = _resumed(fault, place, problems)
        refused = fault.resume == EXIT_USAGE
        found = _compare(fault, base, place, problems, whole=not refused)
        problems += [f"left on disk: {name}" for name in _left(place)]
        out = place.project / place.out
        wanted = () if refused else ("run.json", *FILES)
        problems += [f"{name} is not there" for name in wanted if not (out / name).exists()]
        if fault.check is not None and found is not None:
            problems += fault.check(place, found)
    if not problems:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(fault, status, resumed, time.monotonic() - began, tuple(problems), tuple(place.notes))


def options(fault: Fault, place: Place) -> list[object]:
    """The command line behind `harness run`."""
    named = [f"{fault.suite}.yaml", "-o", place.out, "--artefacts", "cache", "--timeout", TIMEOUT_S]
    return [*named, *fault.options]


def inside(fault: Fault, place: Place, sabotage: Sequence[str]) -> dict[str, Any]:
    """What the processes of a run are told."""
    told: dict[str, Any] = {"sabotage": list(sabotage)} if sabotage else {}
    if fault.at:
        told["at"] = [{"mark": str(place.reached), **one} for one in fault.at]
    if fault.clock_s:
        told["clock"] = {"mark": str(place.reached), "by_s": fault.clock_s}
    return told


def _disturbed(fault: Fault, place: Place, held: ExitStack, problems: list[str]) -> int | None:
    if fault.script:
        entry = f"{{match: '*/{FAULTY}', crash: {{{fault.script}}}, latency_ms: [1.0, 1.01]}}"
        (place.project / "script.yaml").write_text(QUIET.replace("cases: [", f"cases: [{entry}, "))
    if fault.before is not None and (context := fault.before(place)) is not None:
        held.enter_context(context)
    began = time.monotonic()
    streams = fault.streams() if fault.streams is not None else {}
    process = place.start(options(fault, place), fault.prepare, **streams)
    if fault.during is not None:
        if not _wait_for(place.reached, process, fault.limit_s):
            problems.append("the run never came to the place of the fault")
        else:
            fault.during(place, process)
    status = process.wait(fault.limit_s - (time.monotonic() - began))
    if status is None:
        problems.append(f"took longer than {fault.limit_s:g} s")
    elif status != fault.exit:
        problems.append(f"ended with {status}, not {fault.exit}: {_last(place)}")
    if fault.at and not place.reached.exists():
        problems.append("the run never came to the place of the fault")
    for other in place.others:
        other.wait(fault.limit_s)
    return status


def _resumed(fault: Fault, place: Place, problems: list[str]) -> int | None:
    process = place.start([*options(fault, place), "--resume"])
    status = process.wait(fault.limit_s)
    if status is None:
        problems.append(f"its continuation took longer than {fault.limit_s:g} s")
    elif status != fault.resume:
        problems.append(f"its continuation ended with {status}, not {fault.resume}: {_last(place)}")
    problems += [f"left running by its continuation: {words}" for words in place.left()]
    return status


def _wait_for(file: Path, process: Process, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not file.exists():
        if time.monotonic() > deadline or process.process.poll() is not None:
            return file.exists()
        time.sleep(0.01)
    return True


def _last(place: Place) -> str:
    lines = (place.folder / "log").read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])


def _found(place: Place, problems: list[str], *, must: bool) -> Run | None:
    try:
        return read_run(place.project / place.out, told=lambda _: None)
    except (HarnessError, UsageError) as error:
        if must:
            problems.append(f"there is no run: {error}")
        return None


def _compare(fault: Fault, base: Base, place: Place, problems: list[str], *, whole: bool) -> Run | None:
    """Every record as in the undisturbed run, but that of the faulty case; all of them where the run is whole."""
    found = _found(place, problems, must=whole)
    if found is None:
        return None
    now = {record.case.id: record for record in found.records}
    for record in base.run.records:
        case = record.case.id
        if case not in now:
            problems += [f"{case}: no record"] if whole else []
        elif fault.error is not None and re.search(fault.case, case):
            problems += _other_error(now[case], *fault.error)
        elif whole or now[case].status != "inconclusive":  # that one is not decided yet
            but = fault.but if re.search(fault.case, case) else ()
            found_here = differences(now[case], place.folder, record, base.place.folder)
            problems += [f"{case}: {words}" for name, words in found_here if name not in but]
    problems += [f"{case}: nobody asked for it" for case in now.keys() - {one.case.id for one in base.run.records}]
    if whole and (found.environments, found.commit) != (base.run.environments, base.run.commit):
        problems.append("the run tells another machine")
    return found


def _other_error(record: Record, kind: str, words: str) -> list[str]:
    if record.status != "error" or record.error is None:
        return [f"{record.case.id}: {record.status}, not an error: {record.headline}"]
    if record.error.kind != kind or words not in record.error.message:
        return [f"{record.case.id}: {record.error.kind}: {record.error.message}, not {kind}: {words}"]
    return []


def differences(one: Record, mine: Path, other: Record, theirs: Path) -> list[tuple[str, str]]:
    """The fields in which records of two places differ, apart from times and from what was found in the cache."""
    a, b = (
        {name: json.dumps(encode(value), sort_keys=True).replace(str(folder), "") for name, value in fields.items()}
        for fields, folder in ((vars(timeless(one)), mine), (vars(timeless(other)), theirs))
    )
    return [(name, f"{name} is {a[name]:.200}, not {b[name]:.200}") for name in a if a[name] != b[name]]


def timeless(record: Record) -> Record:
    """A record without what differs from run to run; an engine that is built afresh is another file."""
    attested: Mapping[str, Any] = {name: value for name, value in record.attested.items() if name != "cache"}
    digests = replace(record.digests, engine=None) if record.case.backend == "tensorrt-rtx" else record.digests
    notes = tuple(note for note in record.notes if not note.startswith("cache: "))
    latency = record.latency and replace(record.latency, baseline_digest=None)  # a baseline names the script's place
    fusion = record.fusion and replace(record.fusion, layers=tuple(map(_unnamed, record.fusion.layers)), others_ms=None)
    fixed = replace(record, attested=attested, digests=digests, notes=notes, latency=latency, fusion=fusion)
    return replace(fixed, stages={}, measures={})


def _unnamed(layer: Fused) -> Fused:
    """A layer without its time, and without a name that ONNX Runtime makes up anew each time."""
    return replace(layer, ms=None, name=layer.name if layer.nodes else layer.kind)


def _left(place: Place) -> list[str]:
    """Temporary files: in the folder for such, in the run's, in the cache, and whatever is new in the project."""
    found = [str(path.relative_to(place.folder)) for path in (place.folder / "tmp").rglob("*")]
    out = place.project / place.out
    found += [str(path) for path in (*out.rglob("*.tmp"), *out.rglob(".*"))]
    hidden = (path for path in place.cache.rglob(".*") if not path.name.startswith(".signed-"))
    found += [str(path.relative_to(place.project)) for path in (*hidden, *place.cache.rglob("*.tmp"))]
    return found
