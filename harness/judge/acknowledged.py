"""Applies the reviewed file of known failures to records: what it covers does not block, until it expires."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from harness.judge.duels import REGRESSION
from harness.records import BLOCKING, LONGEST_DAYS, Acknowledgement, KnownFailure, Record, Stale

DECIDED_WELL = frozenset({"passed", "improved", "new"})
"""Statuses of a case that needs no acknowledgement."""


def day_of(started: str) -> date:
    """The day (UTC) on which a run began; one that does not tell is later than everything, so all has expired.

    A time without an offset is one in UTC, whatever the zone of the machine that judges.
    """
    try:
        found = datetime.fromisoformat(started)
        return (found.astimezone(UTC) if found.tzinfo else found).date()
    except (ValueError, OverflowError):
        return date.max


def on_machines(known: Sequence[KnownFailure], machines: Collection[str]) -> list[KnownFailure]:
    """The entries that hold on one of these machine classes."""
    return [one for one in known if not one.machine or one.machine in machines]


def acknowledged(record: Record, known: Sequence[KnownFailure], day: date) -> Record:
    """The record under entries of its machine class, for a run that began on that day.

    What blocks and is covered by an entry becomes `acknowledged`; where none covers it, the headline says why.
    """
    mine = [one for one in known if one.case == record.case.id]
    if record.status not in BLOCKING or not mine:
        return record
    nearest = [one for one in mine if one.status == record.status] or mine
    refused = [_refused(one, record, day) for one in nearest]
    entry = nearest[refused.index("") if "" in refused else 0]
    found = Acknowledgement(entry, record.status, record.headline, "" if "" in refused else refused[0])
    told = f"{entry.reason} ({entry.issue})"
    if found.refused:
        return replace(record, headline=f"{found.refused}: {told}; {record.headline}", acknowledgement=found)
    headline = f"{record.status}, acknowledged until {entry.until}: {told}; {record.headline}"
    return replace(record, status="acknowledged", headline=headline, acknowledgement=found)


def failing(record: Record) -> list[str]:
    """The names of the checks that do not hold, each once; those on its speed among them: it may be slower as well."""
    return list(dict.fromkeys(one.name for one in record.checks if not one.ok))


def _refused(entry: KnownFailure, record: Record, day: date) -> str:
    """Why an entry does not cover a blocking record; empty where it does."""
    if entry.status != record.status:
        return f"acknowledged as {entry.status} only"
    if day > date.fromisoformat(entry.until):
        return f"blocks again, its acknowledgement expired on {entry.until}"
    if (date.fromisoformat(entry.since) - day).days > LONGEST_DAYS:  # a later `since` makes no longer exception
        return f"acknowledged from {entry.since} on only"
    if entry.status == "error" and (record.error is None or record.error.kind != entry.kind):
        return f"acknowledged as error of kind {entry.kind} only"
    if entry.status == "failed":
        return _others(entry, record)
    return _beyond(entry, record)


def _others(entry: KnownFailure, record: Record) -> str:
    """In what a failed case fails that its entry does not name; a case may also fail because nothing was compared."""
    found = failing(record)
    others = [name for name in found if name not in entry.checks] if found else ["a failure of no check"]
    return f"acknowledged for {', '.join(entry.checks)} only, not for {', '.join(others)}" if others else ""


def _beyond(entry: KnownFailure, record: Record) -> str:
    """Why a regressed case is worse than its entry allows."""
    if entry.status != "regressed" or entry.up_to is None:
        return ""
    limit = f"acknowledged up to {100 * entry.up_to:g} % slower"
    others = [one.name for one in record.checks if not one.ok and one.name != REGRESSION]
    if others:
        return f"{limit}, not for {', '.join(others)}"
    slowdowns = [
        one.value / one.baseline - 1 for one in record.checks if one.name == REGRESSION and one.value and one.baseline
    ]
    if not slowdowns:
        return f"{limit}, and how much it is slower is not known"
    return f"{limit}, and it is {100 * max(slowdowns):.4g} %" if max(slowdowns) > entry.up_to else ""


def stale(known: Sequence[KnownFailure], records: Sequence[Record], *, whole: bool) -> list[Stale]:
    """Entries that a run shows to be of no use: their case is fine now, or, in a `whole` run, it is not there.

    Entries of suites that the run does not have say nothing here.
    """
    by_id: Mapping[str, Record] = {record.case.id: record for record in records}
    suites = {record.case.suite for record in records}
    found = []
    for one in known:
        record = by_id.get(one.case)
        if record is not None and record.status in DECIDED_WELL:
            found.append(Stale(one, f"is {record.status} now: remove its acknowledgement"))
        elif record is None and whole and one.case.partition("/")[0] in suites:
            found.append(Stale(one, "is no case of this run: remove its acknowledgement, or mend the id"))
    return found
