"""What the records of one run take from each other when they are decided again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import Plan, Record, Screening
from harness.runner.recorder import Judged, outcome_of
from harness.runner.screen import of_this_job, screening


def screenings(records: Sequence[Record], plans: Mapping[str, Plan], judged: Judged) -> dict[str, Screening]:
    """By case, what was not timed in turns, against the accepted runs as they are now."""
    found = []
    for record in records:
        if record.duel is not None and record.duel.launches:
            continue
        plan, outcome = plans[record.case.id], outcome_of(record)
        entry, on = judged.entries(plan.case).get(plan.case.id), judged.footing(plan, outcome)
        again, failures = (record.screening.again, record.screening.failures) if record.screening else ((), ())
        asked = screening(plan, outcome, entry, on, again, failures)
        found += [(plan, asked)] if asked is not None else []
    return of_this_job(found)
