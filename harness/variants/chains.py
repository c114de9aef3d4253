"""What chains of variants may say: the steps, their numbers, and the precision that a chain is built at.

A chain is a list of steps, each a change of the graph: `[fold-bn, prune-2:4, int8]`. Its last step may be a precision,
or make the file of one; otherwise the chain is built at every precision of the model. Nothing here imports a runtime.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.errors import did_you_mean
from harness.records import PRECISIONS
from harness.records.plans import built_as
from harness.registry import Registry

STEPS = Registry(
    "variant",
    {
        "fold-bn": "harness.variants.folding:fold_bn",
        "clean": "harness.variants.cleaning:clean",
        "prune-2:4": "harness.variants.sparsity:two_of_four",
        "prune": "harness.variants.pruning:prune",
        "mixed-int8": "harness.variants.mixed:mixed_int8",
        "mixed-fp16": "harness.variants.mixed:mixed_fp16",
        "dynamic-int8": "harness.variants.dynamic:dynamic_int8",
        "weights-int8": "harness.variants.weight_only:weights_int8",
        "weights-int4": "harness.variants.weight_only:weights_int4",
    },
)
"""A step is a function `(step, plan, fetched, info, cache) -> Variant` that raises as precisions do."""
NUMBERED: dict[str, tuple[str, ...]] = {"prune": ("%",), "mixed-int8": ("", "db"), "mixed-fp16": ("", "db")}
"""Steps that carry a number, and its units."""
MAKES = {
    "dynamic-int8": "as-is",
    "weights-int8": "as-is",
    "weights-int4": "as-is",
    "mixed-int8": "int8",
    "mixed-fp16": "fp16",
}
"""Steps that make the file of a precision; nothing may follow them."""
EXACT = frozenset({"fold-bn", "clean"})
"""Steps that leave what the model computes as it is, up to rounding."""
LONGEST = 8
"""Steps of one chain."""


@dataclass(frozen=True)
class Step:
    """One step of a chain, as it is written and as it is found in the registry."""

    text: str
    name: str
    number: int = 0
    """0 where the step carries none."""
    unit: str = ""


@dataclass(frozen=True)
class Chain:
    """A checked chain: what is done to the model, and the precision of its cases where the chain says it."""

    steps: tuple[str, ...]
    precision: str | None = None

    @property
    def built_as(self) -> str:
        """Its part of the case id, where the precision is known."""
        return built_as(self.precision or "", self.steps)

    @property
    def changes(self) -> bool:
        """Whether it changes what the model computes on purpose."""
        return any(step_of(text).name not in EXACT for text in self.steps)


PLAIN = Chain(())
"""The model as it is."""


def step_of(text: str) -> Step:
    """A step from its text; ValueError says what is wrong with it."""
    if text in STEPS and text not in NUMBERED:
        return Step(text, text)
    found = re.fullmatch(r"(.+?)-([1-9]\d{0,3})(%|db)?", text)
    name, unit = (found[1], found[3] or "") if found else ("", "")
    if not found or unit not in NUMBERED.get(name, ()):
        raise ValueError(f"unknown variant '{text}'{did_you_mean(text, list(spelt()))}")
    if unit == "%" and int(found[2]) > 99:
        raise ValueError(f"'{text}': is all there is: 1% to 99%")
    return Step(text, name, int(found[2]), unit)


def spelt() -> Iterator[str]:
    """How the steps are written, N for a number."""
    for name in STEPS:
        yield from (f"{name}-N{unit}" for unit in NUMBERED[name]) if name in NUMBERED else (name,)


def chain_of(texts: Sequence[str]) -> Chain:
    """A chain from what a suite says; ValueError says what is wrong with it."""
    if not 1 <= len(texts) <= LONGEST:
        raise ValueError(f"a chain has 1 to {LONGEST} steps, not {len(texts)}")
    *before, last = texts
    if last in PRECISIONS:
        if not before:
            raise ValueError(f"'{last}' alone is a precision: name it in `precisions`")
        precision: str | None = last
        steps = before
    else:
        steps, precision = list(texts), MAKES.get(step_of(last).name)
    for text in before:
        _goes_on(text)
    if len(set(steps)) < len(steps):
        raise ValueError(f"does a step twice: {', '.join(steps)}")
    return Chain(tuple(steps), precision)


def _goes_on(text: str) -> None:
    """ValueError for a step that nothing may follow."""
    if text in PRECISIONS or step_of(text).name in MAKES:
        raise ValueError(f"'{text}' makes the file that is built: it must be the last of its chain")
