"""What was decided: cases, outcomes and verdicts make records, and records make a `Run`, which is `run.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.records.acknowledgements import Acknowledgement, Stale
from harness.records.duels import Admission, Duel
from harness.records.fusion import Fusion
from harness.records.outcomes import Deviations, Digests, Failure, Latency, Measurement
from harness.records.plans import Case
from harness.records.profiles import Profile
from harness.records.screens import Screening
from harness.records.selftest import SelfTest
from harness.records.serving import Trial

SCHEMA = "harness.run/1"
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8", "as-is")
STATUSES = (
    "error",
    "failed",
    "regressed",
    "missing",
    "inconclusive",
    "new",
    "improved",
    "passed",
    "acknowledged",
    "skipped",
)
BLOCKING = frozenset({"error", "failed", "regressed", "missing"})
ERROR_KINDS = ("build", "unsupported", "input", "crash", "timeout", "out-of-memory", "device", "harness")
GATE_ERROR_KINDS = frozenset({"build", "unsupported", "input"})
"""Kinds of error that speak against the code under test (exit 1); the others speak against the machine (exit 3)."""


@dataclass(frozen=True)
class Check:
    """One decision: a value against a limit, and why."""

    name: str
    question: str
    """"fidelity", "budget", "task", "attestation", "latency" or "resource"."""
    output: str | None
    metric: str
    value: float | None
    limit: float | None
    baseline: float | None
    ok: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The status of a case, one sentence that says why, and the checks behind it."""

    status: str
    headline: str
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Record:
    """One case in `run.json`."""

    case: Case
    environment: str
    status: str
    headline: str
    checks: tuple[Check, ...]
    latency: Latency | None
    measures: Mapping[str, float | None]
    stages: Mapping[str, float]
    attested: Mapping[str, Any]
    digests: Digests
    error: Failure | None
    attempts: int
    reproduce: str
    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    baseline: Latency | None = None
    """The accepted latency this one was compared with."""
    plan_digest: str | None = None
    """SHA-256 of inputs, reference, labels and options; `judge` decides again only where it is the same."""
    reference: str | None = None
    """What the outputs were compared with, in words."""
    duel: Duel | None = None
    """The launches in which the case was timed against what was accepted, in turns."""
    admission: Admission | None = None
    """What can be seen of this case on this machine class, as the baseline holds it."""
    why_stored: str = ""
    """Why it was compared with the accepted window and not timed in turns with the accepted artefact."""
    screening: Screening | None = None
    """The measurements that were compared with those of earlier runs."""
    profile: Profile | None = None
    """Where the time of one inference went."""
    baseline_profile: Profile | None = None
    """Where it went when the baseline was accepted."""
    earlier: tuple[Failure, ...] = ()
    """How the attempts before the last one failed."""
    acknowledgement: Acknowledgement | None = None
    """What the reviewed file of known failures says about it, where it blocks."""
    deviations: tuple[Deviations, ...] = ()
    """How the errors of each output are distributed, and where the largest are."""
    trials: tuple[Trial, ...] = ()
    """Under load, in the order in which they were made."""
    fusion: Fusion | None = None
    """Which nodes of the file became which layer; None where the runtime does not tell, and in older runs."""
    not_run: bool = False
    """Of a missing case: the suite makes it, but no part of the run holds it."""

    @property
    def as_judged(self) -> Record:
        """The record as if nothing were acknowledged."""
        if self.acknowledgement is None:
            return self
        found = self.acknowledgement
        return replace(self, status=found.status, headline=found.headline, acknowledgement=None)


@dataclass(frozen=True)
class Gpu:
    """One GPU of a machine."""

    name: str
    uuid: str
    driver: str
    compute_capability: str
    memory_mib: int


@dataclass(frozen=True)
class Environment:
    """One machine with one set of installed versions; `fingerprint` is the machine class."""

    host: str
    cpu: str
    gpus: tuple[Gpu, ...]
    versions: Mapping[str, str]
    fingerprint: str


@dataclass(frozen=True)
class Gate:
    """The decision on a whole run."""

    passed: bool
    exit_status: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Run:
    """A finished run: the content of `run.json`."""

    schema: str
    id: str
    started: str
    finished: str
    command: str
    commit: str | None
    gate: Gate
    environments: Mapping[str, Environment]
    records: tuple[Record, ...]
    selftest: SelfTest | None = None
    """What the gate was last seen to do on this machine class."""
    shard: str | None = None
    """"I/N", where it is one of several parts of a run."""
    stale: tuple[Stale, ...] = ()
    """Acknowledgements that are of no use any more."""
    lacking: tuple[str, ...] = ()
    """The cases of its suites that no part of a merged run holds; as long as there are any, it does not pass."""
    cut: int | None = None
    """The exit status (3, 130) of a run that did not come to its end, or of a part that did not: it does not pass,
    also when cases that failed count no more."""
    judged_by: Mapping[str, str | None] = field(default_factory=dict)
    """Suites, baselines and acknowledgements by path, to their SHA-256; None for a file that is not there."""
