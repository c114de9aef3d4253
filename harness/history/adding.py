"""Takes a run into a store: once, whole, and beside others that do the same."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from harness import store
from harness.codec import compact
from harness.errors import UsageError
from harness.foreign import plain, visible
from harness.history import tables
from harness.history.database import writing
from harness.history.unstable import footing, short
from harness.judge.gate import ended_early
from harness.judge.latency import HOW_LONG, decided
from harness.records import Environment, Latency, Record, Run

ADDED, KNOWN, REPLACED = "added", "already there", "added again, further than it was"
LATEST_S = 250_000_000_000
"""In the year 9892: beyond it calendars end."""
HEADLINE = 300
"""Characters of a headline that are kept."""
BATCH = 500
"""Values that one statement names."""


def read(path: Path) -> tuple[Run, str]:
    """A run and the SHA-256 of its `run.json`; of a run that has only a journal, of what that tells."""
    run = store.read_run(path)
    file = path / store.RUN_FILE if path.is_dir() else path
    data = file.read_bytes() if file.is_file() else compact(run).encode()
    return run, sha256(data).hexdigest()


def add(engine: Engine, run: Run, digest: str) -> str:
    """Add a run; says whether it was added, known, or put in the place of its earlier, unfinished state.

    UsageError where another run of the same id is there.
    """
    about = _about(run, digest)
    with writing(engine) as connection:
        key = connection.scalar(
            _insert(connection, tables.runs).values(about).on_conflict_do_nothing().returning(tables.runs.c.key)
        )
        word = ADDED
        if key is None:
            known = connection.execute(select(tables.runs).where(tables.runs.c.id == about["id"])).one()
            if known.digest == digest:
                return KNOWN
            if known.ended or known.finished_s > about["finished_s"]:
                raise UsageError(
                    f"run {run.id}: the store has another run of this id (digest {known.digest[:12]}, this one "
                    f"{digest[:12]}); what is there stays as it is"
                )
            key, word = known.key, REPLACED
            connection.execute(delete(tables.results).where(tables.results.c.run == key))
            connection.execute(update(tables.runs).where(tables.runs.c.key == key).values(about))
        if rows := _results(connection, run, key, about["started_s"]):
            connection.execute(insert(tables.results), rows)
    return word


def _about(run: Run, digest: str) -> dict[str, Any]:
    return {
        "id": visible(run.id),
        "digest": digest,
        "started_s": _epoch_s(run, run.started),
        "finished_s": _epoch_s(run, run.finished),
        "commit_id": run.commit and visible(run.commit),
        "command": visible(run.command),
        "shard": run.shard and visible(run.shard),
        "passed": run.gate.passed,
        "exit_status": run.gate.exit_status,
        "ended": ended_early(run) is None and not run.lacking,
    }


def _epoch_s(run: Run, moment: str) -> int:
    """Seconds since 1970; UsageError for a run that does not tell its time."""
    try:
        found = datetime.fromisoformat(moment)
        found_s = int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
        if not 0 <= found_s < LATEST_S:
            raise ValueError("outside of what days can be told of")
    except (ValueError, OverflowError) as error:
        raise UsageError(f"run {run.id}: '{moment}' is no time: it cannot be put in order with others") from error
    return found_s


def _results(connection: Connection, run: Run, key: int, started_s: int) -> list[dict[str, Any]]:
    machines = {name: one.fingerprint for name, one in run.environments.items()}
    places = _environments(connection, run.environments)
    of_case = {(machines[one.environment], visible(one.case.id)): one for one in run.records}
    lines = _series(connection, of_case)
    return [
        {
            "series": lines[place],
            "started_s": started_s,
            "run": key,
            "environment": places[record.environment],
            "status": record.status,
            "headline": plain(record.headline, HEADLINE),
            **_times(record.latency),
            "footing": footing(record, run.environments[record.environment]),
            "rmse_rel": _error(record),
            "material": short([record.digests.model, record.digests.inputs, record.reference]),
        }
        for place, record in sorted(of_case.items())
    ]


def _times(latency: Latency | None) -> dict[str, Any]:
    if latency is None:
        return dict.fromkeys(("clock", "p50_ms", "p10_ms", "canary_ms", "method"))
    found = decided(latency)
    settings = {name: value for name, value in latency.settings.items() if name not in HOW_LONG}
    return {
        "clock": visible(latency.decided_on),
        "p50_ms": _time(found.p50_ms),
        "p10_ms": _time(found.p10_ms),
        "canary_ms": _time(latency.canary_ms),
        "method": short([latency.decided_on, settings]),
    }


def _time(value_ms: float | None) -> float | None:
    """A time; None for what is none."""
    return value_ms if value_ms is not None and 0 < value_ms < math.inf else None


def _error(record: Record) -> float | None:
    """The largest relative error of its outputs; None where there is none, or one is not known."""
    found = [one.value for one in record.measurements if one.metric == "rmse_rel"]
    if not found or any(value is None or not 0 <= value < math.inf for value in found):
        return None
    return max(value for value in found if value is not None)


def _environments(connection: Connection, found: Mapping[str, Environment]) -> dict[str, int]:
    """The keys of environments, by their names in the run; new ones are added."""
    rows = {name: _environment(one) for name, one in found.items()}
    table = tables.environments
    digests = sorted({row["digest"] for row in rows.values()})
    query = select(table.c.digest, table.c.key).where(table.c.digest.in_(digests))
    known = {digest for digest, _ in connection.execute(query)}
    new = {row["digest"]: row for row in rows.values() if row["digest"] not in known}
    _insert_new(connection, table, [new[digest] for digest in sorted(new)])
    keys = {row.digest: row.key for row in connection.execute(query)}
    return {name: keys[row["digest"]] for name, row in rows.items()}


def _environment(one: Environment) -> dict[str, str]:
    versions = {visible(name): visible(version) for name, version in one.versions.items()}
    versions |= {"driver": ", ".join(sorted({visible(gpu.driver) for gpu in one.gpus}))} if one.gpus else {}
    about = {"machine": one.fingerprint, "host": visible(one.host), "versions": json.dumps(versions, sort_keys=True)}
    return {"digest": short(about), **about}


def _series(connection: Connection, of_case: Mapping[tuple[str, str], Record]) -> dict[tuple[str, str], int]:
    """The keys of cases on machine classes; new ones are added, in one order, so that writers never wait in a ring."""
    known = _known_series(connection, of_case)
    new = [
        {"machine": machine, "case_id": case, "suite": of_case[machine, case].case.suite}
        for machine, case in sorted(of_case.keys() - known.keys())
    ]
    _insert_new(connection, tables.series, new)
    return {**known, **_known_series(connection, [(row["machine"], row["case_id"]) for row in new])}


def _known_series(connection: Connection, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    table = tables.series
    by_machine: dict[str, list[str]] = {}
    for machine, case in places:
        by_machine.setdefault(machine, []).append(case)
    return {
        (machine, case): key
        for machine, cases in by_machine.items()
        for first in range(0, len(cases), BATCH)
        for case, key in connection.execute(
            select(table.c.case_id, table.c.key).where(
                table.c.machine == machine, table.c.case_id.in_(cases[first : first + BATCH])
            )
        )
    }


def _insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows that another writer may be adding at the same time."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
