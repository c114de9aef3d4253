"""Where a store is: the URL of a database, or the file of one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from harness.errors import UsageError
from harness.suitefile import root_above

VARIABLE = "HARNESS_STORE"
FILE = Path("reports", "history.sqlite")
SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_URL = re.compile(r"([A-Za-z][\w+.-]*)://(.*)", re.DOTALL)
SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})
"""Parameters of libpq that are to be seen by nobody."""


def named(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL of `--store`, else of the environment; None where neither names a store.

    UsageError for a password in `--store`: runs and reports keep the command.
    """
    if given and has_password(given):
        raise UsageError(
            f"--store: no password on the command line, which runs and reports keep: put the URL into {VARIABLE}, "
            "or the password into ~/.pgpass"
        )
    text = given or environment.get(VARIABLE)
    return url(text) if text else None


def has_password(text: str) -> bool:
    """Whether a URL holds one: before an `@`, whatever it is made of, or among its parameters."""
    found = _URL.fullmatch(text)
    if found is None:
        return False
    place, _, parameters = found[2].partition("?")
    return re.match(r"[^:/]*:.*@", place, re.DOTALL) is not None or any(
        name in SECRETS for name, _ in parse_qsl(parameters)
    )


def default(root: Path | None) -> str:
    """The URL of the file in the project's reports, where nothing else is named."""
    return url(str((root or root_above(Path.cwd())) / FILE))


def url(text: str) -> str:
    """The URL of a database as SQLAlchemy has it, from a URL or a path; UsageError for another database."""
    found = _URL.fullmatch(text)
    if found is None:
        return f"sqlite:///{Path(text).absolute()}"
    scheme, rest = found.groups()
    if scheme not in SCHEMES:
        known = "sqlite:///FILE, postgresql://USER@HOST/DATABASE"
        raise UsageError(f"--store: '{scheme}' is no database that is known here: give a file, {known}")
    if scheme == "sqlite" and not rest.strip("/"):
        raise UsageError("--store: names no file: give its path, or sqlite:///FILE")
    return f"{SCHEMES[scheme]}://{rest}"
