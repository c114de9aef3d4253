"""From outcomes to records: judged against the baselines as they come, written to the journal, summed up at the end."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from harness import baselines
from harness.baselines import Entry
from harness.codec import encode
from harness.errors import HarnessError
from harness.judge import judge, lost_support
from harness.judge.drift import reference_of
from harness.judge.duels import adjusted, p_values
from harness.judge.gate import gate
from harness.judge.latency import Accepted
from harness.judge.slower import naming_layers
from harness.records import (
    DEFAULT_ENVIRONMENT,
    SCHEMA,
    Admission,
    Case,
    Digests,
    Duel,
    Environment,
    Latency,
    Location,
    Outcome,
    Plan,
    Record,
    Run,
    Screening,
    Verdict,
)
from harness.runner.duels import Match
from harness.runner.footing import NO_FOOTING, Footing, contestant, footing, versus

NAMED = ("model", "inputs", "options", "onnxruntime", "tensorrt", "tensorrt_rtx", "driver")
"""What a headline names when it changed since the baseline was accepted."""


def new_run_id(now: datetime) -> str:
    """An id that sorts by time and does not repeat."""
    return f"{now:%Y%m%d-%H%M%S}-{token_hex(2)}"


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Header:
    """What a run says about itself before anything is measured."""

    id: str
    started: str
    command: str
    commit: str | None


def header(command: Sequence[str], folder: Path) -> Header:
    """The header of a run that begins now; the commit is that of the repository around `folder`."""
    return Header(new_run_id(datetime.now(UTC)), timestamp(), shlex.join(command), commit_of(folder))


def commit_of(folder: Path) -> str | None:
    """The commit checked out around a folder; None outside of a repository or without git."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],  # noqa: S607 - git of the user's own PATH
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


class Judged:
    """Baselines of one machine class, read once a suite file, and the verdicts against them."""

    def __init__(
        self, folder: Callable[[str], Path], environment: Callable[[str], Environment], rerun: Sequence[str] = ()
    ) -> None:
        self._folder, self._environment, self._rerun = folder, environment, rerun
        self._entries: dict[tuple[Path, str], dict[str, Entry]] = {}

    def entries(self, case: Case) -> dict[str, Entry]:
        """What was accepted for the suite of a case on this machine class; `folder` is that of the suite's file."""
        key = (self._folder(case.location.file), case.suite)
        if key not in self._entries:
            self._entries[key] = baselines.read(key[0], self._environment(case.environment).fingerprint, case.suite)
        return self._entries[key]

    def _elsewhere(self, case: Case) -> str:
        """The other machine classes on which a case is accepted, in words; empty for none."""
        folder, here = self._folder(case.location.file), self._environment(case.environment).fingerprint
        found = []
        for name in baselines.classes(folder, case.suite):
            with suppress(HarnessError):  # what is damaged is told where it counts
                key = folder / name, case.suite
                if key not in self._entries:
                    self._entries[key] = baselines.read(folder, name, case.suite)
                found += [name] if name != here and case.id in self._entries[key] else []
        if not found:
            return ""
        return f"; accepted on {', '.join(found)} only, this is {here}: machine classes are never compared"

    def footing(self, plan: Plan, outcome: Outcome, artefacts: Path | None = None) -> Footing:
        """How the latency of a measured case can be compared; `artefacts` is where artefacts are kept, if anywhere."""
        if plan.against is not None:
            return NO_FOOTING
        environment = self._environment(plan.case.environment)
        return footing(plan, outcome, self.entries(plan.case).get(plan.case.id), environment, artefacts)

    def match(self, plan: Plan, on: Footing) -> Match:
        """What is to be timed in turns, for a footing that allows it."""
        if on.a is None or on.b is None:
            raise HarnessError(f"{plan.case.id}: has no accepted artefact to be timed in turns with")
        if on.other is not None:
            return Match(plan, on.a, on.b, None, f"environment {on.other.case.environment}", other=on.other)
        return Match(plan, on.a, on.b, self._admission(plan), f"accepted artefact {on.a.digest[:12]}")

    def _admission(self, plan: Plan) -> Admission | None:
        """What is known of launches against the accepted artefact; two processes differ by more."""
        entry = self.entries(plan.case).get(plan.case.id)
        if entry is None or entry.latency is None or plan.against is not None:
            return None
        # shorter launches repeat worse than those that were admitted
        shorter = plan.latency.min_time_s < entry.latency.settings.get("min_time_s", 0.0)
        return None if shorter else entry.admission

    def _versus(self, plan: Plan) -> str:
        """What the case is compared with other than what was accepted for it; empty where it is not."""
        if plan.against is None:
            return ""
        here, there = (self._environment(name) for name in (plan.case.environment, plan.against.name))
        return versus(plan.case.backend, plan.against.name, here, there)

    def p_values(self, plans: Iterable[Plan], duels: Mapping[str, Duel]) -> Mapping[str, Mapping[str, float]]:
        """The p-values of duels that are decided together, adjusted for their number."""
        raw = {}
        for plan in plans:
            duel = duels.get(plan.case.id)
            if duel is not None and duel.launches and not self._outdated(plan, duel):
                raw[plan.case.id] = p_values(duel, plan.latency, self._admission(plan))
        return adjusted(raw)

    def _outdated(self, plan: Plan, duel: Duel | None) -> bool:
        """Whether launches say nothing about what is accepted now: their side a is not it."""
        entry = self.entries(plan.case).get(plan.case.id)
        if plan.against is not None or entry is None or duel is None:
            return False
        return duel.a is None or duel.a != contestant(entry.digests, entry.options)

    def record(
        self,
        plan: Plan,
        outcome: Outcome,
        on: Footing = NO_FOOTING,
        duel: Duel | None = None,
        p: Mapping[str, float] = MappingProxyType({}),
        screening: Screening | None = None,
    ) -> Record:
        """The record of one measured case; `p` are the duel's p-values, adjusted for all duels of the run."""
        entry = self.entries(plan.case).get(plan.case.id)
        accepted, versus = entry.latency if entry else None, self._versus(plan)
        timed = Accepted(
            accepted, duel, self._admission(plan), p, on.same, on.why_stored, versus, screening,
            outdated=self._outdated(plan, duel),
        )  # fmt: skip
        before = entry.profile if entry and plan.against is None else None
        verdict = self._verdict(plan, outcome, entry, timed)
        latency = outcome.latency
        if latency is not None and entry is not None:
            latency = replace(latency, baseline_digest=entry.digest())
        return Record(
            case=plan.case,
            environment=plan.case.environment,
            status=verdict.status,
            headline=verdict.headline,
            checks=verdict.checks,
            latency=latency,
            measures=outcome.measures,
            stages=outcome.stages,
            attested=outcome.attested,
            digests=outcome.digests,
            error=lost_support(outcome, known=entry is not None) if verdict.status == "error" else None,
            attempts=outcome.attempts,
            reproduce=reproduce(plan.case, self._rerun),
            measurements=outcome.measurements,
            notes=outcome.notes,
            baseline=accepted,
            plan_digest=plan_digest(plan),
            reference=reference_of(plan),
            duel=duel,
            admission=timed.admission,
            why_stored=on.why_stored,
            screening=screening,
            profile=outcome.profile,
            baseline_profile=before,
            earlier=outcome.earlier,
        )

    def _verdict(self, plan: Plan, outcome: Outcome, entry: Entry | None, timed: Accepted) -> Verdict:
        """The judge's verdict, its headline with what slowed, where else it is accepted, and what changed since."""
        errors = entry.errors if entry else None
        verdict = judge(plan, outcome, known=entry is not None, accepted=errors, timed=timed)
        verdict = naming_layers(verdict, entry.profile if entry and plan.against is None else None, outcome.profile)
        if entry is None and verdict.status == "new":
            return replace(verdict, headline=verdict.headline + self._elsewhere(plan.case))
        changed = self._changed(plan.case, entry, outcome)
        told = f" [since the baseline: {'; '.join(changed)}]" if changed else ""
        return replace(verdict, headline=verdict.headline + told)

    def _changed(self, case: Case, entry: Entry | None, outcome: Outcome) -> list[str]:
        """What is not as it was when the baseline was accepted: upgrades are exactly what is compared."""
        if entry is None:
            return []
        now = {**self._environment(case.environment).versions, **_short_digests(outcome.digests)}
        then = {**entry.versions, **_short_digests(entry.digests)}
        if entry.options is not None:
            options = outcome.attested.get("options", {}), entry.options
            now["options"], then["options"] = (str(dict(sorted(some.items()))) for some in options)
        return [
            f"{name} {then[name]} -> {now[name]}"
            for name in NAMED
            if name in then and name in now and then[name] != now[name]
        ]

    def missing(self, plans: Sequence[Plan]) -> list[Record]:
        """A record for every accepted case of these suites that no plan makes any more."""
        ids = {plan.case.id for plan in plans}
        files = {Path(plan.case.location.file).name for plan in plans}
        one = {(plan.case.suite, self._folder(plan.case.location.file)): plan.case for plan in reversed(plans)}
        return [
            _missing(case_id, case.suite, case.location, entry.latency)
            for _, case in sorted(one.items())
            for case_id, entry in sorted(self.entries(case).items())
            if case_id not in ids and (entry.file in files or not _beside(case, entry.file).exists())
        ]


def finish(
    head: Header,
    environments: Mapping[str, Environment],
    records: Sequence[Record],
    fail_on: Sequence[str] = (),
    exit_status: int | None = None,
) -> Run:
    """The run as it is stored; `exit_status` overrides the gate's, for a run that was interrupted."""
    decided = gate(records, fail_on)
    if exit_status is not None:
        decided = replace(decided, passed=False, exit_status=exit_status)
    return Run(
        schema=SCHEMA,
        id=head.id,
        started=head.started,
        finished=timestamp(),
        command=head.command,
        commit=head.commit,
        gate=decided,
        environments=environments,
        records=tuple(records),
    )


def reproduce(case: Case, options: Sequence[str] = ()) -> str:
    """The command that reruns one case alone, with these options."""
    return shlex.join(["harness", "run", case.location.file, "-k", case.id, *options])


def _beside(case: Case, file: str | None) -> Path:
    """The suite file that made an accepted case, which may be another than the one at hand."""
    return Path(case.location.file).parent / (file or "")


def plan_digest(plan: Plan) -> str:
    """SHA-256 of what was measured rather than judged; stored measurements hold for plans with the same one.

    Files count by their place beside the suite, so that a run can be judged again in another checkout.
    """
    task = plan.task and replace(plan.task, min=None, max_drop=None)
    suite = Path(plan.case.location.file).absolute().parent
    parts = (
        replace(plan.source, sha256=None),
        plan.profile,
        _ranges(plan),
        plan.fuzzed,
        plan.files,
        plan.dimensions,
        plan.inputs,
        plan.calibration,
        plan.reference,
        task,
        plan.options,
        replace(plan.fidelity, slack=1.0, required=False),
        plan.builds,
        *([plan.against.name] if plan.against else []),
    )
    text = json.dumps([_beside_suite(encode(part), suite) for part in parts], sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _ranges(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """Smallest, last and largest size of every dimension without a profile of the suite's: the engine's range."""
    sizes: dict[str, list[int]] = {}
    for shape in plan.shapes:
        for dim in shape.keys() - (plan.profile or {}).keys():
            sizes.setdefault(dim, []).append(shape[dim])
    return {dim: (min(found), found[-1], max(found)) for dim, found in sizes.items()}


def _beside_suite(value: Any, suite: Path) -> Any:
    if isinstance(value, dict):
        return {key: _beside_suite(item, suite) for key, item in value.items()}
    if isinstance(value, list):
        return [_beside_suite(item, suite) for item in value]
    return os.path.relpath(value, suite) if isinstance(value, str) and value.startswith("/") else value


def _missing(case_id: str, suite: str, location: Location, accepted: Latency | None) -> Record:
    model, runs_on, precision, shape = case_id.removeprefix(f"{suite}/").rsplit("/", 3)
    backend, _, environment = runs_on.partition("@")
    where = environment or DEFAULT_ENVIRONMENT
    case = Case(case_id, suite, model, backend, precision, shape, (), location, where)
    headline = "has an accepted baseline, but the suite no longer makes this case: restore it, or accept the run"
    return Record(
        case=case, environment=DEFAULT_ENVIRONMENT, status="missing", headline=headline, checks=(), latency=None,
        measures={}, stages={}, attested={}, digests=Digests(), error=None, attempts=0, reproduce=reproduce(case),
        baseline=accepted,
    )  # fmt: skip


def _short_digests(digests: Digests) -> dict[str, str]:
    return {name: value[:12] for name, value in (("model", digests.model), ("inputs", digests.inputs)) if value}
