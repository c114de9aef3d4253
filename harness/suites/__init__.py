"""Suite files: found, read, checked and expanded to one plan per case.

pydantic and ruamel.yaml are imported here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from harness.errors import Problem, SuiteError
from harness.metrics.plugins import require_installed
from harness.records import Location, Plan
from harness.suitefile import is_suite
from harness.suites.acknowledged import acknowledge, known_failures
from harness.suites.check import check, schema
from harness.suites.document import parse
from harness.suites.environments import interpreter
from harness.suites.expand import expand
from harness.suites.find import label, places_of, read, suite_files
from harness.suites.reference import reference
from harness.suites.select import select
from harness.suites.shard import share, units

__all__ = [
    "acknowledge",
    "interpreter",
    "is_suite",
    "known_failures",
    "label",
    "load",
    "plans_of",
    "reference",
    "schema",
    "select",
    "share",
    "twins",
    "units",
]

NOWHERE: Mapping[str, str] = MappingProxyType({})


def load(paths: Sequence[Path], root: Path | None = None, pythons: Mapping[str, str] = NOWHERE) -> list[Plan]:
    """The plans of all suites in files and folders, in order.

    `pythons` are interpreters by the name of their environment, which come before those in the files. Raises
    SuiteError with every problem of every file, and UsageError when a path is wrong.
    """
    require_installed()
    plans: list[Plan] = []
    problems: list[Problem] = []
    for path in suite_files(paths):
        found, wrong = _load_one(path, root, pythons)
        plans += found
        problems += wrong
    problems += twins(plans)
    if problems:
        raise SuiteError(problems)
    return plans


def _load_one(path: Path, root: Path | None, pythons: Mapping[str, str]) -> tuple[list[Plan], list[Problem]]:
    try:
        return _planned(read(path), path, root, pythons)
    except SuiteError as error:
        return [], list(error.problems)


def plans_of(text: str, path: Path, root: Path | None = None) -> list[Plan]:
    """The plans of a suite's text as if it stood at `path`; raises as `load` does."""
    plans, problems = _planned(text, path, root)
    if problems := [*problems, *twins(plans)]:
        raise SuiteError(problems)
    return plans


def _planned(
    text: str, path: Path, root: Path | None, pythons: Mapping[str, str] = NOWHERE
) -> tuple[list[Plan], list[Problem]]:
    places = replace(places_of(path, root), pythons=pythons)
    checked = check(parse(text, label(path)), places)
    plans, wrong = expand(checked, places)
    problems = sorted([*checked.problems, *wrong], key=lambda problem: (problem.line, problem.column))
    # ids made from half a file could collide by mistake
    return ([] if problems else plans), problems


def twins(plans: Sequence[Plan]) -> list[Problem]:
    """Case ids that two models make, one problem a pair of models."""
    first: dict[str, Location] = {}
    pairs: dict[tuple[Location, Location], list[str]] = {}
    for plan in plans:
        here = plan.case.location
        there = first.setdefault(plan.case.id, here)
        if there != here:
            pairs.setdefault((there, here), []).append(plan.case.id)
    return [_twin(there, here, ids) for (there, here), ids in pairs.items()]


def _twin(there: Location, here: Location, ids: Sequence[str]) -> Problem:
    more = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
    message = f"case '{ids[0]}'{more} is already made by {there.file}:{there.line}:{there.column}"
    return Problem(here.file, here.line, here.column, "", message)
