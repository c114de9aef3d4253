"""`harness dashboard`: the static site over the runs of a store."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import baselines
from harness.commands.history_add import check
from harness.errors import HarnessError, UsageError
from harness.history import places
from harness.runner.header import git
from harness.suitefile import root_above
from harness.suites.acknowledged import known_failures

if TYPE_CHECKING:
    from sqlalchemy import Connection

_COMMIT = re.compile(r"[0-9a-f]{4,40}")


def dashboard(asked: argparse.Namespace) -> int:
    """Write the site to -o; the store is read, and brought up to date where it is older."""
    check()
    from harness.dashboard import site, state
    from harness.history import database, reading

    root = asked.root or root_above(Path.cwd())
    folder = asked.baselines or root / "baselines"
    url = places.named(asked.store) or places.default(asked.root)
    with database.opened(url) as engine, engine.connect() as connection:
        since_s = _moment(connection, asked.since, root) if asked.since else None
        groups = list(state.collect(connection, since_s, lambda machine, suite: accepted(folder, machine, suite)))
        if not groups:
            raise UsageError(f"{database.place_of(engine)}: holds no run: `harness history add RUN` adds one")
        made = site.Site(
            groups,
            reading.runs(connection),
            reading.versions(connection),
            known_failures(folder),
            asked.since or "",
            datetime.now(UTC).date(),
        )
    written = site.write(made, asked.output)
    print(f"{written} pages over {len(made.runs)} runs: {asked.output / 'index.html'}")
    return 0


def accepted(folder: Path, machine: str, suite: str) -> Mapping[str, Mapping[str, str]]:
    """Case to the runs that were accepted of it, by their ids, with what is known of each."""
    try:
        entries = baselines.read(folder, machine, suite)
    except HarnessError:  # told where it counts
        return {}
    found: dict[str, dict[str, str]] = {}
    for case, entry in entries.items():
        words = dict.fromkeys([*(run[0] for run in entry.past), *(run[0] for run in entry.history[:1])], "accepted")
        found[case] = {**words, entry.run: f"accepted {entry.date[:10]} by {entry.by}: {entry.reason}"[:200]}
    return found


def _moment(connection: Connection, name: str, root: Path) -> int:
    """The last second before which things were as they were: of a day, a run, a release (a tag of git) or a commit."""
    from harness.history import reading

    if (day := _day(name)) is not None:
        return day - 1
    by_id = {run.id: run.started_s for run in reading.runs(connection)}
    if name in by_id:
        return by_id[name]
    tag = git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}")
    commit = tag or (name if _COMMIT.fullmatch(name) else None)
    if commit and (run := reading.latest_of_commit(connection, commit)):
        return run.started_s
    if tag and (written := git(root, "show", "--no-patch", "--format=%ct", tag)):
        return int(written)
    raise UsageError(
        f"--since {name}: is no day (YYYY-MM-DD) and no tag of the repository {root}, and the store has no such run or "
        "commit"
    )


def _day(name: str) -> int | None:
    try:
        day = date.fromisoformat(name)
    except ValueError:
        return None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
