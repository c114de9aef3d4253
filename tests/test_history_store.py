"""The store of runs: the same rules on every database that it can be in."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import func, insert, inspect, select
from sqlalchemy.exc import OperationalError

from builders import environment, record
from harness.errors import HarnessError, UsageError
from harness.history import adding, database, places, reading, steps, tables
from harness.history.database import opened, writing
from harness.records import Digests, Gate
from stores import CASE, MACHINE, nightly, timed

WRITERS, EACH = 8, 4
INTERRUPTED = Gate(passed=False, exit_status=130, counts={"passed": 1})


@contextmanager
def connected(url):
    with opened(url, make=True) as engine, engine.connect() as connection:
        yield engine, connection


def results(url, case=CASE, **asked):
    with connected(url) as (_, connection):
        found = reading.find(connection, MACHINE, case)
        return reading.trend(connection, found.key, **asked) if found else []


def added(url, run, digest="d"):
    with opened(url, make=True) as engine:
        return adding.add(engine, run, digest)


def test_a_run_comes_back_as_it_was_added(url):
    regressed = record(CASE, "regressed", latency=timed(1.3, 0.52), headline="slower")
    run = nightly(0, regressed, record("vision/digits/tensorrt/int8/n-64", "skipped", headline="not here"))

    assert added(url, run) == adding.ADDED

    with connected(url) as (_, connection):
        (stored,) = reading.runs(connection)
        places_ = [(one.machine, one.suite, one.case) for one in reading.series(connection)]
        versions = reading.versions(connection)
    assert (stored.id, stored.commit, stored.passed, stored.exit_status, stored.ended) == (
        run.id, run.commit, False, 1, True,
    )  # fmt: skip
    assert stored.finished_s - stored.started_s == 7 * 60
    assert places_ == [(MACHINE, "vision", CASE), (MACHINE, "vision", "vision/digits/tensorrt/int8/n-64")]
    (found,) = results(url)
    assert (found.run, found.status, found.headline, found.commit) == (run.id, "regressed", "slower", run.commit)
    assert (found.clock, found.p10_ms, found.p50_ms, found.canary_ms) == ("gpu", 1.3, 1.3, 0.52)
    assert versions[found.environment] == {**environment().versions, "driver": "570.86.15"}
    (skipped,) = results(url, "vision/digits/tensorrt/int8/n-64")
    assert (skipped.status, skipped.clock, skipped.p50_ms, skipped.method) == ("skipped", None, None, None)


def test_the_same_run_added_twice_is_there_once(url):
    assert added(url, nightly(0)) == adding.ADDED
    assert added(url, nightly(0)) == adding.KNOWN
    assert len(results(url)) == 1


def test_another_run_of_the_same_id_is_refused_and_what_is_there_stays(url):
    added(url, nightly(0, record(CASE, "passed")), "first")

    with pytest.raises(UsageError, match=r"another run of this id \(digest first, this one second\)"):
        added(url, nightly(0, record(CASE, "failed")), "second")

    assert [one.status for one in results(url)] == ["passed"]


def test_an_interrupted_run_is_marked_and_gives_way_to_what_it_became(url):
    later = "2026-03-01T03:00:00+00:00"
    added(url, nightly(0, gate=INTERRUPTED), "begun")
    assert [one.ended for one in results(url)] == [False]

    whole = nightly(0, record(CASE), record("vision/digits/tensorrt/fp16/n-1"), finished=later)
    assert added(url, whole, "whole") == adding.REPLACED

    assert [one.ended for one in results(url)] == [True]
    assert len(results(url, "vision/digits/tensorrt/fp16/n-1")) == 1
    with pytest.raises(UsageError, match="another run of this id"):
        added(url, nightly(0, gate=INTERRUPTED), "begun")


def test_an_interrupted_run_does_not_give_way_to_an_earlier_state_of_it(url):
    added(url, nightly(0, gate=INTERRUPTED), "far")

    with pytest.raises(UsageError, match="stays as it is"):
        added(url, nightly(0, gate=INTERRUPTED, finished="2026-03-01T00:01:00+00:00"), "less far")


def test_a_run_whose_adding_fails_leaves_nothing(url, monkeypatch):
    added(url, nightly(0))

    def fails(*_):
        raise HarnessError("no room")

    monkeypatch.setattr(adding, "_results", fails)
    with pytest.raises(HarnessError, match="no room"):
        added(url, nightly(1))

    with connected(url) as (_, connection):
        assert [one.id for one in reading.runs(connection)] == [nightly(0).id]


def test_results_come_in_the_order_of_time_however_they_were_added(url):
    for day in (3, 1, 2, 0):
        added(url, nightly(day), str(day))

    ids = [nightly(day).id for day in range(4)]
    assert [one.run for one in results(url)] == ids
    assert [one.run for one in results(url, last=2)] == ids[2:]
    until_s = results(url)[2].started_s
    assert [one.run for one in results(url, last=2, until_s=until_s)] == ids[1:3]
    assert [one.run for one in results(url, until_s=until_s - 1)] == ids[:2]


def test_the_newest_run_of_a_commit_is_found_by_the_beginning_of_its_id(url):
    added(url, nightly(0, commit="abc1" * 10), "0")
    added(url, nightly(1, commit="abc1" * 10), "1")
    added(url, nightly(2, commit="abd1" * 10), "2")

    with connected(url) as (_, connection):
        assert reading.latest_of_commit(connection, "abc").id == nightly(1).id
        assert reading.latest_of_commit(connection, "abx") is None
        assert reading.latest_of_commit(connection, "_bc") is None


def test_the_footing_changes_with_model_options_and_versions_and_not_with_the_build(url):
    def footing(day, one=None, **changes):
        added(url, nightly(day, one or record(CASE), **changes), str(day))
        return results(url, last=1)[0].footing

    digests = record(CASE).digests
    same = footing(0)
    assert footing(1, record(CASE, digests=replace(digests, engine="ff" * 32))) == same
    newer = environment(versions={"tensorrt": "10.14.0"})
    others = [
        footing(2, record(CASE, digests=replace(digests, model="ff" * 32))),
        footing(3, record(CASE, digests=Digests())),
        footing(4, record(CASE, attested={"options": {"threads": 2}})),
        footing(5, environments={"main": newer}),
    ]
    assert len({same, *others}) == 5


def test_times_of_another_method_are_told_apart_and_longer_windows_are_not(url):
    def method(day, **settings):
        one = timed(1.0)
        one = replace(one, settings={**one.settings, **settings})
        added(url, nightly(day, record(CASE, latency=one)), str(day))
        return results(url, last=1)[0].method

    assert method(0) == method(1, min_time_s=9.0)
    assert method(0) != method(2, flush_l2=True)


def test_text_that_no_database_takes_is_kept_without_what_cannot_be_seen(url):
    odd = record("vision/di\x00gi\ud800ts/tensorrt/fp16/n-64", headline="a\x00b\ud800" + "c" * 1000)

    added(url, nightly(0, odd, command="x\x00y"))

    (found,) = results(url)
    assert found.headline.startswith("abccc")
    assert len(found.headline) == adding.HEADLINE


def test_a_time_that_is_none_is_not_kept(url):
    added(url, nightly(0, record(CASE, latency=timed(float("nan"), float("inf")))))

    assert (results(url)[0].p10_ms, results(url)[0].canary_ms) == (None, None)


def test_a_run_without_a_time_is_refused(url):
    with pytest.raises(UsageError, match="'yesterday' is no time"):
        added(url, nightly(0, started="yesterday"))


def test_new_cases_are_added_in_one_order_so_that_writers_never_wait_for_each_other_in_a_ring(url):
    added(url, nightly(0, *(record(f"vision/{name}/tensorrt/fp16/n-1") for name in "cabd")))

    with connected(url) as (_, connection):
        found = connection.scalars(select(tables.series.c.case_id).order_by(tables.series.c.key))
        assert [one.split("/")[1] for one in found] == list("abcd")


def test_who_writes_a_file_has_it_from_the_beginning(tmp_path, monkeypatch):
    """Else two that upgrade it at once read the same version, and one of them fails."""
    monkeypatch.setattr(database, "BUSY_MS", 20)
    with opened(places.url(str(tmp_path / "s.sqlite")), make=True) as engine, writing(engine):
        with pytest.raises(OperationalError, match="locked"), writing(engine):
            pass
        with engine.connect() as reader:  # and readers do not wait
            assert reading.runs(reader) == []


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from builders import record
from harness.history import adding
from harness.history.database import opened
from stores import nightly
url, number, rounds = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()  # all begin at once
for one in range(rounds):
    records = [record(f"vision/m{one}-{i}/tensorrt/fp16/n-1") for i in range(20)]
    with opened(url, make=True) as engine:
        adding.add(engine, nightly(number * 100 + one, *records[:: 1 if number % 2 else -1]), "own")
        adding.add(engine, nightly(0x900 + one, *records), "of all")
"""


@pytest.mark.alone  # eight processes at once
def test_eight_concurrent_writers_make_one_store_and_lose_nothing(url):
    """Each adds runs of its own, and the same runs as the others, into a store that none has made before.

    Each round has new cases, which the writers know in different orders.
    """
    tests = str(Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tests, url, str(number), str(EACH)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(WRITERS)
    ]  # fmt: skip
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * WRITERS
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [(writer.communicate()[1], writer.returncode) for writer in writers]
    assert errors == [("", 0)] * WRITERS

    with connected(url) as (_, connection):
        assert len(reading.runs(connection)) == WRITERS * EACH + EACH
        assert len(reading.series(connection)) == EACH * 20
        assert connection.scalar(select(func.count()).select_from(tables.results)) == (WRITERS + 1) * EACH * 20
        assert connection.scalar(select(func.count()).select_from(tables.version)) == len(steps.STEPS)


def test_a_writer_goes_on_while_another_makes_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_MS", 1)
    engine = database._engine(f"sqlite:///{tmp_path / 'store.sqlite'}", make=True)
    with closing(sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        database._write_ahead(engine)

    database.upgrade(engine, database.NEWEST)


def of_version(url, version):
    """A store as the harness of an earlier version made it, with a run in it; gives the columns of each table."""
    engine = database._engine(url, make=True)
    database.upgrade(engine, version)
    found = {name: [one["name"] for one in inspect(engine).get_columns(name)] for name in tables.metadata.tables}
    rows = {
        "harness_runs": {
            "key": 1, "id": "old", "digest": "d", "started_s": 5, "finished_s": 9, "commit_id": None, "command": "c",
            "shard": None, "passed": True, "exit_status": 0, "ended": True,
        },
        "harness_environments": {"key": 1, "digest": "d", "machine": MACHINE, "host": "h", "versions": "{}"},
        "harness_series": {"key": 1, "machine": MACHINE, "case_id": CASE, "suite": "vision"},
        "harness_results": {
            "series": 1, "started_s": 5, "run": 1, "environment": 1, "status": "passed", "headline": "h",
            "clock": "gpu", "p50_ms": 1.5, "p10_ms": 1.25, "canary_ms": None, "method": "m", "footing": "f",
        },
    }  # fmt: skip
    with writing(engine) as connection:
        for name, row in rows.items():
            connection.execute(insert(tables.metadata.tables[name]).values(row))
    engine.dispose()
    return found


def test_a_store_of_the_first_version_is_brought_up_to_date_and_keeps_what_it_has(url):
    of_version(url, 1)

    (old,) = results(url)
    assert (old.run, old.status, old.p50_ms, old.p10_ms) == ("old", "passed", 1.5, 1.25)
    with connected(url) as (engine, connection):
        assert connection.scalar(select(func.max(tables.version.c.version))) == database.NEWEST
        for name, table in tables.metadata.tables.items():
            columns = {one["name"]: one["nullable"] for one in inspect(engine).get_columns(name)}
            expected = {one.name: one.nullable for one in table.columns}
            assert columns.keys() == expected.keys(), name
            assert {**columns, "key": None} == {**expected, "key": None}  # SQLite calls its keys nullable


def test_a_store_of_a_newer_version_is_refused_and_left_alone(url):
    added(url, nightly(0))
    with opened(url) as engine, writing(engine) as connection:
        connection.execute(insert(tables.version), {"version": database.NEWEST + 1})

    with pytest.raises(UsageError, match=rf"of version {database.NEWEST + 1}.*upgrade the harness"):
        added(url, nightly(1))


def test_reading_makes_no_store(url):
    with pytest.raises(UsageError, match=r"there is no store: `harness history add RUN` makes one"), opened(url):
        pass
    assert "sqlite" not in url or not Path(url.removeprefix("sqlite:///")).exists()


def test_a_file_that_is_no_database_and_a_server_that_is_not_there_are_one_error_each(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a database, by far" * 100)

    with pytest.raises(UsageError, match="file is not a database"):
        added(places.url(str(file)), nightly(0))
    with pytest.raises(HarnessError, match=r"postgresql\+psycopg://me:\*\*\*@.*refused|No such file"):
        added(places.url(f"postgresql://me:secret@/x?host={tmp_path}"), nightly(0))
    assert file.read_text().startswith("not a database")


@pytest.mark.parametrize("name", ["odd?name", "a%41b", "a#b c", ":memory:"])
def test_the_file_of_a_store_is_named_as_it_stands(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for text in (name, f"sqlite:///{name}"):
        added(places.url(text), nightly(0))
        assert [one.name for one in tmp_path.iterdir() if not one.name.endswith(("-wal", "-shm"))] == [name]
    assert len(results(places.url(name))) == 1


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1900-01-01", "today"])
def test_a_run_of_no_time_that_calendars_know_is_refused(url, moment):
    with pytest.raises(UsageError, match="is no time"):
        added(url, nightly(0, started=moment))


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "text", [f"postgresql://me:{SECRET}@h/d", f"postgresql://me:{SECRET}/x@h/d", f"postgresql://me:{SECRET}@[::1/d",
             f"postgresql://h/d?password={SECRET}", f"postgresql://h/d?user=me&pass%77ord={SECRET}"]
)  # fmt: skip
def test_no_password_stands_on_the_command_line_however_it_is_written(text):
    with pytest.raises(UsageError, match="no password on the command line"):
        places.named(text)


@pytest.mark.parametrize(
    "text", [f"postgresql://me:{SECRET}@127.0.0.1:1/d", f"postgresql://127.0.0.1:1/d?user=me&password={SECRET}",
             f"postgresql://me:{SECRET}@127.0.0.1:{SECRET}/d", f"postgresql://me:{SECRET}@[::1/d"]
)  # fmt: skip
def test_no_message_holds_the_password_of_the_environments_url(text):
    with pytest.raises(HarnessError) as told:
        added(places.named(None, {places.VARIABLE: text}), nightly(0))
    assert SECRET not in str(told.value)


def test_a_database_that_has_our_table_and_is_not_ours_is_refused(tmp_path):
    with closing(sqlite3.connect(tmp_path / "s")) as other, other:
        other.execute("CREATE TABLE harness_version (version TEXT)")
        other.execute("INSERT INTO harness_version VALUES ('one')")

    with pytest.raises(UsageError, match="is a database of something else"):
        added(places.url(str(tmp_path / "s")), nightly(0))


READ = """
import sys
from harness.history import database, places, reading
with database.opened(places.url(sys.argv[1])) as engine, engine.connect() as connection:
    print(len(reading.runs(connection)))
"""


def test_a_store_on_a_disk_that_takes_nothing_is_read(tmp_path):
    folder = tmp_path / "read only%3F"
    added(places.url(str(folder / "s")), nightly(0))
    drop = "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"
    unprivileged = [] if os.geteuid() else ["setpriv", *drop]
    if unprivileged and shutil.which("setpriv") is None:
        pytest.skip("root writes everywhere: needs setpriv")
    (folder / "s").chmod(0o444)
    folder.chmod(0o555)

    command = [*unprivileged, sys.executable, "-c", READ, str(folder / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    folder.chmod(0o755)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///"])
def test_a_url_without_a_file_is_refused(text):
    with pytest.raises(UsageError, match="names no file"):
        places.url(text)


def test_a_place_is_a_file_or_the_url_of_a_known_database(monkeypatch):
    assert places.url("/a/b.sqlite") == "sqlite:////a/b.sqlite"
    assert places.url("postgres://u@h/d") == places.url("postgresql://u@h/d") == "postgresql+psycopg://u@h/d"
    assert places.named("/a", {places.VARIABLE: "/b"}) == "sqlite:////a"
    assert places.named(None, {places.VARIABLE: "postgresql://u:p@h/d"}) == "postgresql+psycopg://u:p@h/d"
    assert places.named(None, {}) is None
    with pytest.raises(UsageError, match="'mysql' is no database that is known here"):
        places.url("mysql://h/d")
    with pytest.raises(UsageError, match="no password on the command line"):
        places.named("postgresql://u:p@h/d")
