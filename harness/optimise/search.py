"""Which builds of a model to try, in which order: single steps first, then what held, combined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.optimise.trials import Trial
from harness.suites.derived import Build

PLAIN = Build("fp32")
SINGLE = (
    Build("fp16"),
    Build("as-is", ("weights-int8",), makes_precision=True),
    Build("int8"),
    Build("as-is", ("weights-int4",), makes_precision=True),
    Build("as-is", ("dynamic-int8",), makes_precision=True),
    Build("bf16"),
    Build("fp32", ("fold-bn",)),
    Build("fp32", ("clean",)),
    Build("fp32", ("prune-2:4",)),
    Build("fp32", ("prune-30%",)),
    Build("fp32", ("prune-50%",)),
    Build("fp32", ("prune-70%",)),
)
MIXED = tuple(
    Build(precision, (f"mixed-{precision}-{count}",), makes_precision=True)
    for precision in ("int8", "fp16")
    for count in (1, 2, 4)
)
"""Where the whole model in that precision does not hold."""
BASES = frozenset(one for one in (*SINGLE, *MIXED) if one.precision != "fp32")
"""Builds that make a precision, which changes of the graph may stand in front of."""
KEPT = 3
"""Of what held, so many builds are combined with changes that held."""


def following(tried: Sequence[Trial], objective: str) -> Iterator[Build]:
    """The builds that are still to be tried after these, best hopes first; it must be asked again after each."""
    done = {one.build for one in tried}
    held = {one.build for one in tried if one.holds}
    failed = {one.build for one in tried if one.status == "failed"}
    builds = [
        PLAIN,
        *SINGLE,
        *(one for one in MIXED if Build(one.precision) in failed),
        *_combined(tried, held, objective),
    ]
    yield from (one for one in dict.fromkeys(builds) if one not in done)


def _combined(tried: Sequence[Trial], held: set[Build], objective: str) -> Iterator[Build]:
    """Changes of the graph that held, in front of the best builds that do not change it."""
    order = sorted((one for one in tried if one.holds), key=lambda one: one.worth(objective))
    bases = [one.build for one in order if one.build in BASES][:KEPT]
    changes = [one.build.steps for one in order if _rewrites(one.build) and len(one.build.steps) == 1]
    exact = tuple(step for step in ("fold-bn", "clean") if Build("fp32", (step,)) in held)
    for base in bases:
        for change in changes:
            steps = change if change[0] in exact else (*exact, *change)
            yield Build(base.precision, (*steps, *base.steps), base.makes_precision)


def _rewrites(build: Build) -> bool:
    return build.precision == "fp32" and bool(build.steps)
