"""Two artefacts timed in turns in one process: the launch is the unit of evidence, never the iteration.

Blocks of both sides alternate, the order turns round from pair to pair, and the first call of each block is dropped:
it pays for the change of sides. What the launch tells is the median over pairs of the log ratio of block medians.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness import stats
from harness.errors import CaseError
from harness.records import Evidence, LatencyPlan, Launch
from harness.timing.evidence import Objection, Sight, Watch
from harness.timing.settle import MOST_S, WITHIN, has_settled
from harness.timing.sides import Block, Side

SHARE = 0.2
"""Of a plain window's time, what each side takes in one launch at least."""
APART_SHARE, APART_PATIENCE_S = 0.1, 2.0
"""As above and `patience_s` where the sides are two processes: a change of sides may take them 30 ms."""
SAME_ORDER = 10
"""Disturbed pairs after which the order turns round, so that what comes of the order comes of neither side."""
ONE_SIDED = 0.95
"""Share of disturbed pairs that must be of one side alone to be that side's own doing."""
TAIL_FACTOR = 1.5
"""Iterations longer than this many medians of side a are its tail."""


@dataclass(frozen=True)
class DuelSettings:
    """How two sides are timed in turns; times are sums of iterations, so they hold for scripted ones as well."""

    min_pairs: int = 50
    min_time_s: float = 0.2
    """Of each side: a burst of a neighbour lasts about half of this."""
    long_time_s: float = 0.5
    """Of each side: from then on `fewer_pairs` are enough, or slow steps would cost many times a plain window."""
    fewer_pairs: int = 20
    block_ms: float = 1.5
    """A block lasts about this long, without its first call."""
    block_calls: tuple[int, int] = (5, 200)
    """Calls of a block at least and at most, without the first."""
    max_block_ms: float = 20.0
    """Slow steps have fewer calls than the least rather than blocks longer than this."""
    max_time_s: float = 20.0
    """Both sides together; from then on `fewest_pairs` are enough."""
    fewest_pairs: int = 10
    patience_s: float = 5.0
    """Both sides together; a launch with more disturbed pairs than good ones is not given up before."""
    warmup_s: float = 0.2
    """Both sides together, at least; then until blocks have settled."""
    max_warmup_s: float = MOST_S
    settled: float = WITHIN
    """Medians of four blocks in a row that differ by no more from one to the next."""

    def calls(self, median_ms: float) -> int:
        """Calls of a block, without the first, for a step of this duration."""
        least, most = self.block_calls
        fitting = max(1, int(self.max_block_ms / median_ms))
        return max(min(least, fitting), min(most, math.ceil(self.block_ms / median_ms)))

    def record(self) -> dict[str, Any]:
        """The settings for `Duel.settings`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def settings_for(plan: LatencyPlan, *, apart: bool = False) -> DuelSettings:
    """How the two sides of a case are timed; `apart` where they are two processes."""
    if apart:
        return DuelSettings(min_time_s=APART_SHARE * plan.min_time_s, patience_s=APART_PATIENCE_S)
    return DuelSettings(min_time_s=SHARE * plan.min_time_s)


@dataclass(frozen=True)
class Pair:
    """The kept iterations of one block of each side, in milliseconds of the clock that decides."""

    a_ms: tuple[float, ...]
    b_ms: tuple[float, ...]

    @property
    def log_ratio(self) -> float:
        """The logarithm of b's median over a's."""
        return math.log(_median(self.b_ms) / _median(self.a_ms))


@dataclass(frozen=True)
class Progress:
    """How far a launch is: pairs, and the time that their kept iterations took."""

    good: int = 0
    bad: int = 0
    a_ms: float = 0.0
    b_ms: float = 0.0
    """As `a_ms`, of the good pairs alone."""
    spent_ms: float = 0.0

    def after(self, pair: Pair, *, good: bool) -> Progress:
        """One pair further."""
        a_ms, b_ms = sum(pair.a_ms), sum(pair.b_ms)
        spent_ms = self.spent_ms + a_ms + b_ms
        if not good:
            return replace(self, bad=self.bad + 1, spent_ms=spent_ms)
        return Progress(self.good + 1, self.bad, self.a_ms + a_ms, self.b_ms + b_ms, spent_ms)

    @property
    def reverse(self) -> bool:
        """Whether b comes first: a pair that is measured again keeps its order, but not for long."""
        return (self.good + self.bad // SAME_ORDER) % 2 == 1

    def enough(self, settings: DuelSettings) -> bool:
        """Pairs in both orders equally often, and enough of them, or as many as the time allows."""
        if self.good % 2 or self.good < settings.fewest_pairs:
            return False
        each_s = min(self.a_ms, self.b_ms) / 1e3
        slow = each_s >= settings.long_time_s and self.good >= settings.fewer_pairs
        plenty = each_s >= settings.min_time_s and self.good >= settings.min_pairs
        return slow or plenty or self.spent_ms >= settings.max_time_s * 1e3

    def hopeless(self, settings: DuelSettings) -> bool:
        """More bad pairs than good ones for longer than a burst lasts, or twice the time gone."""
        too_many = self.bad > max(self.good, settings.min_pairs) and self.spent_ms >= settings.patience_s * 1e3
        return too_many or (self.bad > 0 and self.spent_ms >= 2 * settings.max_time_s * 1e3)


def duel(a: Side, b: Side, settings: DuelSettings, *, first: str, watch: Watch) -> Launch:
    """One launch; `first` ("a" or "b") is the side whose session was made first.

    Pairs that were disturbed are measured again, as often as there are good ones and for `patience_s`; a launch that
    stays disturbed, or shares its GPU, is `spoiled`. The figures of a launch without a good pair are of its bad ones.
    What disturbs one side alone, whichever comes first, comes of that side (threads that wait for each other, power
    that lowers the clocks): that is what it costs, and all pairs count.
    """
    if a.decided_on != b.decided_on:
        raise CaseError(f"one side is timed by the {a.decided_on}'s clock, the other by the {b.decided_on}'s")
    calls = _warm_up(a, b, settings)
    pairs: dict[bool, list[Pair]] = {True: [], False: []}
    objections: list[Objection] = []
    progress = Progress()
    while not (progress.enough(settings) or progress.hopeless(settings)):
        pair, objection = _turn(a, b, calls, watch, reverse=progress.reverse)
        progress = progress.after(pair, good=objection is None)
        pairs[objection is None].append(pair)
        objections += [objection] if objection else []
    evidence = watch.summary()
    redone = dict(Counter(one.word for one in objections))
    counted, spoiled = pairs[True] or pairs[False], _foreign(evidence)
    if not progress.enough(settings):
        if side := _of_one_side(objections):
            counted, redone = pairs[True] + pairs[False], {f"kept: of {side} alone": len(objections)}
        else:
            spoiled = _disturbed(progress, objections)
    return _launch(counted, first=first, redone=redone, spoiled=spoiled, evidence=evidence)


def _of_one_side(objections: Sequence[Objection]) -> str:
    """The side that nearly all objections are of; empty where chance or a neighbour hit both."""
    counts = Counter(one.sides for one in objections)
    side, count = counts.most_common(1)[0]
    return side if len(side) == 1 and count >= ONE_SIDED * len(objections) else ""


def _launch(pairs: Sequence[Pair], **told: Any) -> Launch:
    a_ms = sorted(time for pair in pairs for time in pair.a_ms)
    b_ms = sorted(time for pair in pairs for time in pair.b_ms)
    threshold_ms = TAIL_FACTOR * stats.median(a_ms)
    return Launch(
        log_ratio=stats.median(sorted(pair.log_ratio for pair in pairs)),
        tail=_share_above(b_ms, threshold_ms) - _share_above(a_ms, threshold_ms),
        a_p50_ms=stats.median(a_ms),
        b_p50_ms=stats.median(b_ms),
        pairs=len(pairs),
        samples=len(a_ms),
        **told,
    )


def _turn(a: Side, b: Side, calls: int, watch: Watch, *, reverse: bool) -> tuple[Pair, Objection | None]:
    """One pair of blocks, b's first if reversed, and why they may not be compared."""
    seen: dict[str, tuple[tuple[float, ...], Sight]] = {}
    for name, side in (("b", b), ("a", a)) if reverse else (("a", a), ("b", b)):
        block = side.block(calls + 1)
        seen[name] = kept(block, side), watch.see(block)
    return Pair(seen["a"][0], seen["b"][0]), watch.objection(seen["a"][1], seen["b"][1])


def kept(block: Block, side: Side) -> tuple[float, ...]:
    """A block's iterations but the first, in milliseconds of the clock that decides; CaseError if it shows no time."""
    told = (block.gpu_ms if side.decided_on == "gpu" else block.host_ms) or ()
    if len(told) < 2 or _median(told[1:]) <= 0:
        raise CaseError(f"the {side.decided_on}'s clock shows no time for an iteration: it is too short to be timed")
    return told[1:]


def _warm_up(a: Side, b: Side, settings: DuelSettings) -> int:
    """Run both sides in turns until their blocks have settled; the calls of a block (without the first)."""
    medians: dict[str, list[float]] = {"a": [], "b": []}
    calls, spent_ms = 1, 0.0
    while spent_ms < settings.max_warmup_s * 1e3:
        for name, side in (("a", a), ("b", b)):
            told = kept(side.block(calls + 1), side)
            spent_ms += sum(told)
            medians[name].append(_median(told))
        calls = settings.calls(max(found[-1] for found in medians.values()))
        if spent_ms >= settings.warmup_s * 1e3 and all(
            has_settled(found, settings.settled) for found in medians.values()
        ):
            break
    return calls


def _disturbed(progress: Progress, objections: Sequence[Objection]) -> str:
    """What kept a launch from being clean: every reason with its count and what was seen last."""
    counts, last = Counter(one.word for one in objections), {one.word: one.words for one in objections}
    told = "; ".join(f"{count} by {word} ({last[word]})" for word, count in counts.most_common())
    return f"{progress.bad} of {progress.good + progress.bad} pairs were disturbed: {told}"


def _foreign(evidence: Evidence) -> str | None:
    if not evidence.foreign:
        return None
    return f"other processes used the GPU: {', '.join(evidence.foreign)}"


def _share_above(ordered: Sequence[float], threshold: float) -> float:
    return (len(ordered) - bisect_right(ordered, threshold)) / len(ordered)


def _median(values: Sequence[float]) -> float:
    return stats.median(sorted(values))
