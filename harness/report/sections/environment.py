"""The machines that cases ran on, with their versions; what differs between them is marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.records import Environment
from harness.report.format import number
from harness.report.sections import Page


@dataclass(frozen=True)
class Fact:
    """One line: its value in each environment, None where that has none."""

    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether environments of this run differ in it."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Machines:
    """The environments of the run side by side."""

    keys: tuple[str, ...]
    facts: list[Fact]


def section(page: Page) -> Machines:
    """The environments of the run."""
    found = {key: _facts(one) for key, one in page.run.environments.items()}
    names = dict.fromkeys(name for facts in found.values() for name in facts)
    return Machines(tuple(found), [Fact(name, tuple(facts.get(name) for facts in found.values())) for name in names])


def _facts(one: Environment) -> Mapping[str, str]:
    gpus = {
        f"GPU {place}": f"{gpu.name}, compute capability {gpu.compute_capability}, {number(gpu.memory_mib)} MiB, "
        f"driver {gpu.driver}, {gpu.uuid}"
        for place, gpu in enumerate(one.gpus)
    }
    return {
        "machine class": one.fingerprint,
        "host": one.host,
        "CPU": one.cpu,
        **gpus,
        **dict(sorted(one.versions.items())),
    }
