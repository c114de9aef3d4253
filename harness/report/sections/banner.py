"""The verdict, what blocks, what to do next, and what was run where."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import Environment, Run
from harness.report.format import between, moment
from harness.report.sections import Page
from harness.report.statuses import Status, counted
from harness.report.verdict import RunVerdict, verdict


@dataclass(frozen=True)
class Banner:
    """The top of the page."""

    verdict: RunVerdict
    counts: list[tuple[Status, int]]
    facts: list[tuple[str, str]]


def section(page: Page) -> Banner:
    """The banner of the run."""
    return Banner(verdict=verdict(page.run), counts=counted(page.run.records), facts=_facts(page.run))


def _facts(run: Run) -> list[tuple[str, str]]:
    machines = dict.fromkeys(map(_machine, run.environments.values()))
    versions = dict.fromkeys(text for one in run.environments.values() for text in _versions(one))
    facts = {
        "commit": run.commit[:12] if run.commit else "none",
        "machine": "; ".join(machines) or "none",
        "started": f"{moment(run.started)}, took {between(run.started, run.finished)}",
        "versions": ", ".join(versions) or "none",
        "command": run.command,
    }
    return list(facts.items())


def _machine(environment: Environment) -> str:
    names = [gpu.name for gpu in environment.gpus]
    gpus = [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return " + ".join(gpus) or environment.cpu


def _versions(environment: Environment) -> list[str]:
    drivers = dict.fromkeys(f"driver {gpu.driver}" for gpu in environment.gpus)
    return [*(f"{name} {version}" for name, version in sorted(environment.versions.items())), *drivers]
