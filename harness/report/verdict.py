"""The verdict on a run as a reader needs it: what it is, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.judge.drift import has_drifted
from harness.records import GATE_ERROR_KINDS, Record, Run
from harness.report.scope import named
from harness.report.statuses import counted

MOST_NAMED = 3
"""Of the cases that a run lacks."""
_TITLES = {
    0: ("✓", "good", "Gate passed"),
    2: ("!", "bad", "The suite or the command is wrong"),
    3: ("!", "bad", "Gate not decided: the machine failed"),
    4: ("✗", "bad", "Gate failed: a status named by --fail-on"),
    130: ("!", "warn", "Interrupted"),
}


@dataclass(frozen=True)
class Action:
    """What to do about one status; the command is a pattern to fill in, or empty."""

    status: str
    text: str
    command: str = ""


_ERROR = Action("error", "The case holds the message, the log excerpt and the command that runs it alone.")
_MACHINE = Action(
    "error", "The machine failed: run again; if it stays, see what this machine can run.", "harness doctor"
)
_FAILED = {
    "fidelity": Action(
        "failed",
        "The backend does not compute what the file says, whatever the limits: find the operator where it goes wrong.",
        "harness debug CASE",
    ),
    "attestation": Action(
        "failed",
        "What ran is not the precision asked for: see which layers ran otherwise, then mend the variant or the "
        "backend's options, or set attestation to what shall do.",
    ),
    "budget": Action("failed", "Read the check that does not hold, then fix the model, its variant or the limit."),
}
"""What to do by the question that failed, the first of these that did; "budget" stands for all the others."""
_BLOCKING = (
    Action(
        "regressed",
        "Look for what differs under digests and environment, or accept the new time.",
        "harness accept RUN --reason TEXT",
    ),
    Action("missing", "Put the case back into its suite, or remove its baseline."),
)
_OTHER = (
    Action("inconclusive", "Run the case again on a quiet machine, or with a longer min_time_s."),
    Action("new", "Accept these times as the baseline.", "harness accept RUN --reason TEXT"),
)


@dataclass(frozen=True)
class RunVerdict:
    """The first thing a reader sees; `tone` names a colour in the style sheet."""

    glyph: str
    tone: str
    title: str
    reason: str
    actions: tuple[Action, ...]


def verdict(run: Run) -> RunVerdict:
    """The verdict on a run; the gate has already decided, this says it in words."""
    glyph, tone, title = _TITLES.get(run.gate.exit_status, ("✗", "bad", "Gate failed"))
    reason = " ".join((_reason(run), *_unfinished(run)))
    return RunVerdict(glyph=glyph, tone=tone, title=title, reason=reason, actions=tuple(_actions(run)))


def _reason(run: Run) -> str:
    counts = counted(run.records)
    total = f"{len(run.records)} case{'' if len(run.records) == 1 else 's'}"
    if not run.records:
        return "No case was run."
    also = named(run)
    blocking = ", ".join(f"{count} {status.name}" for status, count in counts if status.blocks or status.name in also)
    if blocking:
        return f"{blocking} of {total} block."
    if all(status.name == "skipped" for status, _ in counts):
        return f"All of {total} were skipped: nothing was measured."
    drifted = sum(map(has_drifted, run.records))
    words = f" Inside its limits, accuracy drifted in {drifted}." if drifted else ""
    return "Nothing blocks: " + ", ".join(f"{count} {status.name}" for status, count in counts) + f" of {total}.{words}"


def _unfinished(run: Run) -> Iterator[str]:
    """What keeps a run from passing whatever its cases say."""
    if run.cut is not None:
        yield "The run, or a part of it, did not come to its end."
    if run.lacking:
        more = f" and {len(run.lacking) - MOST_NAMED} more" if len(run.lacking) > MOST_NAMED else ""
        yield f"No part of it holds {', '.join(run.lacking[:MOST_NAMED])}{more}."


def _actions(run: Run) -> Iterator[Action]:
    """Actions on what blocks; on the rest only where nothing does, so that the first thing stays first."""
    names = {record.status for record in run.records}
    kinds = {record.error.kind for record in run.records if record.status == "error" and record.error}
    if kinds & GATE_ERROR_KINDS:
        yield _ERROR
    if kinds - GATE_ERROR_KINDS:
        yield _MACHINE
    asked = {_question(record) for record in run.records if record.status == "failed"}
    blocking = [action for question, action in _FAILED.items() if question in asked]
    blocking += [action for action in _BLOCKING if action.status in names]
    yield from blocking or ([] if kinds else [action for action in _OTHER if action.status in names])


def _question(record: Record) -> str:
    """The first question that a failed case failed: what computes something else or otherwise may miss limits too."""
    failed = {check.question for check in record.checks if not check.ok}
    return next((question for question in _FAILED if question in failed), "budget")
