"""Opens a store: makes it on first use, brings it up to date, and tells what a database says as one error."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from harness.errors import HarnessError, UsageError
from harness.history import places, tables
from harness.history.steps import STEPS, statements

NEWEST = len(STEPS)
BUSY_MS = 60_000
"""A writer waits so long for the others."""
CONNECT_S = 10
LOCK = 0x74727468
"""Names the upgrade among PostgreSQL's advisory locks."""
_WRITES = "harness_writes"
_SQLITE = "sqlite:///"


@contextmanager
def opened(url: str, *, make: bool = False) -> Iterator[Engine]:
    """A store of the newest version; UsageError where there is none, unless `make`, or where it is newer than this.

    What the database says meanwhile becomes a HarnessError that names the store, without its password.
    """
    try:
        engine = _engine(url, make=make)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UsageError(f"--store: {error}") from error
    except ValueError as error:  # its words may hold a part of the password
        raise UsageError("--store: the URL cannot be read: its port is a number, and odd characters are %XX") from error
    place = place_of(engine)
    try:
        _bring_up_to_date(engine, place, make=make)
        yield engine
    except SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        wrong = isinstance(error, DatabaseError) and not isinstance(error, OperationalError)
        raise (UsageError if wrong else HarnessError)(f"{place}: {words}") from error
    finally:
        engine.dispose()


def place_of(engine: Engine) -> str:
    """Where a store is, without passwords."""
    if engine.dialect.name == "sqlite":
        return unquote((engine.url.database or "").removeprefix("file:"))
    return engine.url.difference_update_query(places.SECRETS).render_as_string(hide_password=True)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes, whole or not at all."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def _engine(url: str, *, make: bool) -> Engine:
    if not url.startswith(_SQLITE):
        return create_engine(make_url(url), poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    file = Path(url.removeprefix(_SQLITE)).absolute()  # as it stands: names of files hold ? and % too
    if make:
        file.parent.mkdir(parents=True, exist_ok=True)
    elif not file.is_file():
        raise UsageError(f"{file}: there is no store: `harness history add RUN` makes one")
    engine = create_engine(_sqlite(file, make=make), poolclass=NullPool)
    event.listen(engine, "connect", _plain_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _sqlite(file: Path, *, make: bool) -> URL:
    """The URL of a file; where nobody can write beside it, it is read as it stands: a journal could not be made."""
    fixed = not make and not os.access(file.parent, os.W_OK) and not Path(f"{file}-wal").exists()
    about = {"uri": "true", "mode": "ro", "immutable": "1"} if fixed else {"uri": "true"}
    return URL.create("sqlite", database=f"file:{quote(str(file))}", query=about)


def _plain_sqlite(connection: Any, _: object) -> None:
    """The driver begins no transaction of its own: it would take the lock for writing too late, and fail then."""
    connection.isolation_level = None
    for pragma in (f"busy_timeout = {BUSY_MS}", "foreign_keys = ON", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _bring_up_to_date(engine: Engine, place: str, *, make: bool) -> None:
    version = _version(engine)
    if version == 0 and not make:
        raise UsageError(f"{place}: there is no store: `harness history add RUN` makes one")
    if version > NEWEST:
        raise UsageError(
            f"{place}: is a store of version {version}, and this harness knows only those up to {NEWEST}: "
            "upgrade the harness"
        )
    if version < NEWEST:
        upgrade(engine, NEWEST)


def _version(engine: Engine) -> int:
    """The version of a store; 0 where there is none yet."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(tables.version.name):
            return 0
        found = connection.scalar(select(func.max(tables.version.c.version))) or 0
    if not isinstance(found, int):
        raise UsageError(f"{place_of(engine)}: is a database of something else: its table harness_version is not ours")
    return found


def upgrade(engine: Engine, newest: int) -> None:
    """Take the steps that a store lacks, all or none; of several writers one takes them."""
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS harness_version (version INTEGER NOT NULL)")
        known = connection.scalar(select(func.max(tables.version.c.version))) or 0
        for number in range(known + 1, newest + 1):
            for statement in statements(number, engine.dialect.name):
                connection.exec_driver_sql(statement)
            connection.execute(insert(tables.version), {"version": number})


def _write_ahead(engine: Engine) -> None:
    """Readers and writers of the file do not wait for each other; where that cannot be had they do."""
    with engine.connect() as connection, suppress(sqlite3.OperationalError):  # another makes the store at this moment
        raw = connection.connection.dbapi_connection
        if raw is not None:
            raw.execute("PRAGMA journal_mode = WAL")
