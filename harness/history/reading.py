"""Gives back what a store holds: runs, the cases of a machine class, and the results of each over time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from harness.history import tables


@dataclass(frozen=True)
class StoredRun:
    """One run, without its results; times in seconds since 1970."""

    id: str
    started_s: int
    finished_s: int
    commit: str | None
    passed: bool
    exit_status: int
    ended: bool
    """False where it was interrupted, or the machine failed before its last case."""


@dataclass(frozen=True)
class Result:
    """One case in one run."""

    run: str
    started_s: int
    commit: str | None
    ended: bool
    environment: int
    status: str
    headline: str
    clock: str | None
    p50_ms: float | None
    p10_ms: float | None
    canary_ms: float | None
    method: str | None
    """Names how it was timed: times with another one are never compared."""
    footing: str
    """Names what the case was made of: model, variant, inputs, options, versions."""
    rmse_rel: float | None = None
    """The largest relative error of its outputs; None in runs that were added before it was kept."""
    material: str | None = None
    """Names the model, the inputs and the reference: errors with another one are never compared."""


@dataclass(frozen=True)
class Series:
    """A case on a machine class; `key` names it in the store."""

    key: int
    machine: str
    case: str
    suite: str


def runs(connection: Connection, last: int | None = None) -> list[StoredRun]:
    """The runs, the newest first; interrupted ones are among them."""
    query = _runs().order_by(tables.runs.c.started_s.desc(), tables.runs.c.key.desc()).limit(last)
    return [StoredRun(*row) for row in connection.execute(query)]


def latest_of_commit(connection: Connection, commit: str) -> StoredRun | None:
    """The newest run of a commit, by its id or the beginning of it."""
    query = _runs().where(func.substr(tables.runs.c.commit_id, 1, len(commit)) == commit)
    row = connection.execute(query.order_by(tables.runs.c.started_s.desc()).limit(1)).first()
    return StoredRun(*row) if row else None


def _runs() -> Select[Any]:
    table = tables.runs.c
    return select(
        table.id, table.started_s, table.finished_s, table.commit_id, table.passed, table.exit_status, table.ended
    )


def series(connection: Connection, machine: str | None = None) -> list[Series]:
    """The cases of all machine classes, or of one, in the order of class, suite and id."""
    table = tables.series.c
    query = select(table.key, table.machine, table.case_id, table.suite)
    query = query if machine is None else query.where(table.machine == machine)
    return [Series(*row) for row in connection.execute(query.order_by(table.machine, table.suite, table.case_id))]


def find(connection: Connection, machine: str, case: str) -> Series | None:
    """A case on a machine class; None where no run has it."""
    table = tables.series.c
    query = select(table.key, table.machine, table.case_id, table.suite)
    row = connection.execute(query.where(table.machine == machine, table.case_id == case)).first()
    return Series(*row) if row else None


def trend(connection: Connection, key: int, *, last: int | None = None, until_s: int | None = None) -> list[Result]:
    """The results of a series, oldest first: the last so many of those that began at a time or before it."""
    found, run = tables.results.c, tables.runs.c
    query = select(
        run.id, found.started_s, run.commit_id, run.ended, found.environment, found.status, found.headline, found.clock,
        found.p50_ms, found.p10_ms, found.canary_ms, found.method, found.footing, found.rmse_rel, found.material,
    ).join(tables.runs, run.key == found.run)  # fmt: skip
    query = query.where(found.series == key)
    if until_s is not None:
        query = query.where(found.started_s <= until_s)
    query = query.order_by(found.started_s.desc(), found.run.desc()).limit(last)
    return [Result(*row) for row in reversed(connection.execute(query).all())]


def versions(connection: Connection) -> dict[int, Mapping[str, str]]:
    """What was installed in each environment, by its key."""
    table = tables.environments.c
    return {key: json.loads(text) for key, text in connection.execute(select(table.key, table.versions))}
