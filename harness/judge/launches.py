"""What launches of a case say: estimates of the change of its median and of its tail, and what can be told of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness import stats
from harness.records import Admission, Duel, LatencyPlan, Launch

LOOKS = (2, 5, 10)
"""Clean launches after which a case is looked at; only the last look may fail it."""
FEWEST = 8
"""Clean launches without which the last look decides nothing, where others were spoiled."""
MOST = 15
"""Launches of a case, spoiled ones counted, after which no other takes the place of a spoiled one."""
CONFIRMING = 5
"""The latest launches, whose median must be beyond the margin as well."""
LIMIT = 0.02
"""The slowdown that the gate must find, where the suite states none; changes up to half of it never fail."""
FLOOR_US = 0.5
"""Changes that never count, where the suite states none: about what the clocks of a GPU and a host resolve."""
ALPHA = 0.05
"""Holm-adjusted probability below which a slowdown is taken as proven."""
SURE = 0.99
"""Share of one-sided bounds that hold."""
CALM = 0.75
"""Share of the margin below which the first looks let a case go."""
SMALLEST_SD = 0.001
"""No set of launches is taken to repeat better than this (log ratio)."""
HISTORY = 10
"""Launches that the admission counts for at most, beside a case's own."""
TAIL_MARGIN, TAIL_LIMIT = 0.01, 0.02
"""Share of slow calls more than the accepted artefact's: what never fails, and what must be found."""
TAIL_SD, TAIL_HISTORY = 0.005, 5
"""What launches of unchanged code differ by in that share, and how many launches that knowledge counts for."""
SLOW_CALL = 0.5
"""By how much of the median a call must be longer to count as slow."""
HYPOTHESES = 50
"""Of a suite, for the smallest slowdown that is found: Holm then asks for p < 0.001 at first."""
POWER = 0.95


@dataclass(frozen=True)
class Estimate:
    """What launches tell about one quantity."""

    middle: float
    """Median of the launches."""
    mean: float
    sd: float
    """Standard deviation of launches, with what was known of it before."""
    error: float
    """Standard error of the mean."""
    df: float
    latest: float
    """Median of the latest launches."""

    @property
    def upper(self) -> float:
        """The one-sided upper 99 % bound of the mean."""
        return self.mean + stats.student_quantile(SURE, self.df) * self.error

    @property
    def lower(self) -> float:
        """The one-sided lower 99 % bound of the mean."""
        return self.mean - stats.student_quantile(SURE, self.df) * self.error

    def p(self, margin: float) -> float:
        """The probability of launches like these if the quantity were the margin."""
        return stats.student_tail((self.mean - margin) / self.error, self.df)


@dataclass(frozen=True)
class Found:
    """What the clean launches of a case say, and what it is judged by; log ratios, unless stated."""

    launches: int
    ratio: Estimate
    tail: Estimate
    margin: float
    limit: float
    a_ms: float
    floor_us: float
    least: float | None
    """Smallest relative slowdown that is found here; None without admission."""
    needed: int
    """Clean launches that the last look needs."""
    raised_from: float | None = None
    """The limit that was asked for, relative, where no launches could resolve it."""

    @property
    def last(self) -> bool:
        """Whether this is the last look."""
        return self.launches >= self.needed

    @property
    def advisory(self) -> bool:
        """Whether the case repeats too badly for its limit: it is measured and told, and only fails if `gross`."""
        return self.least is not None and self.least > math.expm1(self.limit)

    @property
    def _visible(self) -> float:
        """What is found of a case that repeats too badly for its limit."""
        return max(self.limit, math.log1p(self.least or 0.0))

    @property
    def seems_gross(self) -> bool:
        """Whether the slowdown seems larger than even a case that repeats badly hides."""
        return self.ratio.middle > self._visible and self.change_us > self.floor_us

    @property
    def gross(self) -> bool:
        """Whether that is shown, by the last look."""
        shown = self.ratio.lower > self._visible and self.ratio.latest > self._visible
        return self.last and shown and self.seems_gross

    @property
    def fast(self) -> bool:
        """Whether the median is shown to be within the limit."""
        return self.ratio.upper < self.limit

    @property
    def calls_matter(self) -> bool:
        """Whether calls that count as slow take longer by more than the floor."""
        return SLOW_CALL * self.a_ms * 1e3 > self.floor_us

    @property
    def even(self) -> bool:
        """Whether the tail is shown to be within its limit."""
        return not self.calls_matter or self.tail.upper < TAIL_LIMIT

    @property
    def acquitted(self) -> bool:
        """Whether the case may leave at this look."""
        looked = self.last or self.launches in LOOKS
        calm = self.ratio.middle < math.log1p(CALM * math.expm1(self.margin)) and self.fast
        quiet = self.even and (not self.calls_matter or self.tail.middle < CALM * TAIL_MARGIN)
        return looked and calm and quiet and not self.advisory

    @property
    def change_us(self) -> float:
        """The change of the median in microseconds."""
        return self.a_ms * 1e3 * math.expm1(self.ratio.middle)


def mde(sd: float, limit: float = LIMIT, hypotheses: int = HYPOTHESES, launches: int = HISTORY) -> float:
    """The smallest relative slowdown that the last look fails in 95 of 100 decisions, from the sd of A/A launches.

    exp(margin + sd / sqrt(10) * (t[1 - alpha / hypotheses] + t[0.95])) - 1, with t the quantiles of Student's t,
    margin = ln(1 + limit / 2): what the mean of ten launches must exceed for the first step of Holm's procedure, and by
    how much the truth must lie above that. Degrees of freedom are 8 of the ten launches, which also tell what the order
    of creation is worth, and those of the admission. That the last five confirm costs nothing beside it: their median
    is beyond the margin in 999 of 1000.
    """
    return math.expm1(math.log1p(limit / 2) + _reach(sd, hypotheses, launches))


def smallest_limit(launches: int = HISTORY) -> float:
    """The smallest limit that the gate can resolve: mde(SMALLEST_SD, limit) = limit, solved for the limit.

    (1 + limit / 2) * e = 1 + limit with e = exp(reach), so limit = (e - 1) / (1 - e / 2): 0.35 % after an admission of
    ten launches.
    """
    e = math.exp(_reach(SMALLEST_SD, HYPOTHESES, launches))
    return (e - 1) / (1 - e / 2) * (1 + 1e-9)  # so that rounding does not make it a limit that is not resolved


def _reach(sd: float, hypotheses: int, launches: int) -> float:
    """How far beyond the margin a slowdown must be to be found (log ratio)."""
    df = LOOKS[-1] - 2 + _known(launches)
    steps = stats.student_quantile(1 - ALPHA / hypotheses, df) + stats.student_quantile(POWER, df)
    return max(sd, SMALLEST_SD) / math.sqrt(LOOKS[-1]) * steps


def _known(launches: int) -> int:
    """Degrees of freedom of an admission of that many launches: two alone do not tell what their order is worth."""
    counted = min(launches, HISTORY)
    return max(0, counted - (2 if counted > 2 else 1))


def admit(duel: Duel, plan: LatencyPlan) -> Admission | None:
    """What launches of a case against itself say about it; None from fewer than two clean ones."""
    launches = clean(duel)
    if len(launches) < LOOKS[0]:
        return None
    sd = _levelled(launches).sd
    limit = max(_limit(plan, launches), smallest_limit(len(launches)))
    return Admission(sd, len(launches), mde(sd, limit, launches=len(launches)))


def clean(duel: Duel) -> list[Launch]:
    """The launches that are evidence."""
    return [launch for launch in duel.launches if why_not(launch) is None]


def weigh(duel: Duel, plan: LatencyPlan, admission: Admission | None) -> Found | None:
    """What the clean launches of a case say; None where there are fewer than two."""
    launches = clean(duel)
    if len(launches) < LOOKS[0]:
        return None
    sd, admitted = (admission.sd, admission.launches) if admission and admission.launches > 1 else (0.0, 0)
    asked = _limit(plan, launches)
    limit = max(asked, smallest_limit(admitted))
    return Found(
        launches=len(launches),
        ratio=_estimate(_levelled(launches), max(sd, SMALLEST_SD), _known(admitted)),
        tail=_estimate(Sample([launch.tail for launch in launches]), TAIL_SD, TAIL_HISTORY),
        margin=math.log1p(limit / 2),
        limit=math.log1p(limit),
        a_ms=_middle([launch.a_p50_ms for launch in launches]),
        floor_us=_floor_us(plan),
        least=mde(sd, limit, launches=admitted) if admitted else None,
        needed=FEWEST if len(duel.launches) >= MOST else LOOKS[-1],
        raised_from=asked if limit > asked else None,
    )


@dataclass(frozen=True)
class Sample:
    """Values of launches."""

    values: Sequence[float]
    orders: Sequence[int] = ()
    """How many launches there are of each order of creation, where what that is worth was taken off them."""

    @property
    def df(self) -> int:
        """Degrees of freedom of their spread."""
        return len(self.values) - max(1, len(self.orders))

    @property
    def sd(self) -> float:
        """Their standard deviation; 0 where nothing is left to tell it."""
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / self.df) if self.df else 0.0

    @property
    def mean(self) -> float:
        """Their mean; of both orders alike, where these are known."""
        return math.fsum(self.values) / len(self.values)

    @property
    def share(self) -> float:
        """The standard error of the mean, in standard deviations: that of a mean of the means of both orders."""
        if not self.orders:
            return 1 / math.sqrt(len(self.values))
        return math.sqrt(math.fsum(1 / count for count in self.orders)) / len(self.orders)


def _levelled(launches: Sequence[Launch]) -> Sample:
    """The log ratios without what it is worth to be created first, about half a percent: that is of neither side.

    Half the difference of both orders' means is taken off, which is the linear model with the order as its regressor.
    Two launches are taken as they are: nothing would be left that tells order from noise.
    """
    values = [launch.log_ratio for launch in launches]
    orders = {side: [launch.log_ratio for launch in launches if launch.first == side] for side in "ab"}
    if not all(orders.values()) or len(values) < 3:
        return Sample(values)
    worth = {side: math.fsum(some) / len(some) for side, some in orders.items()}
    off = (worth["a"] - worth["b"]) / 2
    level = [launch.log_ratio - (off if launch.first == "a" else -off) for launch in launches]
    return Sample(level, [len(some) for some in orders.values()])


def _estimate(sample: Sample, known_sd: float, history: float) -> Estimate:
    """Mean and error, the variance pulled towards what was known of it.

    The moderated t of Smyth (Statistical Applications in Genetics and Molecular Biology 3, 2004): prior variance and
    own variance, each weighted by its degrees of freedom. Without history the known sd is only a lower bound.
    """
    df = history + sample.df
    sd = math.sqrt((history * known_sd**2 + sample.df * sample.sd**2) / df) if history else max(sample.sd, known_sd)
    values = sample.values
    return Estimate(_middle(values), sample.mean, sd, sd * sample.share, df, _middle(values[-CONFIRMING:]))


def why_not(launch: Launch) -> str | None:
    """Why a launch is no evidence; None where it is."""
    if launch.spoiled is not None:
        return launch.spoiled
    if not (math.isfinite(launch.log_ratio) and math.isfinite(launch.tail) and launch.a_p50_ms > 0):
        return "no time was measured"
    return None


def _floor_us(plan: LatencyPlan) -> float:
    return FLOOR_US if plan.floor_us is None else plan.floor_us


def _limit(plan: LatencyPlan, launches: Sequence[Launch]) -> float:
    """What is below the floor never counts, so the limit of a case is no smaller than that."""
    asked = LIMIT if plan.regression is None else plan.regression
    return max(asked, _floor_us(plan) / 1e3 / _middle([launch.a_p50_ms for launch in launches]))


def _middle(values: Sequence[float]) -> float:
    return stats.median(sorted(values))
