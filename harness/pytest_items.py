"""The items that pytest runs: one a case, and one a suite for accepted cases that it no longer makes.

Every pytest run where the harness is installed imports this file: what is heavy is imported where it is used.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprExceptionInfo, ReprFileLocation, ReprTracebackNative, TerminalRepr

from harness.errors import HarnessError, SuiteError
from harness.foreign import plain, shown

if TYPE_CHECKING:
    from harness.journal import Journal
    from harness.records import Environment, Interpreter, Location, Outcome, Plan, Record
    from harness.runner.bench import Bench
    from harness.runner.recorder import Judged
    from harness.runner.settings import Settings

_LONG_OPTION = re.compile(
    r"(?<![\w-])--(?=(allow-code|artefacts|baselines|environment|keep-outputs|no-cache|require|root|timeout|trust-engine"
    r"|worker-memory)\b)"
)
_OUTPUT_OPTION = re.compile(r"(?<![\w-])-o(?![\w-])")
MACHINE_FAILED = pytest.ExitCode.INTERNAL_ERROR
"""Pytest's nearest, and the number that `harness run` gives as well."""


class HarnessWarning(pytest.PytestWarning):
    """A case that passes although its speed is not decided: no baseline yet, or too little evidence."""


def _line(text: str) -> str:
    """Foreign text as one line for a terminal."""
    return shown(plain(text))


class Blocked(Exception):
    """Cases whose status blocks."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = tuple(records)
        super().__init__("\n".join(f"{record.status}: {_line(record.headline)}" for record in records))


def told(message: str) -> str:
    """A message of the harness for a terminal, with its options as pytest has them."""
    return shown(_OUTPUT_OPTION.sub("--harness-output", _LONG_OPTION.sub("--harness-", message)))


def folder_option(config: pytest.Config, name: str) -> Path | None:
    """The folder given with `--harness-NAME`."""
    given = config.getoption(f"harness_{name}")
    return Path(given) if given else None


def allowed_code(config: pytest.Config) -> list[str]:
    """What `--harness-allow-code` and the configuration file allow; a path in the file is from the root folder."""
    written: list[str] = config.getini("harness_allow_code")
    return [
        *(str(config.rootpath / text) if "/" in text else text for text in written),
        *config.getoption("harness_allow_code"),
    ]


class Shared:
    """What the items of one process share: plans, bench and baselines; nothing starts before it is needed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._bench: Bench | None = None
        self._judged: dict[Path, Judged] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._environments: dict[str, Environment] = {}
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self.plans: list[Plan] = []
        self.compared: set[str] = set()
        """Suites that have an item for accepted cases which they no longer make."""
        self.broken = False
        """A suite has problems: its cases are not among the plans."""

    def load(self, file: Path) -> list[Plan]:
        """The plans of one more suite; HarnessError lists its problems, ids that another suite makes among them."""
        from harness import suites

        try:
            found = suites.load([file], folder_option(self._config, "root"), self._pythons())
            if problems := suites.twins([*self.plans, *found]):
                raise SuiteError(problems)
        except HarnessError:
            self.broken = True
            raise
        self.plans += found
        return found

    def interpreters(self, records: Sequence[Record]) -> dict[str, Interpreter]:
        """The interpreters of the suites of records by environment; those of suites that cannot be read are unknown."""
        from harness import suites

        plans = self.plans
        if not plans:  # the process that pytest-xdist was started from collects nothing
            files = {Path(record.case.location.file) for record in records}
            with suppress(HarnessError):
                plans = suites.load(sorted(files), folder_option(self._config, "root"), self._pythons())
        return {plan.interpreter.name: plan.interpreter for plan in plans}

    def _pythons(self) -> dict[str, str]:
        from harness.commands.places import pythons

        return pythons(self._config.getoption("harness_environment"))

    def bench(self) -> Bench:
        """The bench, started by the first call and closed when pytest ends, however it ends."""
        from harness.runner.bench import Bench

        if self._bench is None:
            open_bench = ExitStack()
            self._bench = open_bench.enter_context(Bench(self._settings()))
            self._config.add_cleanup(open_bench.close)
        return self._bench

    def baselines(self, plan: Plan) -> Path:
        """The folder of the accepted results of a case."""
        from harness.commands.places import baselines_folder

        given, root = folder_option(self._config, "baselines"), folder_option(self._config, "root")
        return baselines_folder(given, root, plan.case.location.file)

    def measure(self, plan: Plan) -> Record:
        """Measure, judge and keep one case."""
        from harness.runner.decided import Held, decided, facing, held, opponents

        judged, settings = self._judge(plan), self._settings()
        outcome, other = self._outcome(plan), opponents([plan], self.plans).get(plan.case.id)
        if other is not None and outcome.latency is not None:
            found = facing(plan, outcome, other, self._outcome(other), judged, settings)
        else:
            found = held(plan, outcome, judged, settings)
        if isinstance(found, Held):
            found = next(decided([found], judged, settings, self._timed_beside(plan)))
        self._keep([found])
        return found

    def _timed_beside(self, plan: Plan) -> int:
        """How many other cases of the session may be timed in turns: each may be a false alarm."""
        from harness.backends import RUNTIMES

        timed = [one for one in self.plans if one.latency.enabled and one.excluded is None]
        return sum(one.case.backend in RUNTIMES and one.case.id != plan.case.id for one in timed)

    def _outcome(self, plan: Plan) -> Outcome:
        """What is measured of a case; once, where others are compared with it."""
        if plan.case.id not in self._outcomes:
            outcome = self.bench().outcome(plan)
            if all(one.against is None for one in self.plans):
                return outcome
            self._outcomes[plan.case.id] = outcome
        return self._outcomes[plan.case.id]

    def missing(self, suite: str) -> list[Record]:
        """Keep and return the accepted cases of a suite that no file makes any more, whatever was selected."""
        plans = [plan for plan in self.plans if plan.case.suite == suite]
        records = self._judge(plans[0]).missing(plans)
        self._keep(records)
        return records

    def may_miss(self, plans: Sequence[Plan]) -> bool:
        """Whether accepted cases of any machine are not made by this file, and by no other file that is known of.

        Baselines that cannot be read count: their cases tell why.
        """
        from harness import baselines

        case = plans[0].case
        place, ids = Path(case.location.file), {plan.case.id for plan in plans}
        for found in self.baselines(plans[0]).glob(f"*/{escape(case.suite)}.json"):
            try:
                accepted = baselines.read(found.parent.parent, found.parent.name, case.suite)
            except HarnessError:
                return True
            for id_, entry in accepted.items():
                ours = entry.file in (None, place.name) or not place.with_name(str(entry.file)).exists()
                if ours and id_ not in ids:
                    return True
        return False

    def _settings(self) -> Settings:
        from harness.commands.places import cache_folder
        from harness.commands.tidy import trusted
        from harness.runner.settings import DEFAULT_TIMEOUT_S, Settings

        output = folder_option(self._config, "output")
        return Settings(
            cache_folder(folder_option(self._config, "artefacts")),
            self._config.getoption("harness_timeout") or DEFAULT_TIMEOUT_S,
            keep_outputs=output / "outputs" if output and self._config.getoption("harness_keep_outputs") else None,
            retries=self._config.getoption("harness_retries"),
            worker_memory_mib=self._config.getoption("harness_worker_memory"),
            kept_since=time() if self._config.getoption("harness_no_cache") else None,
            trusted=trusted([Path(file) for file in self._config.getoption("harness_trust_engine")]),
        )

    def _judge(self, plan: Plan) -> Judged:
        from harness.runner.recorder import Judged

        folder = self.baselines(plan)
        if folder not in self._judged:
            environment = self.bench().environment
            self._judged[folder] = Judged(lambda _: folder, environment, self._again(), self._started)
        return self._judged[folder]

    def _again(self) -> list[str]:
        """The options without which `harness run` does not find the interpreters."""
        given = self._config.getoption("harness_environment")
        again = [text for value in given for text in ("--environment", value)]
        return again + [text for value in allowed_code(self._config) for text in ("--allow-code", value)]

    def _keep(self, records: Iterable[Record]) -> None:
        from harness.journal import Journal

        if output := folder_option(self._config, "output"):
            with Journal(output) as journal:
                for record in records:
                    self._note_environment(record.environment, journal)
                    journal.append(record)

    def _note_environment(self, name: str, journal: Journal) -> None:
        """Write down an environment that is not known yet, or of which more is known now."""
        found = self.bench().environment(name)
        if self._environments.get(name) != found:
            self._environments[name] = found
            journal.write("environment", {"name": name, "environment": found}, wait=False)


_SHARED = pytest.StashKey[Shared]()


def shared(config: pytest.Config) -> Shared:
    """What the items of this process share."""
    return config.stash.setdefault(_SHARED, Shared(config))


def selected(session: pytest.Session) -> list[str] | None:
    """The ids of the cases that this process was to run; None when a suite has problems and they are not known."""
    if shared(session.config).broken:
        return None
    return [item.plan.case.id for item in session.items if isinstance(item, CaseItem)]


class SuiteFile(pytest.File):
    """A suite; its problems are one collection error."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item a case, and one for what was accepted before."""
        ours = shared(self.config)
        try:
            plans = ours.load(self.path)
        except HarnessError as error:
            raise self.CollectError(told(str(error))) from None
        for plan in plans:
            yield CaseItem.from_parent(self, name=plan.case.id, plan=plan)
        first = plans[0]
        suite = first.case.suite
        # it is the same for every file of the suite, so one brings it, where an accepted case may be gone
        if suite not in ours.compared and ours.may_miss(plans):
            ours.compared.add(suite)
            yield BaselineItem.from_parent(self, name=f"{suite}/baseline", first=first)


class SuiteItem(pytest.Item):
    """A place in a suite file, and failures in the harness's words instead of a traceback."""

    def __init__(self, *, location: Location, **node: Any) -> None:
        super().__init__(**node)
        self._place = location

    def reportinfo(self) -> tuple[Path, int, str]:
        """The model's line; the words behind the id keep pytest from reading the id as a Python name."""
        return self.path, self._place.line - 1, f"{self.name} ({self._place.file}:{self._place.line})"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """What blocks and why; errors that are no news about the harness's code have no traceback."""
        error = excinfo.value
        if isinstance(error, Blocked):
            lines = (*_explained(error.records), "to run it alone:", *self._again(error.records))
            text = shown("\n".join(lines))
        elif isinstance(error, HarnessError | HarnessWarning):
            text = told(str(error))
        else:
            return super().repr_failure(excinfo, style)
        # as pytest shows an exception: this passes through xdist, and its one-line summary has the headline
        crash = ReprFileLocation(self._place.file, self._place.line, told(str(error)).splitlines()[0])
        return ReprExceptionInfo(ReprTracebackNative([f"{text}\n"]), crash)

    def _again(self, records: Sequence[Record]) -> Iterator[str]:
        """The commands that run this item alone; the one of pytest also under the same baselines."""
        yield from (f"  {record.reproduce}" for record in records if record.status != "missing")
        given = ((name, folder_option(self.config, name)) for name in ("baselines", "root"))
        options = [f"--harness-{name}={folder}" for name, folder in given if folder]
        options += [f"--harness-environment={value}" for value in self.config.getoption("harness_environment")]
        options += [f"--harness-allow-code={value}" for value in self.config.getoption("harness_allow_code")]
        yield f"  {shlex.join(['pytest', *options, f'{self._place.file}::{self.name}'])}"


class CaseItem(SuiteItem):
    """One case."""

    def __init__(self, *, plan: Plan, **node: Any) -> None:
        super().__init__(location=plan.case.location, **node)
        self.plan = plan
        self.extra_keyword_matches.update(plan.case.tags)

    def runtest(self) -> None:
        """Measure the case and end as its status says."""
        from harness.records import BLOCKING
        from harness.runner.health import SickDevice

        try:
            record = shared(self.config).measure(self.plan)
        except SickDevice as sick:  # the items that are left have not failed
            pytest.exit(told(str(sick)), MACHINE_FAILED)
        self.user_properties += _properties(record)
        if record.status in BLOCKING:
            raise Blocked([record])
        if record.status == "skipped":
            raise pytest.skip.Exception(_line(record.headline), _use_item_location=True)
        if record.status == "acknowledged":
            pytest.xfail(_line(record.headline))
        if record.status in ("new", "inconclusive"):
            self.warn(HarnessWarning(f"{record.status}: {_line(record.headline)}"))


class BaselineItem(SuiteItem):
    """Fails for accepted cases that the suite no longer makes: what is absent never passes."""

    def __init__(self, *, first: Plan, **node: Any) -> None:
        super().__init__(location=first.case.location, **node)
        self._suite = first.case.suite

    def runtest(self) -> None:
        """Compare the suite with what was accepted on this machine class."""
        from harness.records import BLOCKING

        missing = shared(self.config).missing(self._suite)
        if blocking := [record for record in missing if record.status in BLOCKING]:
            raise Blocked(blocking)
        if missing:
            pytest.xfail("; ".join(_line(record.headline) for record in missing))


def _properties(record: Record) -> Iterator[tuple[str, object]]:
    from harness.report.rows import row

    yield "status", record.status
    yield "headline", record.headline
    if (p50_ms := row(record).p50_ms) is not None:
        yield "p50_ms", p50_ms


def _explained(records: Iterable[Record]) -> Iterator[str]:
    """Blocking records in lines: what, why, and the worker's last words."""
    from harness.report.format import excerpt

    for record in records:
        yield f"{record.case.id}: {record.status}"
        yield f"  {told(record.headline)}"
        yield from (f"  {check.name}: {check.reason}" for check in record.checks if not check.ok)
        if record.error is None:
            continue
        if record.error.message not in record.headline:
            yield from (f"  {line}" for line in told(record.error.message).splitlines())
        if record.error.log:
            yield "the end of the worker's log:"
            yield from (f"  {line}" for line in excerpt(record.error.log).splitlines())
