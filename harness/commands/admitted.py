"""Admission of the cases that are accepted: what their launches against themselves tell."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness import artefacts, suites
from harness.backends import RUNTIMES
from harness.baselines import Entry
from harness.commands.places import cache_folder, pythons
from harness.errors import HarnessError
from harness.records import DEFAULT_ENVIRONMENT, Admission, Contestant, Duel, Environment, Plan, Record
from harness.runner.admission import Candidate, admissions
from harness.runner.client import WorkerFailed
from harness.runner.footing import contestant, unchanged, upgraded
from harness.runner.recorder import plan_digest
from harness.runner.runner import DEFAULT_TIMEOUT_S, Bench, Settings


def admitted(
    asked: argparse.Namespace,
    environment: Environment,
    records: Sequence[Record],
    before: Mapping[str, Entry],
    later: Collection[str],
) -> dict[str, Admission | None]:
    """Case id to its admission: the one it has, where nothing that matters changed, or a new one, measured now.

    `later` are the cases whose turn comes with a run that is accepted after this one.
    """
    timed = [record for record in records if record.latency is not None and record.case.backend in RUNTIMES]
    found = {record.case.id: _kept(record, before.get(record.case.id), environment) for record in timed}
    fresh = [record for record in timed if found[record.case.id] is None and record.case.id not in later]
    if not fresh or not asked.launches:
        return found
    settings = Settings(cache_folder(asked.artefacts), DEFAULT_TIMEOUT_S)
    candidates, refused = _candidates(asked, environment, fresh, settings)
    for case, why in refused.items():
        print(f"not admitted: {case}: {why}")
    if candidates:
        print(f"admission: {len(candidates)} cases, {asked.launches} launches each against themselves", flush=True)
    for plan, duel, admission in admissions(candidates, settings, asked.launches):
        found[plan.case.id] = admission
        print(f"{'admitted' if admission else 'not admitted':12s} {plan.case.id}  {_words(duel, admission)}")
    return found


def _kept(record: Record, entry: Entry | None, environment: Environment) -> Admission | None:
    """The admission of an entry whose artefact, options and versions are still the same."""
    return entry.admission if entry is not None and unchanged(record, entry, environment) else None


def _artefact(record: Record) -> Contestant | None:
    return contestant(record.digests, record.attested.get("options"))


def _candidates(
    asked: argparse.Namespace, environment: Environment, records: Sequence[Record], settings: Settings
) -> tuple[list[Candidate], dict[str, str]]:
    """What can be timed here and now, and why others cannot."""
    plans = _plans(asked, records)
    here = _here([plans[record.case.id] for record in records if record.case.id in plans], settings)
    machine = here[DEFAULT_ENVIRONMENT].fingerprint
    candidates: list[Candidate] = []
    refused: dict[str, str] = {}
    for record in records:
        plan, artefact = plans.get(record.case.id), _artefact(record)
        versions = here.get(record.environment, environment).versions
        changed = upgraded(record.case.backend, environment.versions, versions)
        if artefact is None:
            why = "the run does not tell its artefact"
        elif plan is None or plan_digest(plan) != record.plan_digest:
            why = "the suite is not here, or is not what was run"
        elif machine != environment.fingerprint:
            why = f"it was measured on {environment.fingerprint}, this is {machine}"
        elif changed:
            why = f"it was measured with other versions: {changed}"
        elif not artefacts.has(settings.cache, artefact.digest):
            why = f"its artefact {artefact.digest[:12]} is not kept here (--artefacts)"
        else:
            candidates.append(Candidate(plan, artefact))
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
