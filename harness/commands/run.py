"""`harness run`: measure, judge, write the run and its report, and gate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time

from harness import baselines, store, suites
from harness.backends import BACKENDS
from harness.commands.course import Begin, Job, Means, measure, started
from harness.commands.history_add import check, remember
from harness.commands.places import baselines_folder, cache_folder, pythons, root_of, statuses
from harness.commands.terminal import Terminal
from harness.commands.tidy import size_gib, tidy, trusted
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.history import places as stores
from harness.journal import Journaled
from harness.records import Plan
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.decided import opponents
from harness.runner.ground import Ground, ground
from harness.runner.header import header
from harness.runner.interrupts import interruptible
from harness.runner.recorder import Judged
from harness.runner.settings import Settings
from harness.runner.spread import spread_over


def run(asked: argparse.Namespace) -> int:
    """Everything from suite files to exit status."""
    fail_on = statuses(asked.fail_on)
    check_names(asked.require)
    if asked.ray_accelerator and asked.ray is None:
        raise UsageError("--ray-accelerator: chooses among the nodes of a cluster: give it with --ray")
    kept = _store(asked)
    terminal = Terminal(quiet=asked.quiet, verbose=asked.verbose)
    every = [_profiled(plan, asked.profile) for plan in loaded(asked)]
    plans = _part(asked, chosen(every, asked.expression))
    head = header(["harness", *sys.argv[1:]], Path(plans[0].case.location.file).absolute().parent)
    head = replace(head, shard=asked.shard and "{}/{}".format(*asked.shard))
    folder = _folder(asked, head.id)
    cache = cache_folder(asked.artefacts)
    places = {baselines_folder(asked.baselines, asked.root, file) for file, _ in _files(every)}
    settings = _settings(asked, plans, cache, folder, places)
    scope = [] if asked.expression or asked.shard else every
    job = Job(plans, opponents(plans, every), scope, head, folder, fail_on)
    found = ground(job.measured, partial(root_of, asked.root), keep_outputs=asked.keep_outputs, shard=head.shard)
    with ExitStack() as opened:
        journal, known = store.continued(folder) if asked.resume else (store.new_journal(folder), Journaled())
        opened.enter_context(journal)
        opened.enter_context(interruptible(terminal.leave))
        bench = opened.enter_context(Bench(settings))
        if asked.ray is not None:
            settings = _on_cluster(asked, job, found, settings, bench, opened)
        require(bench, asked.require)
        judged = Judged(
            lambda file: baselines_folder(asked.baselines, asked.root, file),
            bench.environment,
            _same_places(asked),
            started(head, known),
        )
        accepted = judged.files([plan.case for plan in plans])  # a damaged one is told before anything is measured
        if asked.ray is None:
            settings = spread_over(settings, asked.jobs, bench.environment(), plans)
        means = Means(settings, bench, judged, journal, _seconds(asked, plans), terminal)
        if kept:
            opened.callback(remember, kept, folder, asked.store)
        status = measure(job, means, known, Begin(head, found, accepted))
    tidy(cache, places)
    return status


def _profiled(plan: Plan, asked: str | None) -> Plan:
    """The plan with `--profile` in place of what its suite says."""
    return replace(plan, latency=replace(plan.latency, profile=asked)) if asked else plan


def _store(asked: argparse.Namespace) -> str | None:
    """Where the run is to be remembered; what is wrong with that is told before anything is measured."""
    url = stores.named(asked.store)
    if url:
        check()
    return url


def _settings(
    asked: argparse.Namespace, plans: Sequence[Plan], cache: Path, folder: Path, accepted: Iterable[Path]
) -> Settings:
    size_gib()  # what is wrong with it is told before anything is measured
    return Settings(
        cache,
        asked.timeout,
        asked.jobs or 1,
        folder / "outputs" if asked.keep_outputs else None,
        asked.retries,
        asked.worker_memory,
        kept_since=time() if asked.no_cache else None,
        trusted=trusted(asked.trust_engines, (file for plan in plans for file in plan.files.values()), accepted),
    )


def _on_cluster(
    asked: argparse.Namespace, job: Job, found: Ground, settings: Settings, bench: Bench, opened: ExitStack
) -> Settings:
    """Settings with seats on a cluster; the bench learns what its nodes tell, and asks nothing of this machine."""
    from harness.runner.cluster import Cluster, seated

    roots = {file: root_of(asked.root, file) for file, _ in _files(job.measured)}
    cluster = Cluster(asked.ray, asked.ray_accelerator, asked.jobs)
    settings, told = opened.enter_context(seated(cluster, settings, job.measured, found, roots, asked.require))
    bench.learn(told)
    return settings


def _part(asked: argparse.Namespace, plans: list[Plan]) -> list[Plan]:
    """The plans of `--shard`; UsageError where nothing is left for it."""
    if asked.shard is None:
        return plans
    part = suites.share(plans, asked.shard, _seconds(asked, plans))
    if not part:
        number, parts = asked.shard
        raise UsageError(f"--shard {number}/{parts}: nothing is left for it of {len(plans)} cases: use fewer parts")
    return part


def _seconds(asked: argparse.Namespace, plans: Sequence[Plan]) -> dict[str, float]:
    """What the cases took when they were accepted, by their ids."""
    places = {(baselines_folder(asked.baselines, asked.root, file), suite) for file, suite in _files(plans)}
    return {case: s for place in sorted(places) for case, s in baselines.seconds(*place).items()}


def _files(plans: Sequence[Plan]) -> set[tuple[str, str]]:
    return {(plan.case.location.file, plan.case.suite) for plan in plans}


def _folder(asked: argparse.Namespace, run_id: str) -> Path:
    if asked.resume and not asked.output:
        raise UsageError("--resume: name the folder of the run that is to go on with -o")
    folder: Path = asked.output or Path("reports") / run_id
    return folder.absolute()


def _same_places(asked: argparse.Namespace) -> list[str]:
    """The options that a rerun of one case needs to find the same files."""
    given = (("--root", asked.root), ("--baselines", asked.baselines), ("--artefacts", asked.artefacts))
    named = [text for name, value in given if value for text in (name, str(value))]
    named += [text for value in asked.environments for text in ("--environment", value)]
    named += [text for file in asked.trust_engines for text in ("--trust-engine", str(file))]
    return named + [text for value in asked.allow_code for text in ("--allow-code", value)]


def loaded(asked: argparse.Namespace) -> list[Plan]:
    """The plans of the suites on the command line; UsageError names an environment that none of them has."""
    given = pythons(asked.environments)
    plans = suites.load(asked.suites, asked.root, given)
    asked_for = [one for plan in plans for one in (plan.interpreter, plan.against, plan.exporter)]
    known = {one.name for one in asked_for if one and not one.own}
    for name in given.keys() - known:
        raise UsageError(f"--environment {name}: no case runs in it{did_you_mean(name, known)}")
    return plans


def chosen(plans: Sequence[Plan], expression: str) -> list[Plan]:
    """The plans that `-k` selects; UsageError when there is none."""
    found = suites.select(plans, expression)
    if not found:
        what = f"no case matches -k '{expression}'" if expression else "the suites make no case"
        raise UsageError(f"{what}: `harness list` prints the {len(plans)} case ids")
    return found


def check_names(backends: Sequence[str]) -> None:
    """UsageError names a backend of `--require` that does not exist."""
    for name in backends:
        if name not in BACKENDS:
            raise UsageError(f"--require: unknown backend '{name}'{did_you_mean(name, BACKENDS)}")


def require(bench: Bench, backends: Sequence[str]) -> None:
    """HarnessError (exit 3) when a required backend is absent; then nothing runs."""
    for name in backends:
        try:
            reason = bench.why_not(name) or bench.why_not_run(name)
        except WorkerFailed as lost:
            reason = lost.failure.message
        if reason:
            raise HarnessError(f"--require {name}: {reason}; nothing was run")
