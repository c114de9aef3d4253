"""The interpreters of a suite: where each is on this machine, and against which its cases are timed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.allowed import option, permits
from harness.errors import Problem, did_you_mean
from harness.records import DEFAULT_ENVIRONMENT, Interpreter
from harness.suites.document import Document, KeyPath
from harness.suites.entries import EnvironmentEntry, SuiteEntry
from harness.suites.places import Places

OWN = f"'{DEFAULT_ENVIRONMENT}' is the interpreter that runs the harness"


def interpreter(folder: Path, text: str) -> str:
    """The absolute path of an interpreter named from a folder; ValueError says why it is none.

    A link stays a link: that of a virtual environment is what makes it one.
    """
    try:
        path = Path(os.path.abspath(folder / Path(text).expanduser()))  # noqa: PTH100 - keeps links
    except RuntimeError as error:
        raise ValueError(f"'{text}': {error}") from error
    if path.is_dir():
        raise ValueError(f"'{text}' is a folder: name the interpreter in it, such as {text.rstrip('/')}/bin/python")
    if not path.exists():
        raise ValueError(f"no such interpreter: '{text}'; --environment NAME=PYTHON names another on this machine")
    if not os.access(path, os.X_OK):
        raise ValueError(f"'{text}' is no program that can be run: name a Python, such as env/bin/python")
    return str(path)


def interpreters(suite: SuiteEntry, places: Places) -> dict[str, Interpreter]:
    """Every environment of a suite by name, the harness's own among them; one that is not here has no path."""
    found = {DEFAULT_ENVIRONMENT: Interpreter()}
    for name, entry in suite.environments.items():
        if name != DEFAULT_ENVIRONMENT:
            found[name] = Interpreter(name, places.pythons.get(name) or _path(entry, places))
    return found


def _path(entry: EnvironmentEntry, places: Places) -> str | None:
    try:
        return _allowed(places, entry.python) if entry.python else None
    except ValueError:
        return None


def _allowed(places: Places, text: str) -> str:
    """The interpreter that a suite names; ValueError also where the command line does not allow it."""
    path = interpreter(places.folder, text)
    if not permits(path):
        raise ValueError(
            f"'{text}' is a program, which runs only where the command line allows it: {option(path)}, "
            "or --environment NAME=PYTHON"
        )
    return path


def wrong(suite: SuiteEntry, document: Document, places: Places) -> Iterator[Problem]:
    """Interpreters that are not there, and environments to compare with that do not exist."""
    known = names(document)
    for name, entry in suite.environments.items():
        path: KeyPath = ("environments", name)
        try:
            if name == DEFAULT_ENVIRONMENT and entry.python:
                raise ValueError(f"{OWN}: it has no path")
            if entry.python and name not in places.pythons:
                _allowed(places, entry.python)
        except ValueError as error:
            yield document.problem((*path, "python"), str(error))
        if entry.against == name:
            yield document.problem((*path, "against"), f"'{name}' cannot be compared with itself")
        elif entry.against is not None and entry.against not in known:
            words = f"unknown environment '{entry.against}'{did_you_mean(entry.against, known)}"
            yield document.problem((*path, "against"), words)


def unknown(known: frozenset[str], value: str) -> str | None:
    """Why `backend@environment` names no environment of the file; None where it does, or names none at all.

    `known` are the `names` of the file.
    """
    _, mark, name = value.partition("@")
    if not mark:
        return None
    if name == DEFAULT_ENVIRONMENT:
        return f"{OWN}: leave '@{name}' out"
    if name in known:
        return None
    others = known - {DEFAULT_ENVIRONMENT}
    return f"unknown environment '{name}'{did_you_mean(name, others) or '; the suite has no environments'}"


def names(document: Document) -> frozenset[str]:
    """What the file calls environments, whether they are right or not."""
    data: Any = document.root.value if document.root else None
    told = data.get("environments") if isinstance(data, Mapping) else None
    return frozenset({DEFAULT_ENVIRONMENT, *(told if isinstance(told, Mapping) else ())})
