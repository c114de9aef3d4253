"""On what footing the latency of a case is compared with what was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import artefacts
from harness.backends import RUNTIMES
from harness.baselines import Entry
from harness.records import Contestant, Digests, Environment, Outcome, Plan


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
    if changed := upgraded(plan.case.backend, entry.versions, environment.versions):
        return Footing(why_stored=f"{changed}: two versions cannot take turns in one process")
    then, now = contestant(entry.digests, entry.options), contestant(outcome.digests, outcome.attested.get("options"))
    if then is None or now is None:
        return Footing(why_stored="the accepted entry does not tell its artefact")
    if then == now and entry.digests.inputs == outcome.digests.inputs:
        return Footing(same=True)
    if entry.digests.inputs != outcome.digests.inputs:
        return Footing(why_stored="the inputs are others than those accepted")
    if folder is None:
        return NO_FOOTING
    missing = [one.digest[:12] for one in (then, now) if not artefacts.has(folder, one.digest)]
    if missing:
        return Footing(why_stored=f"artefact {' and '.join(missing)} is not kept here (--artefacts)")
    return Footing(a=then, b=now)


def upgraded(backend: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which versions that the speed of a backend depends on are not as they were; empty for none."""
    return ", ".join(
        f"{name} {then.get(name)} -> {now.get(name)}" for name in RUNTIMES[backend] if then.get(name) != now.get(name)
    )


def contestant(digests: Digests, options: Mapping[str, Any] | None) -> Contestant | None:
    """The artefact of a case, as it can be timed again; None where nothing tells what it was."""
    digest = digests.engine or digests.variant
    return Contestant(digest, options) if digest and options is not None else None
