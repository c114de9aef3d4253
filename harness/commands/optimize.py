"""`harness optimize`: the fastest or smallest variant of a model that its task still accepts."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic

from harness import baselines, suites
from harness.codec import compact, decode
from harness.commands.places import baselines_folder, cache_folder, root_of
from harness.commands.results import tell
from harness.commands.run import chosen, loaded
from harness.errors import HarnessError, UsageError
from harness.judge import first_line, judge
from harness.optimise.search import PLAIN, following
from harness.optimise.trials import Trial, best, front, trial
from harness.records import Plan
from harness.report.search import Search, page
from harness.report.variants import table
from harness.runner.bench import Bench
from harness.runner.ground import ground
from harness.runner.settings import Settings
from harness.suites.derived import Build, derived

TRIALS, TABLE, TRADEOFFS = "trials.jsonl", "table.md", "tradeoffs.html"


@dataclass(frozen=True)
class Task:
    """What is searched for."""

    first: Plan
    """The case whose model, backend and shape all trials have."""
    text: str
    """The suite that makes it."""
    max_drop: float
    objective: str

    @property
    def suite(self) -> str:
        """The name of the suite that is written."""
        return f"{self.first.case.suite}-optimised"

    @property
    def file(self) -> Path:
        """Where that suite goes: beside the suite at hand, as paths are relative to it."""
        at = Path(self.first.case.location.file)
        return at.with_name(f"{at.stem}.optimised{at.suffix}").absolute()

    def written(self, build: Build) -> str:
        """The suite with a build beside the plain model."""
        case = self.first.case
        return derived(self.text, case.model, case.runs_on, build, self.max_drop, self.suite)

    def plan(self, build: Build, root: Path | None) -> Plan:
        """The case of a build."""
        plans = suites.plans_of(self.written(build), self.file, root)
        case = self.first.case
        same = [one for one in plans if one.case.shape == case.shape]
        return same[0 if build == PLAIN else -1]


def optimize(asked: argparse.Namespace) -> int:
    """Search, print the table, and write suite and baseline of the winner; 1 where nothing beats the plain model."""
    task = _task(asked)
    folder = (asked.output or Path("reports") / f"optimise-{task.first.case.suite}-{task.first.case.model}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if task.file.exists() and not asked.force:
        raise UsageError(f"{task.file}: is there already; --force writes it again")
    trials, machine = _search(asked, task, folder / TRIALS)
    plain = trials[0]
    winner = best(trials, plain, task.objective)
    lines = table(trials, front(trials), winner, plain)
    (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    metric = task.first.task.metric if task.first.task else ""  # without a task no trial was made
    command = shlex.join(["harness", *sys.argv[1:]])
    search = Search(task.first.case, machine, metric, task.objective, task.max_drop, command)
    drawn = page(search, trials, winner)
    (folder / TRADEOFFS).write_text(drawn, encoding="utf-8", errors="backslashreplace")
    tell("\n" + "\n".join(lines) + f"\n\ntrade-offs: {folder / TRADEOFFS}\n")
    if winner is None:
        tell(f"nothing that was tried beats the model as it is in {task.objective} within {task.max_drop:.2%}")
        return 1
    return _written(asked, task, winner, folder)


def _task(asked: argparse.Namespace) -> Task:
    for file in asked.suites:
        if file.suffix == ".onnx":
            raise UsageError(
                f"{file}: a model alone does not say what is good enough: `harness init {file}` writes a suite, to "
                "which you add inputs and a task with its labels"
            )
    plans = [plan for plan in chosen(loaded(asked), asked.expression) if not plan.fuzzed]
    models = sorted({plan.case.model for plan in plans})
    if len(models) > 1:
        raise UsageError(f"{len(models)} models ({', '.join(models[:5])}): choose one with -k")
    same = [plan for plan in plans if plan.case.runs_on == plans[0].case.runs_on]
    first = same[-1]  # the last shape, which is where throughput shows
    if "/" in first.case.model:
        raise UsageError(f"{first.case.model}: is one of a glob: give the model an entry of its own")
    if asked.task_metric and (first.task is None or first.task.metric != asked.task_metric):
        has = "no task" if first.task is None else f"the task metric '{first.task.metric}'"
        raise UsageError(f"--task-metric {asked.task_metric}: model '{first.case.model}' has {has}")
    if not first.latency.enabled:
        raise UsageError(f"{first.case.model}: is not timed, so no trial could hold: set latency.enabled: true")
    text = Path(first.case.location.file).read_text(encoding="utf-8")
    return Task(first, text, asked.max_drop, asked.objective)


def _search(asked: argparse.Namespace, task: Task, journal: Path) -> tuple[list[Trial], str]:
    """The plain model first, then as many builds as the time allows, and the class of this machine.

    What a journal holds is not measured again, unless it was the machine that failed and there is time.

    UsageError when the plain model does not hold: nothing could be compared with it.
    """
    until = monotonic() + asked.budget
    known = dict(_read(journal))
    trials: list[Trial] = []
    left: set[Build] = set()
    with Bench(Settings(cache_folder(asked.artefacts), asked.timeout)) as bench:
        name, interpreter = task.first.case.backend, task.first.interpreter
        if why := bench.why_not(name, interpreter) or bench.why_not_run(name, interpreter):
            raise HarnessError(f"{name} cannot run here: {why}; choose another backend with -k")
        while (build := _next(trials, left, task.objective)) is not None:
            plan = task.plan(build, asked.root)
            key = _key(plan, asked.root, bench)
            if key not in known or known[key].may_pass:
                if trials and monotonic() > until:
                    left.add(build)  # those that follow may have been measured before, which takes no time
                else:
                    outcome = bench.outcome(plan)
                    known[key] = trial(plan, build, outcome, judge(plan, outcome, known=False))
                    _append(journal, key, known[key])
            if key in known:
                trials.append(known[key])
                tell(_line(known[key]))
            if not trials[0].holds:
                why = first_line(trials[0].why)
                raise UsageError(f"{plan.case.id}: the plain model fails, so nothing can be won: {why}")
        if left:
            tell(f"the time is up after {len(trials)} builds; the same command goes on from here")
        return trials, bench.environment(interpreter.name).fingerprint


def _next(trials: Sequence[Trial], left: Container[Build], objective: str) -> Build | None:
    return next((one for one in following(trials, objective) if one not in left), None)


def _append(journal: Path, key: str, measured: Trial) -> None:
    """One line more, also behind one that was cut off."""
    with journal.open("ab+") as file:
        file.seek(-1 if file.tell() else 0, os.SEEK_END)
        end = b"" if file.read() in (b"", b"\n") else b"\n"
        file.write(end + compact({"key": key, "trial": measured}).encode() + b"\n")


def _key(plan: Plan, root: Path | None, bench: Bench) -> str:
    """Digest of all that a trial stands on: the plan, the files that it names, the harness, machine and versions."""
    at = ground([plan], partial(root_of, root), keep_outputs=False, shard=None)
    here = bench.environment(plan.interpreter.name)
    return sha256(compact([at, here.fingerprint, here.versions]).encode()).hexdigest()


def _read(journal: Path) -> Iterator[tuple[str, Trial]]:
    """What was measured before; a line that was cut off counts as not measured."""
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.exists() else ():
        try:
            data = json.loads(line)
            yield str(data["key"]), decode(Trial, data["trial"])
        except (ValueError, TypeError, KeyError):
            continue


def _line(one: Trial) -> str:
    if one.accuracy is not None:
        measured = f"{one.accuracy:.4f}, p50 {one.p50_ms or 0:.4g} ms, {one.bytes or 0:,.0f} bytes"
        return f"{one.status:8s} {one.name}: {measured}"
    return f"{one.status:8s} {one.name}: {first_line(one.why)}"


def _written(asked: argparse.Namespace, task: Task, winner: Trial, folder: Path) -> int:
    """Writes the winner's suite, runs it, accepts it as the baseline, and tells where everything is."""
    head = f"# {winner.name} of {task.first.case.suite}: found by harness optimize --objective {task.objective}.\n"
    if task.file.exists():  # what was accepted of it is of the earlier winner
        _forget(baselines_folder(asked.baselines, asked.root, str(task.file)), task.suite)
    task.file.write_text(head + task.written(winner.build), encoding="utf-8")
    places = [text for name in ("root", "baselines", "artefacts") if getattr(asked, name)
              for text in (f"--{name}", str(getattr(asked, name)))]  # fmt: skip
    run = folder / f"winner-{1 + len(list(folder.glob('winner-*')))}"
    status = _ask(asked, ["run", str(task.file), "-o", str(run), "-q", *places])
    if status:
        tell(
            f"wrote {task.file}: {winner.name}; it does not pass in all its cases, so it is not accepted as a baseline"
        )
        return status
    reason = f"found by harness optimize --objective {task.objective} --max-drop {task.max_drop:g}: {winner.name}"
    status = _ask(asked, ["accept", str(run), "--reason", reason, "--launches", str(asked.launches), *places])
    tell(f"wrote {task.file}: {winner.name}; run it with: harness run {task.file}")
    return status


def _forget(folder: Path, suite: str) -> None:
    for machine in baselines.classes(folder, suite):
        stale = folder / machine / f"{suite}.json"
        stale.unlink()
        tell(f"removed {stale}: the baseline of the earlier winner")


def _ask(asked: argparse.Namespace, words: Sequence[str]) -> int:
    """Another subcommand, as it would be typed."""
    other = asked.parse(words)
    status: int = other.command(other)
    return status
