"""`harness selftest`: what the gate decides on this machine about unchanged and about slowed code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from time import monotonic

from harness import store
from harness.commands.places import cache_folder
from harness.commands.run import chosen, loaded
from harness.errors import HarnessError, UsageError
from harness.judge.gate import EXIT_FAILED, EXIT_PASSED
from harness.judge.launches import LOOKS
from harness.judge.selftest import LARGEST, UNCHANGED
from harness.records import Arm, SelfTest
from harness.runner.bench import Bench
from harness.runner.header import timestamp
from harness.runner.selftest import build, count
from harness.runner.settings import Settings


def selftest(asked: argparse.Namespace) -> int:
    """Print the counts, keep them for this machine class's reports; 1 on a false alarm, or where nothing is found."""
    if asked.launches < LOOKS[-1]:
        words = f"the gate fails no case on fewer than {LOOKS[-1]} launches, so {asked.launches} would test nothing"
        raise UsageError(f"--launches: {words}: give {LOOKS[-1]} or more")
    return tried(asked)


def tried(asked: argparse.Namespace) -> int:
    """As `selftest`, on any number of launches."""
    plans = chosen(loaded(asked), asked.expression)
    settings = Settings(cache_folder(asked.artefacts), asked.timeout)
    start = monotonic()
    with Bench(settings) as bench:
        timed, left_out = build(plans, bench, settings)
        environment = bench.environment()
    for case, why in left_out.items():
        print(f"left out     {case}  {why}", flush=True)
    if not timed:
        raise HarnessError("no case can be timed here: nothing was tested")
    print(
        f"{len(timed)} cases, {asked.launches} launches each of the case itself, twice, and of each slowdown",
        flush=True,
    )
    found = count(timed, settings, asked.launches)
    for case, why in found.failures.items():
        print(f"failed       {case}  {why}")
    for case in found.advisory:
        admission = found.admissions[case]
        least = f"only slowdowns from {admission.mde:.2%} are found" if admission else "too few undisturbed launches"
        print(f"advisory     {case}  {least}: the gate decides nothing about it")
    told = SelfTest(
        fingerprint=environment.fingerprint,
        finished=timestamp(),
        versions=environment.versions,
        cases=tuple(one.plan.case.id for one in timed),
        advisory=found.advisory,
        launches=asked.launches,
        arms=found.arms,
        seconds=monotonic() - start,
        left_out={**left_out, **found.failures},
    )
    store.write_selftest(told, store.selftest_file(settings.cache, environment.fingerprint))
    if asked.output:
        store.write_selftest(told, asked.output)
    print("\n".join(table(told)))
    return _status(told)


def table(told: SelfTest) -> Iterator[str]:
    """The counts as lines of text."""
    yield f"\n{'':16s}{'decisions':>10s}{'regressed':>11s}{'passed':>8s}{'inconclusive':>14s}{'launches each':>15s}"
    for arm in told.arms:
        each = f"{arm.launches / arm.decisions:.2f}" if arm.decisions else "-"
        yield f"{arm.name:16s}{arm.decisions:10d}{arm.regressed:11d}{arm.passed:8d}{arm.inconclusive:14d}{each:>15s}"
    yield f"\n{told.fingerprint}: {len(told.cases)} cases, {len(told.advisory)} advisory, {told.seconds:.0f} s"


def _status(told: SelfTest) -> int:
    unchanged: Arm = next(arm for arm in told.arms if arm.name == UNCHANGED)
    if unchanged.decisions == unchanged.inconclusive:
        print("the gate decided nothing: more launches, a quieter machine or longer cases are needed")
        return EXIT_FAILED
    if unchanged.regressed:
        print(f"the gate calls unchanged code slower in {unchanged.regressed} of {unchanged.decisions} decisions")
        return EXIT_FAILED
    largest: Arm = next(arm for arm in told.arms if arm.name == LARGEST)
    if not largest.regressed:
        print(
            f"the gate finds no slowdown of {largest.name[1:]}: it calls none of {largest.decisions} decisions slower"
        )
        return EXIT_FAILED
    return EXIT_PASSED
