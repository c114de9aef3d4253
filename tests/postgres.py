"""A PostgreSQL server of the tests' own, from the system's packages; it listens on a socket in its folder alone."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

USER = "postgres"
_PACKAGED = "/usr/lib/postgresql"


def program(name: str) -> Path | None:
    """A program of the server, from the newest version that is installed."""
    found = sorted(Path(_PACKAGED).glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which(name)
    return found[-1] if found else Path(on_path) if on_path else None


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if not (program("initdb") and program("pg_ctl")):
        return "PostgreSQL is not installed: apt-get install postgresql"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"root cannot run PostgreSQL, and there is no user {USER}" if os.geteuid() == 0 else ""
    return ""


@contextmanager
def served() -> Iterator[str]:
    """The URL of a database on a fresh server, which ends with this."""
    folder = Path(mkdtemp(prefix="harness-pg-", dir="/tmp"))  # names of sockets may have 107 bytes: pytest's are longer
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data, log = folder / "data", folder / "log"
        _call("initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        _call("pg_ctl", "-D", data, "-w", "-l", log, "-o", f"-c listen_addresses='' -k {folder} -F", "start")
        try:
            yield f"postgresql://{USER}@/postgres?host={folder}"
        finally:
            _call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _call(name: str, *arguments: object) -> None:
    """One of its programs; root, as whom it refuses to run, becomes its user."""
    user = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    # a server that inherited a pipe would keep it open
    with Path(os.devnull).open("w") as nothing:
        subprocess.run(
            [str(program(name)), *map(str, arguments)], check=True, stdout=nothing, stderr=nothing, cwd="/", **user
        )
