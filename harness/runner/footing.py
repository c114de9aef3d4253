"""On what footing the latency of a case is compared with what was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import artefacts
from harness.backends import OF_MODULES, RUNTIMES
from harness.baselines import Entry
from harness.judge import first_line
from harness.records import Contestant, Digests, Environment, Outcome, Plan, Record

LOADED = {"custom_ops_sha256": "library of operators", "profile": "profile of shapes"}
"""What a session is made from that is not kept, as its options tell it; in words."""


@dataclass(frozen=True)
class Footing:
    """Either the very same thing, or two artefacts that can be timed in turns, or a stored window alone."""

    same: bool = False
    a: Contestant | None = None
    """What was accepted, where it can be timed again."""
    b: Contestant | None = None
    """The candidate."""
    why_stored: str = ""
    """Why they cannot be timed in turns, where they cannot."""
    other: Plan | None = None
    """The case of side a, where that is the same case in another environment."""
    other_canary: bool = False
    """Whether earlier runs were timed beside other fixed work."""

    @property
    def in_turns(self) -> bool:
        """Whether both sides can be timed in turns."""
        return self.a is not None and self.b is not None


NO_FOOTING = Footing()


def footing(
    plan: Plan, outcome: Outcome, entry: Entry | None, environment: Environment, folder: Path | None
) -> Footing:
    """How a measured case can be compared with its entry; in turns only where the artefact is the sole difference.

    `folder` is where artefacts are kept; None where nothing can be timed any more.
    """
    if entry is None or entry.latency is None or outcome.latency is None or plan.case.backend not in RUNTIMES:
        return NO_FOOTING
    found = _footing(plan, outcome, entry, environment, folder)
    if found.same or found.in_turns or entry.versions.get("canary") == environment.versions.get("canary"):
        return found
    why = "; ".join(filter(None, (found.why_stored, "earlier runs were timed beside another canary")))
    return replace(found, why_stored=why, other_canary=True)


def _footing(plan: Plan, outcome: Outcome, entry: Entry, environment: Environment, folder: Path | None) -> Footing:
    if changed := upgraded(plan.case.backend, entry.versions, environment.versions):
        return Footing(why_stored=f"{changed}: two versions cannot take turns in one process")
    then = contestant(entry.digests, entry.options, reviewed=True)
    now = contestant(outcome.digests, outcome.attested.get("options"))
    if then is None or now is None:
        return Footing(why_stored="the accepted entry does not tell its artefact")
    if then == now and entry.digests.inputs == outcome.digests.inputs:
        if entry.timed is not None:
            return Footing(why_stored=f"the accepted artefact was not timed; the time is that of run {entry.timed}")
        return Footing(same=True)
    if entry.digests.inputs != outcome.digests.inputs:
        return Footing(why_stored="the inputs are others than those accepted")
    if others := _made_from_others(then, now):
        return Footing(why_stored=f"its sessions are made with another {others} than was accepted, which is not kept")
    if plan.case.backend in OF_MODULES and then.digest != now.digest:
        return Footing(why_stored="its code or weights are others than those accepted, which are not kept")
    if folder is None:
        return NO_FOOTING
    missing = [one.digest[:12] for one in (then, now) if not artefacts.has(folder, one.digest)]
    if missing:
        return Footing(why_stored=f"artefact {' and '.join(missing)} is not kept here (--artefacts)")
    return Footing(a=then, b=now)


def _made_from_others(then: Contestant, now: Contestant) -> str:
    """What sessions of the two are made from that is not the same, in words; empty for nothing."""
    return " and another ".join(words for key, words in LOADED.items() if then.options.get(key) != now.options.get(key))


def across(plan: Plan, outcome: Outcome, other: Plan, theirs: Outcome | None, folder: Path) -> Footing:
    """How a measured case can be compared with the same case in another environment, measured in this run too."""
    if why := _unmeasured(theirs):
        return Footing(why_stored=f"{other.case.id} {why}", other=other)
    if plan.case.backend not in RUNTIMES:
        return Footing(why_stored=f"the times of {plan.case.backend} are scripted", other=other)
    a, b = (
        contestant(one.digests, one.attested.get("options")) if one is not None else None for one in (theirs, outcome)
    )
    if a is None or b is None or theirs is None:
        return Footing(why_stored="the run does not tell what was built", other=other)
    if theirs.digests.inputs != outcome.digests.inputs:
        return Footing(why_stored="the two have other inputs: NumPy made other random numbers there", other=other)
    gone = [one.digest[:12] for one in (a, b) if not artefacts.has(folder, one.digest)]
    if gone:
        return Footing(why_stored=f"artefact {' and '.join(gone)} was not kept (--artefacts)", other=other)
    return Footing(a=a, b=b, other=as_measured(other, theirs.digests))


def _unmeasured(outcome: Outcome | None) -> str:
    """Why there is nothing to compare with; empty where there is."""
    if outcome is None:
        return "was not measured: the run was interrupted"
    if outcome.skipped is not None:
        return f"was skipped: {first_line(outcome.skipped)}"
    if outcome.error is not None:
        return f"ended in an error: {outcome.error.kind} in {outcome.error.stage}: {first_line(outcome.error.message)}"
    return "" if outcome.latency is not None else "was not timed"


def versus(backend: str, name: str, now: Environment, then: Environment) -> str:
    """What is compared with what, in the versions that the speed of a backend depends on; `name` is the other's."""
    told = [
        f"{runtime} {now.versions[runtime]} against {then.versions[runtime]}"
        for runtime in RUNTIMES.get(backend, ())
        if runtime in now.versions and runtime in then.versions and now.versions[runtime] != then.versions[runtime]
    ]
    return ", ".join(told) or f"against environment {name}"


def upgraded(backend: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which versions that the speed of a backend depends on are not as they were; empty for none."""
    names = RUNTIMES.get(backend, ())
    return ", ".join(f"{name} {then.get(name)} -> {now.get(name)}" for name in names if then.get(name) != now.get(name))


def unchanged(record: Record, entry: Entry, environment: Environment) -> bool:
    """Whether a measured case is what was accepted: its artefact, options, inputs and versions."""
    if upgraded(record.case.backend, entry.versions, environment.versions):
        return False
    now = contestant(record.digests, record.attested.get("options"))
    return now == contestant(entry.digests, entry.options) and entry.digests.inputs == record.digests.inputs


def contestant(digests: Digests, options: Mapping[str, Any] | None, *, reviewed: bool = False) -> Contestant | None:
    """The artefact of a case, as it can be timed again; None where nothing tells what it was.

    `reviewed`: the digest stands in an accepted baseline.
    """
    digest = digests.engine or digests.variant
    return Contestant(digest, options, reviewed) if digest and options is not None else None


def as_measured(plan: Plan, digests: Digests) -> Plan:
    """The plan of a case with the very export that was measured, whatever was exported from its source since."""
    if plan.source.export is None:
        return plan
    return replace(plan, source=replace(plan.source, made=digests.model))
