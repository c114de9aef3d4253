"""Which cases change their verdict although nothing that they are made of changed; needs no database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar

from harness.codec import encode
from harness.records import BLOCKING, Digests, Environment, Record

LAST = 20
"""Verdicts that are looked at."""
FLIPS = 2
"""Changes from which a case is unstable: one may be a repair, or a change outside of what is known."""
LETS_THROUGH = frozenset({"passed", "improved", "new"})
BLOCKS = BLOCKING - {"missing"} | {"acknowledged"}
DEFINITION = (
    f"A case is unstable on a machine class where its last {LAST} verdicts changed at least {FLIPS} times between "
    "blocking (error, failed, regressed, or acknowledged as such) and not (passed, improved, new), all of them with "
    "the model, variant, inputs, options and versions of the latest. Runs that left it open (inconclusive, skipped, "
    "missing) do not count; a rebuilt engine is no change. An error that ended before these were known counts as of "
    "those of the verdict before it, where the suite asks for the same and the versions are the same."
)


class Verdict(Protocol):
    """What one run decided on a case, and what the case was made of."""

    @property
    def status(self) -> str: ...

    @property
    def footing(self) -> str: ...


V = TypeVar("V", bound=Verdict)


@dataclass(frozen=True)
class Unstable(Generic[V]):
    """The verdicts looked at, oldest first, and how often they changed."""

    verdicts: tuple[V, ...]
    flips: int

    @property
    def words(self) -> str:
        """Why it is called unstable."""
        return (
            f"its verdict changed {self.flips} times in its last {len(self.verdicts)} verdicts, and nothing that it "
            "is made of did"
        )


def unstable(results: Sequence[V]) -> Unstable[V] | None:
    """The verdicts of a case, oldest first, where it is unstable by the definition; else None."""
    decided = [one for one in results if one.status in LETS_THROUGH | BLOCKS]
    if _flips(decided) < FLIPS:  # fewer verdicts never change more often: most cases need no footing
        return None
    footings = list(_carried([one.footing for one in decided]))
    alike = [one for one, footing in zip(decided, footings, strict=True) if footing == footings[-1]][-LAST:]
    flips = _flips(alike)
    return Unstable(tuple(alike), flips) if flips >= FLIPS else None


def footing(record: Record, environment: Environment) -> str:
    """Names what a case was made of in up to three parts: what was asked for under which versions, files, options.

    It ends with a dot where the others are not known: a process that is lost tells nothing. The engine is not part of
    it: each build is another file, and a verdict that depends on the build is what should be seen.
    """
    parts = [short([record.plan_digest, environment.versions])]
    if record.digests != Digests():
        parts.append(short([record.digests.model, record.digests.variant, record.digests.inputs]))
    if "options" in record.attested:
        parts.append(short(record.attested["options"]))
    return ".".join(parts) + "." * (len(parts) < 3)


def short(value: Any) -> str:
    """16 hexadecimal characters that name a value."""
    return sha256(json.dumps(encode(value), sort_keys=True).encode()).hexdigest()[:16]


def _carried(footings: Sequence[str]) -> Iterator[str]:
    """Footings of which one that is known in part is that of the verdict before it, as far as the parts agree."""
    before = ""
    for one in footings:
        before = before if one.endswith(".") and before.startswith(one) else one
        yield before


def _flips(verdicts: Sequence[Verdict]) -> int:
    return sum((a.status in BLOCKS) != (b.status in BLOCKS) for a, b in pairwise(verdicts))
