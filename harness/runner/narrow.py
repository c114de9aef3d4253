"""Where a candidate parts from a yardstick: tensors are marked a few a build, and the graph is narrowed down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.runner.findings import Distance, Part, Probe, Spot

MARKS = 8
"""Tensors that become outputs in one build; more would disturb what the backend fuses."""
TOP = 3
"""Of the parts that add most error so many are narrowed down to single nodes."""

Look = Callable[[Sequence[str]], "Probe | None"]
"""One build with these tensors marked; None when no more builds are allowed."""


@dataclass(frozen=True)
class Question:
    """From what a candidate parts, and how far counts."""

    yardstick: str
    """"twin": in units of the limits of rounding; "fp32": relative to the fp32 model."""
    threshold: float
    output: str
    """The final output that fails, or the float tensor above it that stands for it."""
    stands_for: str | None = None
    """The output that fails, where it holds no floats: `output` is then marked in every build."""

    def far(self, distance: Distance | None) -> float:
        """The distance as one number; infinite where there are elements that should be finite."""
        if distance is None:
            return 0.0
        if self.yardstick == "twin":
            return math.inf if distance.nonfinite else distance.excess or 0.0
        return math.inf if distance.overflowed else distance.relative or 0.0

    def parted(self, distance: Distance | None) -> bool:
        """Whether a tensor at this distance is no longer that of the yardstick."""
        return self.far(distance) > self.threshold


@dataclass
class Narrowing:
    """What the builds so far have shown."""

    question: Question
    spots: Mapping[str, Spot]
    look: Look
    first: str = ""
    distances: dict[str, Distance] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    hiding: set[str] = field(default_factory=set)
    """Tensors whose marking alone makes the failure go away, or the build impossible."""
    size: int = MARKS

    def probe(self, marks: Sequence[str]) -> Probe | None:
        """One build; what it shows counts unless marking made the failure go away."""
        always = [self.question.output] if self.question.stands_for and self.question.output not in marks else []
        found = self.look([*marks, *always])
        if found is None:
            return None
        told = f"{len(marks)} tensors" if len(marks) > 1 else f"'{marks[0]}'"
        if found.refused is not None:
            self._hidden(marks, f"build {found.number}: cannot be made with {told} marked as outputs: {found.refused}")
            return found
        if found.changed is not None and found.changed > 1:
            self.notes.append(
                f"build {found.number}: marking {told} as outputs moved the final outputs by {found.changed:.3g} times "
                "what rounding allows: it changes what the backend fuses"
            )
        if not self.question.parted(found.distances.get(self.question.output)):
            self._hidden(marks, f"build {found.number}: with {told} marked as outputs the case no longer fails")
            return found
        self.distances |= found.distances
        for part in found.parts:
            known = self.parts.get(part.tensor)
            if part.nodes and (known is None or len(part.nodes) < len(known.nodes)):
                self.parts[part.tensor] = part
        return found

    def hidden(self, found: Probe) -> bool:
        """Whether the failure went away in a build, or the build could not be made."""
        return not self.question.parted(found.distances.get(self.question.output))

    def _hidden(self, marks: Sequence[str], note: str) -> None:
        self.notes.append(note)
        if len(marks) == 1:
            self.hiding.add(marks[0])
        self.size = max(1, min(self.size, len(marks)) // 2)

    def ranking(self) -> list[Part]:
        """The parts, those that add most error first."""
        order = {name: position for position, name in enumerate(self.spots)}
        return sorted(self.parts.values(), key=lambda part: (-self.question.far(part.added), order[part.tensor]))


def locate(state: Narrowing) -> None:
    """Find the first tensor that has parted, upstream of the failing output.

    What a tensor that has not parted is computed from is taken to be right as well.
    """
    state.first = state.question.output
    right: set[str] = set()
    while left := [name for name in state.spots if name in above(state.spots, [state.first]) - right - state.hiding]:
        marks = spread(left, state.size)
        found = state.probe(marks)
        if found is None:
            return
        if state.hidden(found):
            continue
        for name in marks:
            if state.question.parted(found.distances.get(name)):
                state.first = name
                break
            right |= {name, *above(state.spots, [name])}


def rank(state: Narrowing, more: Callable[[], bool]) -> None:
    """Narrow the parts that add most error down to single nodes, while `more` builds are allowed."""
    tried: set[tuple[str, int]] = set()
    while more():
        part = next(
            (p for p in state.ranking()[:TOP] if (p.tensor, len(p.nodes)) not in tried and _inner(state, p)), None
        )
        if part is None:
            return
        tried.add((part.tensor, len(part.nodes)))
        edge = [name for name in (*part.inputs[:MARKS], part.tensor) if not state.spots[name].final]
        if state.probe([*edge, *spread(_inner(state, part), state.size)]) is None:
            return


def _inner(state: Narrowing, part: Part) -> list[str]:
    made = {node.tensor for node in part.nodes}
    return [
        name
        for name, spot in state.spots.items()
        if spot.node.tensor in made and name != part.tensor and not spot.final and name not in state.hiding
    ]


def above(spots: Mapping[str, Spot], names: Iterable[str]) -> set[str]:
    """The tensors that these are computed from; not themselves."""
    found: set[str] = set()
    waiting = [up for name in names for up in spots[name].reads]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += spots[name].reads
    return found


def spread(names: Sequence[str], count: int) -> list[str]:
    """At most so many of the names, evenly over their order."""
    if len(names) <= count:
        return list(names)
    step = len(names) / (count + 1)
    return [names[int(step * (number + 1))] for number in range(count)]


def touching(spots: Iterable[Spot], tensors: set[str]) -> list[str]:
    """The nodes (by first output) that make or read one of these tensors."""
    return [spot.node.tensor for spot in spots if spot.tensor in tensors or tensors & {*spot.reads}]
