"""The JSON that pytest-benchmark writes and reads, as records; times are in seconds there.

Fields and their meaning are those of release 5.3.1 (`Metadata.as_dict`, `Stats.fields` and
`pytest_benchmark_generate_json`), which are those of every release since 3.1; what is not read here is ignored.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.codec import decode, parsed
from harness.errors import UsageError

RELEASE = "5.3.1"
"""The release of pytest-benchmark whose JSON is written."""
TOOL = "pytest-benchmark"
ROUNDING = 1e-9
"""By how much a mean of equal times may miss them."""


@dataclass(frozen=True)
class Stats:
    """One benchmark's times in seconds; a round is the mean of its iterations."""

    min: float
    max: float
    mean: float
    stddev: float
    rounds: int
    median: float
    iqr: float
    q1: float
    q3: float
    iqr_outliers: int
    """Rounds outside of the fences, 1.5 interquartile ranges from the quartiles."""
    stddev_outliers: int
    """Rounds further than one standard deviation from the mean."""
    ld15iqr: float
    hd15iqr: float
    """Smallest and largest round within the fences."""
    outliers: str = ""
    """The two counts, "stddev;iqr"."""
    ops: float | None = None
    total: float | None = None
    iterations: int = 1
    data: Any = None
    """Every round, where they were kept."""


@dataclass(frozen=True)
class Benchmark:
    """One test that was timed."""

    name: str
    fullname: str
    stats: Stats
    group: Any = None
    params: Any = None
    param: Any = None
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """One file."""

    machine_info: Mapping[str, Any]
    commit_info: Mapping[str, Any]
    benchmarks: tuple[Benchmark, ...]
    datetime: str
    version: str

    @property
    def when(self) -> dt.datetime:
        """When it was written; without a zone it is taken as UTC, as releases before 4 wrote it."""
        found = dt.datetime.fromisoformat(self.datetime)
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def read(file: Path) -> Results:
    """The results in a file; UsageError when it is not what pytest-benchmark writes."""
    try:
        results = decode(Results, parsed(file.read_text(encoding="utf-8"), constants=True))  # of what it does not judge
        _check(results)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; {_WANTED}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{file}: not results of {TOOL}: {error}; {_WANTED}") from error
    return results


LONGEST_S = 1e12
"""No time is longer; a thousand times as much is still a number."""
_WANTED = "give a file that --benchmark-json, --benchmark-save or --benchmark-autosave wrote"


def _check(results: Results) -> None:
    """ValueError where the parts do not fit together."""
    _ = results.when
    if not results.benchmarks:
        raise ValueError("it holds no benchmark")
    name, count = Counter(one.fullname for one in results.benchmarks).most_common(1)[0]
    if count > 1:
        raise ValueError(f"'{name}' is in it {count} times")
    for benchmark in results.benchmarks:
        if problem := wrong(benchmark):
            raise ValueError(f"'{benchmark.fullname}': {problem}")


def wrong(benchmark: Benchmark) -> str | None:
    """What is wrong with the times of a benchmark; None when nothing is."""
    stats = benchmark.stats
    if not benchmark.fullname.strip():
        return "it has no name"
    if stats.rounds < 1 or stats.iterations < 1:
        return f"{stats.rounds} rounds of {stats.iterations} iterations are no measurement"
    others = (stats.stddev, stats.iqr, stats.q1, stats.q3, stats.ld15iqr, stats.hd15iqr)
    if not 0 <= stats.min <= stats.median <= stats.max or not all(0 <= one < LONGEST_S for one in (stats.max, *others)):
        return f"min {stats.min}, median {stats.median} and max {stats.max}, or their spread, are not those of times"
    if not stats.min * (1 - ROUNDING) <= stats.mean <= stats.max * (1 + ROUNDING):
        return f"the mean {stats.mean} is not between {stats.min} and {stats.max}"
    if stats.data is not None and not _times(stats.data, stats.rounds):
        return f"its data are not {stats.rounds} times"
    return None


def _times(data: Any, count: int) -> bool:
    if not isinstance(data, list) or len(data) != count:
        return False
    return all(type(one) in (int, float) and 0 <= one < LONGEST_S for one in data)
