"""Where a command reads and writes by default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError, did_you_mean
from harness.records import DEFAULT_ENVIRONMENT, STATUSES
from harness.suitefile import root_above
from harness.suites import interpreter


def baselines_folder(given: Path | None, root: Path | None, suite_file: str) -> Path:
    """`--baselines`, else `<root>/baselines`."""
    return given or (root or root_above(Path(suite_file).parent)) / "baselines"


def root_of(given: Path | None, suite_file: str) -> Path:
    """`--root`, else the project around the suite; links resolved."""
    return given.resolve() if given else root_above(Path(suite_file).absolute().parent)


def cache_folder(given: Path | None) -> Path:
    """`--artefacts`, else the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = given or base / "trt-harness"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be made: {error.strerror}; choose another folder with --artefacts"
        ) from error
    return folder.absolute()


def check_model(model: Path) -> None:
    """UsageError unless it is a file."""
    if model.is_dir():
        raise UsageError(f"{model}: is a folder: name the .onnx file in it")
    if not model.is_file():
        near = did_you_mean(model.name, [one.name for one in model.parent.glob("*.onnx")])
        raise UsageError(f"{model}: there is no such file{near}")


def pythons(given: Sequence[str]) -> dict[str, str]:
    """Environment to interpreter, as `--environment NAME=PYTHON` gives them; UsageError says what is wrong."""
    found = {}
    for text in given:
        name, mark, path = text.partition("=")
        if not (name and mark and path):
            raise UsageError(f"--environment '{text}': give a name and a path, NAME=PYTHON")
        if name == DEFAULT_ENVIRONMENT:
            raise UsageError(f"--environment {name}: is the interpreter that runs the harness: it has no path")
        try:
            found[name] = interpreter(Path.cwd(), path)
        except ValueError as error:
            raise UsageError(f"--environment {name}: {error}") from error
    return found


def statuses(text: str) -> tuple[str, ...]:
    """The statuses of `--fail-on`; UsageError names one that does not exist."""
    named = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in named:
        if name not in STATUSES:
            raise UsageError(f"--fail-on: unknown status '{name}'{did_you_mean(name, STATUSES)}")
    return named
