"""From outcomes to records: judged against the baselines as they come."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from harness import baselines
from harness.baselines import Entry
from harness.errors import HarnessError
from harness.judge import judge, lost_support
from harness.judge.acknowledged import acknowledged, day_of, on_machines, stale
from harness.judge.drift import reference_of
from harness.judge.duels import adjusted, p_values
from harness.judge.latency import Accepted
from harness.judge.slower import naming_layers
from harness.records import (
    ACKNOWLEDGED_FILE,
    DEFAULT_ENVIRONMENT,
    Admission,
    Case,
    Digests,
    Duel,
    Environment,
    KnownFailure,
    Latency,
    Outcome,
    Plan,
    Record,
    Screening,
    Stale,
    Verdict,
)
from harness.runner.digests import file_digest, plan_digest
from harness.runner.duels import Match
from harness.runner.footing import NO_FOOTING, Footing, contestant, footing, versus
from harness.runner.header import timestamp
from harness.suites import known_failures, label

NAMED = ("model", "inputs", "options", "onnxruntime", "tensorrt", "tensorrt_rtx", "driver")
"""What a headline names when it changed since the baseline was accepted."""


GONE = "has an accepted baseline, but the suite no longer makes this case: restore it, or accept the run"
NOT_RUN = "has an accepted baseline, but none of the runs holds it: add the part that measures it, or resume it"


class Judged:
    """Baselines of one machine class, read once a suite file, and the verdicts against them and the known failures."""

    def __init__(
        self,
        folder: Callable[[str], Path],
        environment: Callable[[str], Environment],
        rerun: Sequence[str] = (),
        started: str | None = None,
    ) -> None:
        """`started` is when the run began (default: now): acknowledgements expire by it, however late it is judged."""
        self._folder, self._environment, self._rerun = cache(folder), environment, rerun
        self._entries: dict[tuple[Path, str], dict[str, Entry]] = {}
        self._known = cache(known_failures)
        self._day = day_of(started or timestamp())

    def entries(self, case: Case) -> dict[str, Entry]:
        """What was accepted for the suite of a case on this machine class; `folder` is that of the suite's file."""
        key = (self._folder(case.location.file), case.suite)
        if key not in self._entries:
            self._entries[key] = baselines.read(key[0], self._environment(case.environment).fingerprint, case.suite)
        return self._entries[key]

    def files(self, cases: Iterable[Case]) -> dict[str, str | None]:
        """The files by which cases are judged, by path, to their SHA-256; None for one that is not there.

        These are suites, what was accepted, and what is acknowledged; UsageError tells of one that is damaged.
        """
        found: dict[str, str | None] = {}
        for case in {(case.location.file, case.suite, case.environment): case for case in cases}.values():
            self.entries(case)
            folder = self._folder(case.location.file)
            self._known(folder)
            machine = self._environment(case.environment).fingerprint
            for file in (Path(case.location.file), folder / machine / f"{case.suite}.json", folder / ACKNOWLEDGED_FILE):
                found[label(file)] = file_digest(file)
        return found

    def acknowledged(self, record: Record) -> Record:
        """The record under the known failures of its machine class."""
        known: list[KnownFailure] = self._known(self._folder(record.case.location.file))
        machine = self._environment(record.environment).fingerprint
        return acknowledged(record.as_judged, on_machines(known, [machine]), self._day)

    def stale(self, records: Sequence[Record], *, whole: bool) -> tuple[Stale, ...]:
        """The known failures that these records show to be of no use; `whole` where they are all cases of suites."""
        folders = {self._folder(record.case.location.file) for record in records}
        machines = {self._environment(record.environment).fingerprint for record in records}
        known = [one for folder in sorted(folders) for one in on_machines(self._known(folder), machines)]
        return tuple(stale(known, records, whole=whole))

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
        found = Record(
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
            deviations=outcome.deviations,
            trials=outcome.trials,
            notes=outcome.notes,
            baseline=accepted,
            plan_digest=plan_digest(plan),
            reference=reference_of(plan),
            duel=duel,
            admission=timed.admission,
            why_stored=on.why_stored,
            screening=screening,
            profile=outcome.profile,
            fusion=outcome.fusion,
            baseline_profile=before,
            earlier=outcome.earlier,
        )
        return self.acknowledged(found)

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
            self.acknowledged(_missing(_gone(case_id, case), GONE, entry.latency))
            for _, case in sorted(one.items())
            for case_id, entry in sorted(self.entries(case).items())
            if case_id not in ids and (entry.file in files or not _beside(case, entry.file).exists())
        ]

    def not_run(self, plans: Sequence[Plan]) -> list[Record]:
        """A record for every accepted case among these, of which nobody knows anything."""
        found = ((plan.case, self.entries(plan.case).get(plan.case.id)) for plan in plans)
        lost = [_missing(case, NOT_RUN, entry.latency) for case, entry in found if entry is not None]
        return [self.acknowledged(replace(one, not_run=True)) for one in lost]


def outcome_of(record: Record) -> Outcome:
    """What was measured of a record."""
    return Outcome(
        measurements=record.measurements,
        deviations=record.deviations,
        trials=record.trials,
        latency=record.latency,
        measures=record.measures,
        stages=record.stages,
        attested=record.attested,
        digests=record.digests,
        notes=record.notes,
        error=record.error,
        skipped=record.headline if record.status == "skipped" else None,
        attempts=record.attempts,
        earlier=record.earlier,
        profile=record.profile,
        fusion=record.fusion,
    )


def reproduce(case: Case, options: Sequence[str] = ()) -> str:
    """The command that reruns one case alone, with these options."""
    return shlex.join(["harness", "run", case.location.file, "-k", case.id, *options])


def _beside(case: Case, file: str | None) -> Path:
    """The suite file that made an accepted case, which may be another than the one at hand."""
    return Path(case.location.file).parent / (file or "")


def _gone(case_id: str, other: Case) -> Case:
    """A case that no suite makes any more, beside another one of its suite."""
    model, runs_on, precision, shape = case_id.removeprefix(f"{other.suite}/").rsplit("/", 3)
    backend, _, environment = runs_on.partition("@")
    where = environment or DEFAULT_ENVIRONMENT
    return Case(case_id, other.suite, model, backend, precision, shape, (), other.location, where)


def _missing(case: Case, headline: str, accepted: Latency | None) -> Record:
    return Record(
        case=case, environment=DEFAULT_ENVIRONMENT, status="missing", headline=headline, checks=(), latency=None,
        measures={}, stages={}, attested={}, digests=Digests(), error=None, attempts=0, reproduce=reproduce(case),
        baseline=accepted,
    )  # fmt: skip


def _short_digests(digests: Digests) -> dict[str, str]:
    return {name: value[:12] for name, value in (("model", digests.model), ("inputs", digests.inputs)) if value}
