"""What a first suite says: inputs and shapes before anything was measured, precisions and limits after it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from harness.inputs import proposals
from harness.inputs.outline import Outline
from harness.judge import first_line
from harness.judge.proposed import Case, hidden_by_no_limit, propose
from harness.records import Check, Failure, Outcome, Plan, Verdict
from harness.suites.first import Commented, First

Limits = dict[str, dict[str, dict[str, Commented]]]
"""Output to precision to limit."""


@dataclass(frozen=True)
class Measured:
    """One case as it was measured, and the verdict on it under the limits that held then."""

    plan: Plan
    outcome: Outcome
    verdict: Verdict


def described(suite: str, source: str, outline: Outline, absent: Mapping[str, str]) -> First:
    """The suite as far as the graph tells it; backends, precisions, shapes and limits are still open."""
    made = {tensor: Commented(one.spec, one.why) for tensor, one in proposals.inputs(outline).items()}
    away = [f"not run here: {backend}: {first_line(why)}" for backend, why in absent.items()]
    unset = proposals.unnamed(outline)
    notes = {"backends": away, "inputs": [f"sizes that a suite cannot set are 1: {', '.join(unset)}"] if unset else []}
    return First(
        _name(suite), _name(PurePosixPath(source).stem), source, backends=(), precisions=(), inputs=made, notes=notes
    )


def _name(stem: str) -> str:
    """A file's name as part of a case id."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", stem)[:100].strip("-.") or "model"


def noted(first: First, key: str, *words: str) -> First:
    """The suite with more comments above a key."""
    return replace(first, notes={**first.notes, key: [*first.notes.get(key, ()), *words]})


def finished(first: First, outline: Outline, measured: Sequence[Measured], machine: str) -> First:
    """The suite with the precisions that work, their limits, and in comments what no limit may hide."""
    kept = [name for name in first.precisions if any(failure(one.outcome) is None for one in _at(name, measured))]
    lost = [f"left out: {name}: {_why_not(name, measured)}" for name in first.precisions if name not in kept]
    as_is = [f"the file is run as it is: it {outline.only_as_is}"] if outline.only_as_is else []
    int8 = ["int8 is calibrated with the inputs below; real data: int8: {calibration: {file: …}}"] * ("int8" in kept)
    limits = _limits(kept, measured, outline)
    made = replace(first, precisions=kept, limits=limits, head=_head(first.source, machine))
    made = noted(made, "precisions", *lost, *as_is, *int8)
    wrong = [f"FAILS, and no limit hides it: {words}" for words in unhidden(measured)]
    return noted(made, "accuracy" if limits else "precisions", *wrong, *_beyond(measured))


def failure(outcome: Outcome) -> Failure | None:
    """Why a case gave no outputs; None when it did."""
    return outcome.error if outcome.skipped is None else Failure("unsupported", "load", outcome.skipped)


def unhidden(measured: Sequence[Measured]) -> list[str]:
    """The cases that broke, or that fail by more than the size of their errors."""
    words = [f"{one.plan.case.id}: {first_line(one.verdict.headline)}" for one in measured if one.outcome.error]
    for one in measured:
        words += [f"{one.plan.case.id}: {check.name}: {check.reason}" for check in _hidden(one)[:1]]
    return words


def _hidden(one: Measured) -> list[Check]:
    return hidden_by_no_limit(one.verdict.checks)


def _at(precision: str, measured: Sequence[Measured]) -> list[Measured]:
    return [one for one in measured if one.plan.case.precision == precision]


def _why_not(precision: str, measured: Sequence[Measured]) -> str:
    reasons = [found.message for one in _at(precision, measured) if (found := failure(one.outcome))]
    return first_line(reasons[0]) if reasons else "not measured"


def _beyond(measured: Sequence[Measured]) -> list[str]:
    """What fails under the defaults of its precision, and passes under limits that are twice as large as it is."""
    return [
        f"worse than the default limits, is it good enough? {one.plan.case.id}: {check.name}: {check.reason}"
        for one in measured
        for check in one.verdict.checks
        if not check.ok and check.question == "budget" and not _hidden(one)
    ]


def _limits(precisions: Sequence[str], measured: Sequence[Measured], outline: Outline) -> Limits:
    """Limits from the cases that are sound; one that fails by more than its errors sets none."""
    found: Limits = {}
    for precision in precisions:
        good = [one for one in _at(precision, measured) if failure(one.outcome) is None and not _hidden(one)]
        cases = [Case(f"{one.plan.case.backend}, {one.plan.case.shape}", one.outcome.measurements) for one in good]
        for output, limits in propose(precision, cases, outline.rounds_as if precision == "as-is" else None).items():
            found.setdefault(output, {})[precision] = {one.name: Commented(one.value, one.why) for one in limits}
    return found


def _head(source: str, machine: str) -> list[str]:
    return [
        f"A first suite for {source}, as measured on {machine}. A limit is twice the measured error:",
        "change what you know better, and give real inputs where you can. `harness schema` says what else may be set.",
    ]
