"""`harness sign`: a reviewer's decision, bound to the exact bytes of run.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness import baselines, report, ssh, store
from harness.errors import UsageError
from harness.journal import in_use
from harness.judge.gate import EXIT_PASSED, gate
from harness.records import Run
from harness.runner.header import timestamp
from harness.signatures import (
    SIGNATURES_FILE,
    Checked,
    Signature,
    Statement,
    check,
    gate_words,
    read_signatures,
    signature_sum,
    statement_text,
    subject,
    write_signatures,
)

NO_KEY = "no key: this finds a run that was altered since, but anybody who may write here can make such a record anew"


def sign(asked: argparse.Namespace) -> int:
    """Add a signature to those beside the run, and draw its report again."""
    folder = store.folder_of(asked.run)
    if not (folder / store.RUN_FILE).exists() or in_use(folder):
        raise UsageError(f"{folder}: has no finished run.json: only what does not change any more can be signed")
    run = store.read_run(folder)
    with baselines.alone(folder):
        content = (folder / store.RUN_FILE).read_bytes()
        before = _before(folder, content)
        _refuse_other_gate(run, folder)
        found = subject(content)
        statement = Statement(
            run=found.run,
            sha256=found.sha256,
            gate=found.gate,
            decision=asked.decision,
            by=_said(asked.by, "--by"),
            note=_said(asked.note, "--note"),
            signed=timestamp(),
            cases=found.cases,
            previous=signature_sum(before[-1]) if before else None,
        )
        made = Signature(statement, ssh.sign(statement_text(statement), asked.key) if asked.key else None)
        path = write_signatures([*before, made], folder)
    checked = check(content, [*before, made])
    report.write(run, folder, signed=checked)
    _tell(checked[-1], path)
    return 0


def signed(folder: Path) -> list[Checked]:
    """The signatures of a run folder, as they hold now; none where there is no file that can be read."""
    try:
        found = read_signatures((folder / SIGNATURES_FILE).read_bytes())
        return check((folder / store.RUN_FILE).read_bytes(), found)
    except (OSError, ValueError):
        return []


def _refuse_other_gate(run: Run, folder: Path) -> None:
    """UsageError where a run says of its cases what they do not: nobody answers for that."""
    decided = gate(run.records)
    passed = run.gate.exit_status == EXIT_PASSED and decided.passed
    if dict(run.gate.counts) != dict(decided.counts) or run.gate.passed != passed:
        raise UsageError(
            f"{folder / store.RUN_FILE}: its gate ({gate_words(run.gate)}) is not what its cases make "
            f"({gate_words(decided)}): it was altered; `harness judge {folder}` decides it again"
        )


def _before(folder: Path, content: bytes) -> list[Signature]:
    """The signatures that are there; UsageError where they do not hold: nothing is added to what was altered."""
    path = folder / SIGNATURES_FILE
    if not path.exists():
        return []
    try:
        found = read_signatures(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{path}: holds no signatures: {error}; see what became of it, or move it away") from error
    if broken := [one for one in check(content, found) if one.problems]:
        names = ", ".join(dict.fromkeys(one.signature.statement.by for one in broken))
        raise UsageError(
            f"{path}: what {names} signed no longer holds (`harness verify {folder}` says why): nothing is added "
            "to it; restore the run, or move the file away and have the run reviewed anew"
        )
    return found


def _said(text: str, option: str) -> str:
    if not text.strip():
        raise UsageError(f"{option} is empty: who decides, and on what grounds, is what a signature is for")
    return " ".join(text.split())


def _tell(made: Checked, path: Path) -> None:
    statement = made.signature.statement
    print(f"{statement.decision} by {statement.by}: run {statement.run}, gate {gate_words(statement.gate)}")
    if statement.decision == "approved" and not statement.gate.passed:
        print("note: approved although its gate did not pass")
    print(f"bound to SHA-256 {statement.sha256} of run.json")
    print(f"key {made.key.fingerprint}" if made.key else NO_KEY)
    print(f"written to {path}")
