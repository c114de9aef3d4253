"""Metrics of installed distributions: entry points of the group `trt_harness.metrics`, each a `Metric`.

They are looked for when suites are checked or outputs compared, and never before; only those that the command line
allows by name are imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from harness.allowed import OPTION, names
from harness.errors import InputError, UsageError, did_you_mean
from harness.metrics import ELEMENTWISE, LIMITS, METRICS, SETTINGS

if TYPE_CHECKING:
    from harness.metrics.base import Metric

GROUP = "trt_harness.metrics"


@cache
def declared() -> tuple[str, ...]:
    """The names of all metrics that installed distributions bring; nothing is imported for it."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def installed() -> Mapping[str, Metric]:
    """Metrics that are installed and allowed, by name; UsageError names one that cannot be used, and why."""
    wanted = names()
    return _loaded(wanted) if wanted else {}


def require_installed() -> None:
    """UsageError where a metric is allowed that nothing brings, or that cannot be used."""
    for name in sorted(names().difference(declared())):
        raise UsageError(
            f"{OPTION} {name}: no installed distribution brings a metric of that name{did_you_mean(name, declared())} "
            "(a file is written with a slash, ./name)"
        )
    installed()


@cache
def _loaded(wanted: frozenset[str]) -> Mapping[str, Metric]:
    metrics: dict[str, Metric] = {}
    for entry in entry_points(group=GROUP):
        if entry.name not in wanted:
            continue
        try:
            metric = entry.load()
        except Exception as error:
            raise UsageError(f"{_where(entry)} cannot be loaded: {type(error).__name__}: {error}") from error
        if problem := _problem(entry.name, metric, metrics):
            raise UsageError(f"{_where(entry)} {problem}")
        metrics[entry.name] = _guarded(entry, metric)
    return metrics


def limit_of(metric: Metric) -> str:
    """The name of the limit on a metric of an installed distribution: `<metric>_min` or `<metric>_max`."""
    return f"{metric.name}_{metric.side}"


def _where(entry: EntryPoint) -> str:
    origin = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"the metric '{entry.name}'{origin} ({GROUP}, {entry.value}), to be mended or uninstalled,"


def _problem(name: str, metric: Any, others: Mapping[str, Metric]) -> str | None:
    """What is wrong with an entry point's value."""
    from harness.metrics.base import OF, Metric  # checking suites needs no NumPy where no such metric is installed

    if not isinstance(metric, Metric):
        return f"is {type(metric).__name__}, not a harness.metrics.base.Metric"
    if metric.name != name or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return f"calls itself '{metric.name}': the two names must be one, of small letters, digits and _"
    if metric.better not in ("lower", "higher") or metric.of not in OF:
        return f"is better '{metric.better}' and of '{metric.of}': lower or higher, and one of {', '.join(OF)}"
    if metric.of == "pieces" and not (metric.fold and metric.finish):
        return "is of pieces, and needs `fold` and `finish`"
    if metric.settings:
        return "has settings, which only metrics of the harness may have"
    if name in METRICS or name in others or limit_of(metric) in (*LIMITS, *ELEMENTWISE, *SETTINGS):
        return "has the name of another metric or limit"
    return None


def _guarded(entry: EntryPoint, metric: Metric) -> Metric:
    """The metric, whose errors say whose they are."""

    def guard(function: Callable[..., Any] | None) -> Any:
        def called(*arguments: Any, **settings: Any) -> Any:
            try:
                return function(*arguments, **settings) if function else None
            except Exception as error:
                raise InputError(f"{_where(entry)} failed: {type(error).__name__}: {error}") from error

        return function and called

    functions = {name: guard(getattr(metric, name)) for name in ("measure", "applies", "fold", "finish")}
    return replace(metric, **functions)
