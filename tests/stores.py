"""Stores for tests: a fresh one in each database that is here, and runs to put into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

import postgres
from builders import latency, quantiles, record, run
from harness.history import places
from harness.records import Latency, Record, Run

KINDS = ("sqlite", "postgresql")
START = datetime(2026, 3, 1, tzinfo=UTC)
CASE = "vision/digits/tensorrt/fp16/n-64"
MACHINE = "nvidia-l4-x1"
_NUMBERS = count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server; skips where none can be started."""
    if reason := postgres.why_not():
        pytest.skip(reason)
    with postgres.served() as url:
        yield url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be made."""
    if request.param == "sqlite":
        return places.url(str(tmp_path / "deep" / "store.sqlite"))
    return fresh_schema(request.getfixturevalue("server"))


def fresh_schema(server: str) -> str:
    """The URL of a schema of its own."""
    from sqlalchemy import create_engine, text

    name = f"store_{next(_NUMBERS)}"
    engine = create_engine(places.url(server))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return places.url(f"{server}&options={quote(f'-csearch_path={name}')}")


def timed(p10_ms: float, canary_ms: float | None = 0.5) -> Latency:
    """A latency whose p10 and canary are these."""
    return replace(latency(p10_ms), gpu=replace(quantiles(p10_ms), p10_ms=p10_ms), canary_ms=canary_ms)


def nightly(day: int, *records: Record, **changes: object) -> Run:
    """The run of the night of March 1st, or so many days later."""
    begun = START + timedelta(days=day)
    about = {
        "id": f"{begun:%Y%m%d-%H%M%S}-{day:04x}",
        "started": begun.isoformat(),
        "finished": (begun + timedelta(minutes=7)).isoformat(),
        "commit": f"{day:04x}" * 10,
    }
    return replace(run(*(records or (record(),))), **{**about, **changes})
