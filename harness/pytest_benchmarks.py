"""`--harness-gate-benchmarks`: tests that use pytest-benchmark's fixture are gated by the harness's stored rule.

pytest-benchmark measures as always; when the session ends each of its results is compared with the accepted one.
Imported only where the option is given: what is heavy is imported where it is used.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.pytest_items import folder_option, told

if TYPE_CHECKING:
    from harness.interchange.imported import Batch, Measured
    from harness.interchange.schema import Benchmark
    from harness.records import Environment, LatencyPlan, Location, Record
    from harness.runner.recorder import Judged

MARKER = "harness_gate"
LIMITS = ("regression", "floor_us")
_QUIET = ("passed", "improved")


def gate(config: pytest.Config) -> BenchmarkGate:
    """The gate of a session, which gates nothing without pytest-benchmark; UsageError where that measures nothing."""
    theirs = config.pluginmanager.get_plugin("pytest-benchmark")
    if theirs is not None and (theirs.disabled or theirs.skip):
        raise pytest.UsageError(
            "--harness-gate-benchmarks: pytest-benchmark is told not to measure (-n, --benchmark-disable or "
            "--benchmark-skip), so nothing could be gated: leave one of the two out"
        )
    return BenchmarkGate(config, theirs)


class BenchmarkGate:
    """Fails a session in which a benchmark is slower than what was accepted for it."""

    def __init__(self, config: pytest.Config, theirs: Any) -> None:
        self._config, self._theirs = config, theirs
        self._records: list[Record] = []
        self._absent = 0
        self._limits: dict[str, Mapping[str, float]] = {}
        self._lines: dict[str, int] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note where tests stand and what limits they have; UsageError names a mark that cannot be understood."""
        for item in session.items:
            self._lines[item.nodeid] = (item.location[1] or 0) + 1
            if (mark := item.get_closest_marker(MARKER)) is not None:
                self._limits[item.nodeid] = _limits(item.nodeid, mark)

    @pytest.hookimpl(tryfirst=True)  # before the run folder is written
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge what was measured, keep it for the run folder, and turn pytest's success into its failure."""
        from harness.journal import Journal

        try:
            self._judge()
        except HarnessError as error:
            pytest.exit(told(str(error)), pytest.ExitCode.INTERNAL_ERROR)
        if self._records and (output := folder_option(self._config, "output")):
            with Journal(output) as journal:
                for record in self._records:
                    journal.append(record)
        if self._blocked() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What was decided, in the harness's words."""
        terminalreporter.write_sep("=", "harness: benchmarks")
        for line in self._told():
            terminalreporter.write_line(line, red=line.startswith("regressed"))

    def _told(self) -> Iterator[str]:
        from harness.commands.results import line
        from harness.judge.gate import gate as decision

        if not self._records:
            why = "no benchmark was measured" if self._theirs is not None else "pytest-benchmark is not there"
            yield f"{why}, so none was gated"
            return
        yield from (line(record) for record in self._records if record.status not in _QUIET)
        counts = ", ".join(f"{count} {status}" for status, count in decision(self._records).counts.items())
        gone = f"; {self._absent} accepted benchmarks did not run" if self._absent else ""
        yield f"benchmarks {'FAILED' if self._blocked() else 'passed'}: {counts}{gone}"
        if any(record.status in ("new", "regressed") for record in self._records):
            output = folder_option(self._config, "output")
            first = "" if output else "run again with --harness-output DIR, then: "
            yield f"to accept these: {first}harness accept {output or 'DIR'} --reason TEXT"

    def _blocked(self) -> bool:
        from harness.records import BLOCKING

        return any(record.status in BLOCKING for record in self._records)

    def _judge(self) -> None:
        """The records of this session's benchmarks, and how many accepted ones are not among them."""
        from harness.interchange.imported import records

        batch = self._batch()
        if not batch.measured:
            return
        judged = self._judged(batch.environment)
        limits = {one.case.id: self._limits.get(one.benchmark.fullname, {}) for one in batch.measured}
        found = records(batch, (), judged.entries, lambda case: _plan(limits[case.id]))
        self._records = [judged.acknowledged(record) for record in found]
        ids = {record.case.id for record in self._records}
        self._absent = len({id_ for one in batch.measured for id_ in judged.entries(one.case)} - ids)

    def _batch(self) -> Batch:
        from harness.interchange.imported import Batch

        theirs = () if self._theirs is None else self._theirs.benchmarks
        measured = [self._measured(one) for one in theirs if not one.has_error and one.stats.data]
        return Batch(environment(), tuple(measured))

    def _measured(self, theirs: Any) -> Measured:
        from harness.interchange.imported import measured
        from harness.interchange.names import SUITE

        found = _benchmark(theirs)
        return measured(SUITE, found, self._location(found.fullname))

    def _location(self, fullname: str) -> Location:
        """The test, as seen from where pytest was started: `harness accept` looks for its file there."""
        from harness.records import Location

        file = self._config.rootpath / fullname.partition("::")[0]
        return Location(os.path.relpath(file, self._config.invocation_params.dir), self._lines.get(fullname, 1))

    def _judged(self, here: Environment) -> Judged:
        from harness.commands.places import baselines_folder
        from harness.runner.recorder import Judged

        given, root = (folder_option(self._config, name) for name in ("baselines", "root"))
        start = self._config.invocation_params.dir
        return Judged(lambda file: baselines_folder(given, root, str(start / file)), lambda _: here)


def environment() -> Environment:
    """This machine as benchmarks are timed on it: by the interpreter that runs pytest."""
    from dataclasses import replace
    from importlib.metadata import version

    from harness.environment import describe
    from harness.interchange.schema import TOOL

    found = describe()
    return replace(found, versions={**found.versions, TOOL: version(TOOL)})


def _benchmark(theirs: Any) -> Benchmark:
    """A result of the running session as a file would hold it; UsageError where this release tells it otherwise."""
    from dataclasses import replace

    from harness.codec import decode
    from harness.interchange.schema import TOOL, Benchmark, wrong

    try:
        data = json.loads(json.dumps(theirs.as_dict(include_data=False), default=repr, skipkeys=True))
        found = decode(Benchmark, data)
        found = replace(found, stats=replace(found.stats, data=list(theirs.stats.data)))
        problem = wrong(found)
    except (TypeError, ValueError, AttributeError) as error:
        problem = str(error)
    if problem:
        words = f"{TOOL} tells what cannot be understood: {problem}; gate with a release that is known to work"
        raise UsageError(f"{theirs.fullname}: {words}")
    return found


def _limits(test: str, mark: pytest.Mark) -> Mapping[str, float]:
    """The limits of a test by name; UsageError says what is wrong with its mark."""
    unknown: Sequence[str] = sorted(set(mark.kwargs) - set(LIMITS))
    if mark.args or unknown:
        given = ", ".join([*map(repr, mark.args), *unknown])
        raise pytest.UsageError(f"{test}: @pytest.mark.{MARKER} takes {' and '.join(LIMITS)} by name, not {given}")
    for name, value in mark.kwargs.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise pytest.UsageError(f"{test}: @pytest.mark.{MARKER}({name}={value!r}): give a number from 0 on")
    return mark.kwargs


def _plan(limits: Mapping[str, float]) -> LatencyPlan:
    from harness.records import LatencyPlan

    return LatencyPlan(**limits)  # type: ignore[arg-type]
