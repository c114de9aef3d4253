"""Admission of the cases that are accepted: what their launches against themselves tell."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness import artefacts, suites
from harness.backends import RUNTIMES
from harness.baselines import Entry
from harness.commands.places import cache_folder, pythons
from harness.errors import HarnessError
from harness.judge.latency import decided
from harness.judge.launches import LOOKS, clean, weigh
from harness.records import DEFAULT_ENVIRONMENT, Admission, Contestant, Duel, Environment, Launch, Plan, Record
from harness.runner.admission import Candidate, admissions
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.digests import plan_digest
from harness.runner.duels import Match
from harness.runner.footing import as_measured, contestant, unchanged, upgraded
from harness.runner.settings import DEFAULT_TIMEOUT_S, Settings
from harness.runner.windows import applied
from harness.timing.loop import settings as timing


def admitted(
    asked: argparse.Namespace,
    environment: Environment,
    records: Sequence[Record],
    before: Mapping[str, Entry],
    later: Collection[str],
) -> dict[str, Admission | None]:
    """Case id to its admission: the one it has, where nothing that matters changed, or a new one, measured now.

    One that is too coarse for the limit of its case is measured again, and kept where that cannot be. `later` are the
    cases whose turn comes with a run that is accepted after this one.
    """
    timed = [record for record in records if record.latency is not None and record.case.backend in RUNTIMES]
    found = {record.case.id: _kept(record, before.get(record.case.id), environment) for record in timed}
    plans = _plans(asked, timed) if asked.launches else {}
    fresh = [
        record
        for record in timed
        if record.case.id not in later and not _resolves(plans.get(record.case.id), record, found[record.case.id])
    ]
    if not fresh or not asked.launches:
        return found
    settings = Settings(cache_folder(asked.artefacts), DEFAULT_TIMEOUT_S)
    candidates, refused = _candidates(plans, environment, fresh, settings)
    for case, why in refused.items():
        print(f"not admitted: {case}: {why}")
    if candidates:
        print(f"admission: {len(candidates)} cases, {asked.launches} launches each against themselves", flush=True)
    tell = _progress(len(candidates), asked.launches)
    for plan, duel, admission in admissions(candidates, settings, asked.launches, tell):
        found[plan.case.id] = admission or found[plan.case.id]
        print(f"{'admitted' if admission else 'not admitted':12s} {plan.case.id}  {_words(duel, admission)}")
    return found


def _progress(cases: int, launches: int) -> Callable[[Match, Duel], None]:
    """Tells how far the launches are, each time that there are as many more as cases: all of them may take long."""
    made = disturbed = 0

    def told(_: Match, duel: Duel) -> None:
        nonlocal made, disturbed
        made += 1
        disturbed += not clean(duel)
        if made % cases == 0:
            again = f"; {disturbed} disturbed ones are made again" if disturbed else ""
            print(f"  {made - disturbed} of {cases * launches} launches{again}", flush=True)

    return told


def _kept(record: Record, entry: Entry | None, environment: Environment) -> Admission | None:
    """The admission of an entry whose artefact, options, versions and way of timing are still the same."""
    if entry is None or entry.latency is None or record.latency is None:
        return None
    now, then = record.latency, entry.latency  # longer windows are comparable, but their launches repeat better
    alike = (now.decided_on, dict(now.settings)) == (then.decided_on, dict(then.settings))
    return entry.admission if alike and unchanged(record, entry, environment) else None


def _resolves(plan: Plan | None, record: Record, admission: Admission | None) -> bool:
    """Whether an admission is fine enough for the limit of its case, as far as that is known."""
    if admission is None or plan is None or record.latency is None:
        return admission is not None
    p50_ms = decided(record.latency).p50_ms
    unchanged = Launch(0.0, 0.0, p50_ms, p50_ms, pairs=1, samples=1, first="a")
    found = weigh(Duel((unchanged,) * LOOKS[0], record.latency.decided_on, {}, "itself"), plan.latency, admission)
    return found is None or not found.advisory


def _timed_otherwise(plan: Plan, record: Record) -> bool:
    """Whether the suite now asks for other timing than the record's."""
    if record.latency is None:
        return True
    asked, _ = applied(plan.latency, "cpu" if record.latency.gpu is None else "cuda")
    return dict(timing(asked)) != dict(record.latency.settings)


def _artefact(record: Record) -> Contestant | None:
    return contestant(record.digests, record.attested.get("options"))


def _candidates(
    plans: Mapping[str, Plan], environment: Environment, records: Sequence[Record], settings: Settings
) -> tuple[list[Candidate], dict[str, str]]:
    """What can be timed here and now, and why others cannot; nothing of cases that are timed against each other."""
    records = [one for one in records if one.case.id not in plans or plans[one.case.id].against is None]
    here = _here([plans[record.case.id] for record in records if record.case.id in plans], settings)
    machine = here[DEFAULT_ENVIRONMENT].fingerprint
    candidates: list[Candidate] = []
    refused: dict[str, str] = {}
    for record in records:
        plan, artefact = plans.get(record.case.id), _artefact(record)
        there = here.get(record.environment)
        changed = upgraded(record.case.backend, environment.versions, there.versions if there else {})
        if artefact is None:
            why = "the run does not tell its artefact"
        elif plan is None or plan_digest(plan) != record.plan_digest:
            why = "the suite is not here, or is not what was run"
        elif _timed_otherwise(plan, record):
            why = "the suite's latency settings are not those of the run: run it again"
        elif machine != environment.fingerprint:
            why = f"it was measured on {environment.fingerprint}, this is {machine}"
        elif changed:
            why = f"it was measured with other versions: {changed}"
        elif not artefacts.has(settings.cache, artefact.digest):
            why = f"its artefact {artefact.digest[:12]} is not kept here (--artefacts)"
        else:
            candidates.append(Candidate(as_measured(plan, record.digests), artefact))
            continue
        refused[record.case.id] = why
    return candidates, refused


def _plans(asked: argparse.Namespace, records: Sequence[Record]) -> dict[str, Plan]:
    """The plans of the records as their suites are now; none of a suite that cannot be read."""
    found: dict[str, Plan] = {}
    for file in sorted({record.case.location.file for record in records}):
        try:
            found |= {plan.case.id: plan for plan in suites.load([Path(file)], asked.root, pythons(asked.environments))}
        except HarnessError:
            continue
    return found


def _here(plans: Sequence[Plan], settings: Settings) -> dict[str, Environment]:
    """This machine's environments by name, with the versions of the plans' backends."""
    with Bench(settings) as bench:
        for backend, interpreter in {(plan.case.backend, plan.interpreter) for plan in plans}:
            with suppress(WorkerFailed):  # it has no versions then, which are others than those accepted
                bench.why_not(backend, interpreter)
        return bench.environments()


def _words(duel: Duel, admission: Admission | None) -> str:
    if admission is None:
        reasons = [*duel.failures, *(launch.spoiled for launch in duel.launches if launch.spoiled)]
        return f"too few of its launches are evidence ({'; '.join(reasons[:1])}): what can be seen of it is not known"
    return f"slowdowns from {admission.mde:.2%} are found (launches differ by {admission.sd:.2%})"
