"""The pytest plug-in: suite files are collected, a case is an item; without a suite it does nothing.

`--harness-output` makes one run folder of a session, also of one that pytest-xdist spreads over processes: each
process appends to the journal, and the one that the user started writes `run.json` and the report at the end.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.allowed import allowing
from harness.errors import HarnessError, UsageError
from harness.pytest_items import (
    MACHINE_FAILED,
    HarnessWarning,
    SuiteFile,
    allowed_code,
    folder_option,
    selected,
    shared,
    told,
)
from harness.suitefile import SUFFIXES, is_suite

if TYPE_CHECKING:
    from harness.records import Environment, Record, Run

__all__ = ["HarnessWarning"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options with the meaning that they have for `harness run`."""
    group = parser.getgroup("harness", "model suites (trt-harness)")
    group.addoption("--harness-output", type=_folder, metavar="DIR", help="write run.json and the report there")
    group.addoption(
        "--harness-baselines", type=_folder, metavar="DIR", help="accepted results (default <root>/baselines)"
    )
    group.addoption(
        "--harness-root", type=_folder, metavar="DIR", help="no path of a suite may leave it (default: the repository)"
    )
    group.addoption(
        "--harness-artefacts", type=_folder, metavar="DIR", help="made variants (default: the user's cache)"
    )
    group.addoption(
        "--harness-environment",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="interpreter of an environment, instead of the one in the suite",
    )
    words = "let this code run: an installed metric by name, an interpreter or library that a suite names by path"
    group.addoption("--harness-allow-code", action="append", default=[], metavar="NAME", help=words)
    parser.addini("harness_allow_code", f"{words} (paths from the root folder)", type="linelist", default=[])
    group.addoption("--harness-timeout", type=_seconds, metavar="S", help="seconds a stage may take (default 600)")
    group.addoption(
        "--harness-retries", type=_whole, default=0, metavar="N", help="measure a case again after a crash and the like"
    )
    group.addoption(
        "--harness-worker-memory", type=_positive, metavar="MIB", help="end a worker that holds more memory"
    )
    group.addoption(
        "--harness-require", action="append", default=[], metavar="BACKEND", help="run nothing if it is absent"
    )
    group.addoption(
        "--harness-gate-benchmarks",
        action="store_true",
        help="fail if a test of pytest-benchmark is slower than what was accepted for it",
    )
    group.addoption("--harness-no-cache", action="store_true", help="make everything afresh, and keep that")
    group.addoption(
        "--harness-trust-engine", action="append", default=[], type=_folder, metavar="FILE",
        help="load this engine file of a suite's: it may run code of whoever made it",
    )  # fmt: skip
    group.addoption("--harness-keep-outputs", action="store_true", help="keep outputs in --harness-output")


def pytest_configure(config: pytest.Config) -> None:
    """The mark with limits of one benchmark, which strict markers ask for; and what code may run in this session."""
    words = "harness_gate(regression, floor_us): limits of a benchmark, where --harness-gate-benchmarks is given"
    config.addinivalue_line("markers", words)
    if given := allowed_code(config):
        session = ExitStack()
        session.enter_context(allowing(given))
        config.add_cleanup(session.close)


def _folder(text: str) -> str:
    """An absolute path, because other processes get it too; text, because xdist sends nothing else."""
    return str(Path(text).absolute())


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
    """A YAML file with a top-level `suite:` is a suite; no other file is touched."""
    if file_path.suffix in SUFFIXES and is_suite(file_path):
        return SuiteFile.from_parent(parent, path=file_path)
    return None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before anything runs: the backends that must be there, and the run folder."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("collectonly"):
        return
    config.pluginmanager.register(OnlySkips(), "harness-only-skips")
    output = folder_option(config, "output")
    if config.getoption("harness_keep_outputs") and output is None:
        raise pytest.UsageError("--harness-keep-outputs: give the folder to keep them in with --harness-output")
    _require(config, config.getoption("harness_require"))
    if config.getoption("harness_gate_benchmarks"):
        from harness.pytest_benchmarks import gate

        config.pluginmanager.register(gate(config), "harness-benchmarks")
    if output is not None:
        config.pluginmanager.register(RunFolder(config, output), "harness-run-folder")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist tells the one that started it which cases the run consists of."""
    told_back: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told_back is not None and folder_option(session.config, "output"):
        told_back["harness_cases"] = selected(session)


def _require(config: pytest.Config, backends: Sequence[str]) -> None:
    if not backends:
        return
    from harness.commands.run import check_names, require

    try:
        check_names(backends)
        require(shared(config).bench(), backends)
    except UsageError as error:
        raise pytest.UsageError(told(str(error))) from None
    except HarnessError as error:
        pytest.exit(told(str(error)), MACHINE_FAILED)


class OnlySkips:
    """Fails a session in which every case of a suite was skipped: nothing was measured, so nothing was gated."""

    def __init__(self) -> None:
        self._statuses: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a case ended."""
        if report.when == "call" and Path(report.nodeid.partition("::")[0]).suffix in SUFFIXES:
            self._statuses += [str(item[1]) for item in report.user_properties if item[0] == "status"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn pytest's success into its failure."""
        if self._failed() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why."""
        if self._failed():
            terminalreporter.write_line("harness: every case was skipped, so nothing was gated", red=True)

    def _failed(self) -> bool:
        return bool(self._statuses) and set(self._statuses) == {"skipped"}


class RunFolder:
    """Makes a run of the journal when the session ends; lives only in the process that the user started."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        from harness import store
        from harness.journal import SCHEMA
        from harness.runner.header import header

        try:
            self._journal = store.new_journal(folder)
        except UsageError as error:
            raise pytest.UsageError(told(str(error))) from None
        self._config, self._folder = config, folder
        self._header = header(["pytest", *config.invocation_params.args], config.rootpath)
        self._journal.write("begin", {"schema": SCHEMA, **vars(self._header), "cases": {}})
        self._cases: list[str] | None = None
        self._run: Run | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Every process of pytest-xdist collects the same cases; one that crashed tells none."""
        cases = getattr(node, "workeroutput", {}).get("harness_cases")
        self._cases = self._cases or cases

    @pytest.hookimpl(trylast=True)  # after xdist has ended its processes: the journal is complete then
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the run and its report."""
        from harness.commands.results import write

        self._journal.close()

        if not self._config.pluginmanager.has_plugin("dsession"):
            self._cases = selected(session)
        records = self._records()
        if not records:
            return
        try:
            self._run = self._finished(records)
            write(self._run, self._folder)
        except HarnessError as error:
            pytest.exit(told(str(error)), MACHINE_FAILED)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The gate's decision, and where the report is."""
        if self._run is None:
            return
        from harness.commands.results import stale_lines, summary_line

        terminalreporter.write_sep("=", "harness")
        for words in stale_lines(self._run):
            terminalreporter.write_line(words)
        terminalreporter.write_line(summary_line(self._run))
        terminalreporter.write_line(f"report: {self._folder / 'report.html'}")

    def _records(self) -> list[Record]:
        """The journal in the order of the suites, the last of each case; an empty journal is removed."""
        from harness.journal import JOURNAL_FILE
        from harness.store import read_journal

        last = read_journal(self._folder)
        if not last:
            (self._folder / JOURNAL_FILE).unlink()
        order = {case: position for position, case in enumerate(self._cases or ())}
        return sorted(last, key=lambda record: order.get(record.case.id, len(order)))

    def _finished(self, records: Sequence[Record]) -> Run:
        """The run; a case that was to run and left no record makes it an interrupted one."""
        from harness.commands.places import baselines_folder
        from harness.commands.results import reviewed
        from harness.judge.gate import EXIT_INTERRUPTED
        from harness.runner.header import finish
        from harness.runner.recorder import Judged

        complete = self._cases is not None and {record.case.id for record in records}.issuperset(self._cases)
        environments = self._environments(records)
        result = finish(self._header, environments, records, exit_status=None if complete else EXIT_INTERRUPTED)
        given, root = (folder_option(self._config, name) for name in ("baselines", "root"))
        judged = Judged(lambda file: baselines_folder(given, root, file), environments.__getitem__)
        return reviewed(result, judged, whole=False)

    def _environments(self, records: Sequence[Record]) -> Mapping[str, Environment]:
        """The environments of the records; under xdist no backend was asked for its versions here yet."""
        from harness.backends import BACKENDS
        from harness.pytest_benchmarks import environment
        from harness.records import DEFAULT_ENVIRONMENT, Interpreter
        from harness.runner.client import WorkerFailed

        ours = [record for record in records if record.case.backend in BACKENDS]
        benchmarks = {} if len(ours) == len(records) else {DEFAULT_ENVIRONMENT: environment()}
        if not ours:
            return benchmarks
        bench, known = shared(self._config).bench(), shared(self._config).interpreters(ours)
        places = [(record.case.backend, record.environment) for record in ours if record.as_judged.status != "missing"]
        for backend, name in dict.fromkeys(places):
            with suppress(WorkerFailed):  # its cases say so
                bench.why_not(backend, known.get(name, Interpreter(name)))
        return benchmarks | bench.environments()
