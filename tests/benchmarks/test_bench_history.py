"""The store and the dashboard: adding a run, the trend of a case among a million results, all pages of a site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from bench import Tell
from pytest_benchmark.fixture import BenchmarkFixture
from sqlalchemy import Engine, insert, text

from builders import record
from harness.dashboard import site, state
from harness.history import adding, places, reading, tables
from harness.history.database import opened, writing
from harness.store import write_run
from stores import MACHINE, fresh_schema, nightly, timed

CASES = 200
KINDS = ("sqlite", "postgresql")
DAY_S = 86_400

RESULTS = """
INSERT INTO harness_results (series, started_s, run, environment, status, headline, clock, p50_ms, p10_ms, canary_ms,
    method, footing, rmse_rel, material)
SELECT s.key, r.started_s, r.key, 1,
    CASE WHEN (r.key * 31 + s.key * 17) % 101 = 0 THEN 'failed' ELSE 'passed' END,
    'p50 1.234 ms against 1.230 ms (+0.3%, limit +5.0%; intervals [1.233, 1.235] and [1.229, 1.231] ms)', 'gpu',
    1.02 * v.ms, v.ms, 0.5, 'method', 'footing', 0.0001, 'material'
FROM harness_series s CROSS JOIN (
    SELECT key, started_s, 1.0 + (key * 7919 % 1000) / 100000.0 + CASE WHEN key % 500 > 470 THEN 0.06 ELSE 0 END AS ms
    FROM harness_runs
) AS v JOIN harness_runs r ON r.key = v.key
"""
"""Noise of 1 %, a step of 6 % in every case near the end, a hundredth failed."""


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = places.url(str(tmp_path / "store.sqlite"))
    else:
        url = fresh_schema(request.getfixturevalue("server"))
    with opened(url, make=True) as made:
        yield made


def fill(engine: Engine, runs: int, machines: int = 1) -> None:
    """So many runs of 200 cases, those of each machine class in turns with the others'."""
    first = {
        "digest": "d", "finished_s": 9, "commit_id": "abc", "command": "c", "passed": True, "exit_status": 0,
        "ended": True,
    }  # fmt: skip
    with writing(engine) as connection:
        rows = [{**first, "key": n, "id": f"run-{n}", "started_s": n * DAY_S} for n in range(1, runs + 1)]
        connection.execute(insert(tables.runs), rows)
        about = {"key": 1, "digest": "d", "machine": MACHINE, "host": "h", "versions": '{"tensorrt": "10"}'}
        connection.execute(insert(tables.environments), about)
        found = [
            {
                "key": 1 + machine * CASES + n, "machine": f"machine-{machine}", "suite": "vision",
                "case_id": f"vision/model-{n // 10}/tensorrt/fp16/n-{n}",
            }
            for machine in range(machines)
            for n in range(CASES)
        ]  # fmt: skip
        connection.execute(insert(tables.series), found)
        connection.execute(text(f"{RESULTS} WHERE r.key % {machines} = (s.key - 1) / {CASES}"))
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))  # as its daemon does by itself, later


def test_adding_a_run_of_200_cases(benchmark: BenchmarkFixture, tell: Tell, engine: Engine, tmp_path: Path) -> None:
    days = iter(range(1000))

    def run() -> tuple[tuple[object, ...], dict[str, object]]:
        records = [record(f"vision/m{n}/tensorrt/fp16/n-1", latency=timed(1.0)) for n in range(CASES)]
        write_run(nightly(next(days), *records), tmp_path)
        return (), {}

    benchmark.pedantic(lambda: adding.add(engine, *adding.read(tmp_path)), setup=run, rounds=9)
    tell(f"adding a run of {CASES} cases, {engine.dialect.name}", benchmark.stats.stats.data, "s", "< 1 s")
    assert benchmark.stats.stats.min < 2


def test_the_trend_of_a_case_among_a_million_results(benchmark: BenchmarkFixture, tell: Tell, engine: Engine) -> None:
    fill(engine, 5000)

    def trend(last: int | None = None) -> int:
        with engine.connect() as connection:
            found = reading.find(connection, "machine-0", f"vision/model-{CASES // 20}/tensorrt/fp16/n-{CASES // 2}")
            return len(reading.trend(connection, found.key, last=last))

    assert trend(state.DRAWN) == state.DRAWN
    assert benchmark.pedantic(trend, rounds=15, warmup_rounds=2) == 5000
    goal = "< 0.2 s"
    tell(f"trend of 5000 results among 1,000,000, {engine.dialect.name}", benchmark.stats.stats.data, "s", goal)
    assert benchmark.stats.stats.min < 0.4


@pytest.mark.parametrize("machines", [1, 4])
def test_a_site_over_500_runs_of_200_cases(
    benchmark: BenchmarkFixture, tell: Tell, engine: Engine, tmp_path: Path, machines: int
) -> None:
    fill(engine, 500, machines)

    def write() -> None:
        with engine.connect() as connection:
            groups = list(state.collect(connection, 400 * DAY_S))
            runs, versions = reading.runs(connection), reading.versions(connection)
        made = site.Site(groups, runs, versions, (), "then", date(2026, 3, 1))
        site.write(made, tmp_path / "site")

    benchmark.pedantic(write, rounds=3)
    name = f"dashboard of 500 runs x {CASES} cases, {machines} machine classes, {engine.dialect.name}"
    tell(name, benchmark.stats.stats.data, "s", "< 20 s")
    sizes = [path.stat().st_size / 1e6 for path in (tmp_path / "site").rglob("*.html")]
    tell("    its pages", sizes, "MB", "< 1 MB")
    assert max(sizes) < 1
    assert benchmark.stats.stats.min < 40
