"""Sign-off: decisions of reviewers, each bound to the exact bytes of `run.json`, in a file beside it.

A record without a key holds the digest of the run, which anybody who alters both files can make anew: it finds
accidents. One with a key can be made only by whoever has the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import disk
from harness.codec import decode, encode, parsed
from harness.records import SCHEMA as RUN_SCHEMA
from harness.records import Gate
from harness.ssh import Key, key_of

SIGNATURES_FILE = "signatures.json"
SCHEMA = "harness.signatures/1"
DECISIONS = ("approved", "rejected")
LARGEST_BYTES = 64 << 20
DIGITS = 16
"""Of a case's digest: enough to tell which one changed; the digest of the whole is what counts."""
MOST_TOLD = 10


@dataclass(frozen=True)
class Statement:
    """What a reviewer answers for; a key signs its compact JSON."""

    run: str
    sha256: str
    """Of the bytes of run.json."""
    gate: Gate
    decision: str
    by: str
    note: str
    signed: str
    cases: Mapping[str, str]
    """Case id to the beginning of the SHA-256 of its record: they tell what changed."""
    previous: str | None = None
    """SHA-256 of the signature before it, so that none of them is taken out."""


@dataclass(frozen=True)
class Signature:
    """One decision."""

    statement: Statement
    ssh: str | None = None
    """The armoured signature of an SSH key; None for a record without a key."""


@dataclass(frozen=True)
class Subject:
    """What of a run.json is signed."""

    run: str
    sha256: str
    gate: Gate
    cases: Mapping[str, str]


@dataclass(frozen=True)
class Checked:
    """One signature, and why it does not hold, where it does not."""

    signature: Signature
    problems: tuple[str, ...]
    key: Key | None = None

    @property
    def signer(self) -> tuple[str, str]:
        """Who decided: the owner of the key, else the name and the key, if any."""
        if self.key is not None and self.key.owner:
            return self.key.owner, ""
        return self.signature.statement.by, self.key.fingerprint if self.key else ""


def subject(content: bytes) -> Subject:
    """What of a run.json is signed; ValueError where it is none."""
    data = parsed(content.decode("utf-8"))
    if not isinstance(data, dict) or data.get("schema") != RUN_SCHEMA:
        raise ValueError(f"its schema is not {RUN_SCHEMA!r}")
    try:
        cases = {str(one["case"]["id"]): _sum(one)[:DIGITS] for one in data["records"]}
        return Subject(str(data["id"]), sha256(content).hexdigest(), decode(Gate, data["gate"]), cases)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks what a run has: {error}") from error


def statement_text(statement: Statement) -> bytes:
    """The bytes that a key signs."""
    return json.dumps(encode(statement), sort_keys=True, separators=(",", ":")).encode()


def signature_sum(signature: Signature) -> str:
    """The SHA-256 that the next signature holds of this one."""
    return _sum(encode(signature))


def _sum(data: Any) -> str:
    return sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_signatures(content: bytes) -> list[Signature]:
    """The signatures in a file, oldest first; ValueError where it holds anything else."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"it is larger than {LARGEST_BYTES >> 20} MiB")
    data = parsed(content.decode("utf-8"))
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("signatures"), list):
        raise ValueError(f"its schema is not {SCHEMA!r}")
    try:
        found = [decode(Signature, one) for one in data["signatures"]]
    except TypeError as error:
        raise ValueError(str(error)) from error
    if wrong := [one.statement.decision for one in found if one.statement.decision not in DECISIONS]:
        raise ValueError(f"'{wrong[0]:.40}' is no decision")
    return found


def write_signatures(found: Sequence[Signature], folder: Path) -> Path:
    """Write the signatures of a run folder atomically; returns the path."""
    path = folder / SIGNATURES_FILE
    text = json.dumps({"schema": SCHEMA, "signatures": [encode(one) for one in found]}, indent=1) + "\n"
    disk.replace(path, text)
    return path


def check(content: bytes, found: Sequence[Signature], allowed: Path | None = None) -> list[Checked]:
    """Every signature against the bytes of run.json as they are now; UsageError where keys cannot be checked."""
    try:
        now: Subject | str = subject(content)
    except ValueError as error:
        now = str(error)
    checked = []
    for place, one in enumerate(found):
        before = found[place - 1] if place else None
        key = key_of(statement_text(one.statement), one.ssh, allowed) if one.ssh else None
        problems = _changed(one.statement, now, sha256(content).hexdigest())
        if one.statement.previous != (signature_sum(before) if before else None):
            problems.append("the signature before it was removed, altered, or put there later")
        if one.ssh and key is None:
            problems.append("the signature of its key does not hold: name, note, decision or digest were altered")
        checked.append(Checked(one, tuple(problems), key))
    return checked


def _changed(then: Statement, now: Subject | str, digest: str) -> list[str]:
    """In what a run.json is not the one that was signed, in words."""
    if isinstance(now, str):
        return [f"run.json is no run any more: {now}"]
    if digest == then.sha256:
        alike = (then.run, then.gate, dict(then.cases)) == (now.run, now.gate, now.cases)
        return [] if alike else ["what it says about run, gate and cases is not what run.json says: it was altered"]
    if now.run != then.run:
        return [f"run.json is another run: {now.run}, signed was {then.run}"]
    found = [f"run.json was altered after it was signed: its SHA-256 is {digest[:12]}…, signed was {then.sha256[:12]}…"]
    if now.gate != then.gate:
        found.append(f"the gate: {gate_words(now.gate)}, when it was signed {gate_words(then.gate)}")
    for what, cases in (
        ("altered cases", [one for one in then.cases if now.cases.get(one, then.cases[one]) != then.cases[one]]),
        ("cases that were taken out", [one for one in then.cases if one not in now.cases]),
        ("cases that were put in", [one for one in now.cases if one not in then.cases]),
    ):
        more = f" and {len(cases) - MOST_TOLD} more" if len(cases) > MOST_TOLD else ""
        found += [f"{what}: {', '.join(cases[:MOST_TOLD])}{more}"] if cases else []
    return found if len(found) > 1 else [*found, "no case and not the gate: the rest of the file, or its form"]


def gate_words(gate: Gate) -> str:
    """A gate in a few words."""
    counts = ", ".join(f"{count} {status}" for status, count in gate.counts.items())
    return f"{'passed' if gate.passed else f'FAILED (exit {gate.exit_status})'}: {counts or 'nothing was measured'}"


def objections(checked: Sequence[Checked], *, keys: bool = False) -> list[str]:
    """Why a run does not count as signed off; empty where it does.

    Every signature must hold, and the last decision of each signer must be an approval. With `keys` only signatures of
    allowed keys count.
    """
    if not checked:
        return ["nobody signed this run"]
    broken = [one for one in checked if one.problems]
    if broken:
        names = ", ".join(dict.fromkeys(one.signature.statement.by for one in broken))
        return [f"what {names} signed no longer holds"]
    counted = [one for one in checked if not keys or (one.key is not None and one.key.owner)]
    if not counted:
        return ["no allowed key signed this run"]
    last = {one.signer: one.signature.statement for one in counted}
    rejected = ((name, one) for (name, _), one in last.items() if one.decision != "approved")
    return [f"{name} rejected this run: {one.note}" for name, one in rejected]
