"""Rules of other tools that compare runs, from their published formulas; each says whether it would raise an alarm.

- pytest-benchmark, `--benchmark-compare-fail=mean:5%`: `PercentageRegressionCheck` (pytest_benchmark/utils.py): the
  increase over the saved run in percent, strictly above the threshold.
- criterion.rs, defaults: `src/analysis/compare.rs` and `src/stats/univariate/mixed.rs`: p of a bootstrapped t statistic
  below 0.05, then the bootstrapped 95 % interval of the relative change of means beyond 1 %
  (`src/report.rs`, `compare_to_threshold`). Its 100 samples are consecutive batches here; 2,000 resamples for 100,000.
- bencher, t-test with an upper boundary of 0.99 (`lib/bencher_boundary`): a new value above
  mean + t[0.99, n - 1] * sd * sqrt(1 + 1/n) of the earlier ones; here of 20 means.
- Welch's t-test and the Mann-Whitney test at p < 0.05 on the calls of two runs, as scripts around benchmarks do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from quality.latency.stored import Window

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rule:
    """An alarm on a candidate's window against those of earlier runs, the latest last."""

    name: str
    earlier: int
    """Windows that it compares with."""
    alarm: Callable[[Sequence[Window], Window], bool]


def percentage(field: str, percent: float, earlier: Sequence[Window], now: Window) -> bool:
    """pytest-benchmark: one statistic of the window grew by more than so many percent."""
    before = float(attrgetter(field)(earlier[-1]))
    return float(attrgetter(field)(now)) / before * 100 - 100 > percent


def criterion(earlier: Sequence[Window], now: Window, noise: float = 0.01, resamples: int = 2000) -> bool:
    """criterion.rs: the means differ by a bootstrapped t-test, and the interval of the change is beyond the noise."""
    new, base = np.asarray(now.batches_ms), np.asarray(earlier[-1].batches_ms)
    rng = np.random.default_rng(0)
    pooled = np.concatenate([new, base])
    drawn = [pooled[rng.integers(0, len(pooled), (resamples, len(one)))] for one in (new, base)]
    below = int(np.sum(_t(*drawn) < _t(new, base)))
    if 2 * min(below, resamples - below) / resamples >= 0.05:
        return False
    means = [one[rng.integers(0, len(one), (resamples, len(one)))].mean(axis=-1) for one in (new, base)]
    return bool(np.quantile(means[0] / means[1] - 1, 0.025) > noise)


def _t(new: Array, base: Array) -> Array:
    variance = new.var(axis=-1, ddof=1) / new.shape[-1] + base.var(axis=-1, ddof=1) / base.shape[-1]
    return np.asarray((new.mean(axis=-1) - base.mean(axis=-1)) / np.sqrt(variance))


def bencher(earlier: Sequence[Window], now: Window) -> bool:
    """bencher: the mean is above the prediction interval of the earlier ones."""
    from scipy.special import stdtrit

    means = np.asarray([one.mean_ms for one in earlier])
    scale = means.std(ddof=1) * math.sqrt(1 + 1 / len(means))
    return bool(now.mean_ms > means.mean() + stdtrit(len(means) - 1, 0.99) * scale)


def welch(earlier: Sequence[Window], now: Window) -> bool:
    """Welch's t-test on all calls of two windows, two-sided, towards slower."""
    from scipy.stats import ttest_ind_from_stats

    (new, base) = ((one.mean_ms, one.sd_ms, one.count) for one in (now, earlier[-1]))
    found = ttest_ind_from_stats(*new, *base, equal_var=False)
    return bool(found.pvalue < 0.05 and found.statistic > 0)


def mann_whitney(earlier: Sequence[Window], now: Window) -> bool:
    """The Mann-Whitney test on calls of two windows, two-sided, towards slower."""
    from scipy.stats import mannwhitneyu

    new, base = now.calls_ms, earlier[-1].calls_ms
    return bool(mannwhitneyu(new, base).pvalue < 0.05 and np.median(new) > np.median(base))


RULES = (
    Rule("pytest-benchmark mean:5%", 1, partial(percentage, "mean_ms", 5)),
    Rule("pytest-benchmark min:5%", 1, partial(percentage, "min_ms", 5)),
    Rule("criterion, defaults", 1, criterion),
    Rule("bencher t-test 0.99", 20, bencher),
    Rule("Welch p < 0.05 on calls", 1, welch),
    Rule("Mann-Whitney p < 0.05 on calls", 1, mann_whitney),
)
