"""Code that is not the harness's: what the command line allows by name runs, in workers too, and nothing else does.

A metric or a factory is allowed by its name, a program or a library by its path. What a suite names is compared with
that; a suite alone makes nothing run.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

VARIABLE = "TRT_HARNESS_ALLOW_CODE"
"""Holds it for the processes that a command starts; what it holds before counts as well. Words as in a shell."""
OPTION = "--allow-code"


def allowed() -> frozenset[str]:
    """Names, and absolute paths of files; UsageError when the variable cannot be read."""
    text = os.environ.get(VARIABLE, "")
    try:
        return frozenset(map(_whole, shlex.split(text)))
    except ValueError as error:
        raise UsageError(f"{VARIABLE}: {text!r:.80} is no list of words as in a shell: {error}") from error


@contextmanager
def allowing(given: Sequence[str]) -> Iterator[None]:
    """Allow these too, here and in every process that is started meanwhile."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = shlex.join(sorted({*allowed(), *map(_whole, given)}))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def names() -> frozenset[str]:
    """The names of metrics among what is allowed."""
    return frozenset(one for one in allowed() if os.sep not in one and ":" not in one)


def permits_name(name: str) -> bool:
    """Whether a factory may run; its name begins with `torch:` or `tensorflow:`, so that no metric passes for one."""
    return name in allowed()


def permits(file: str | Path) -> bool:
    """Whether a program or a library may run; a link is not followed: the name that is allowed is the one that runs."""
    return os.path.abspath(file) in allowed()  # noqa: PTH100 - keeps links


def option(file: str | Path) -> str:
    """The words of a command line that allow a file: relative to the working folder where it lies in it."""
    path = Path(os.path.abspath(file))  # noqa: PTH100 - keeps links
    here = path.is_relative_to(Path.cwd())
    return f"{OPTION} {shlex.quote(f'./{path.relative_to(Path.cwd())}' if here else str(path))}"


def _whole(text: str) -> str:
    """A file is written with a slash, so that none can pass for a metric that is allowed."""
    return os.path.abspath(Path(text).expanduser()) if os.sep in text else text  # noqa: PTH100 - keeps links
