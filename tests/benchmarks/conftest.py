"""Benchmarks run only when asked for; each tells its figure beside its goal, and how much the machine itself varied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
from bench import Tell

FIGURES = pytest.StashKey[list[str]]()
CALIBRATION_LAPS = 9


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    if config.getoption("benchmark_only"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "benchmark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="a benchmark: run with --benchmark-only"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash[FIGURES]
    if figures:
        terminalreporter.section("figures: median (min to max)")
        for figure in figures:
            terminalreporter.write_line(figure)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Tells a figure in the summary at the end: name, values, unit and, where there is one, the goal."""

    def told(name: str, values: Sequence[float], unit: str, goal: str = "") -> None:
        spread = f"{median(values):9.3f} {unit:4s} ({min(values):.3f} to {max(values):.3f}, {len(values)} values)"
        request.config.stash[FIGURES].append(f"{name:54s} {spread}{f'  goal {goal}' if goal else ''}")

    return told


@pytest.fixture(autouse=True)
def noise(request: pytest.FixtureRequest, tell: Tell) -> Iterator[None]:
    """The spread of a fixed piece of work before and after each benchmark: what no figure can be more exact than."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    before = [_calibration_ms() for _ in range(CALIBRATION_LAPS)]
    yield
    laps = before + [_calibration_ms() for _ in range(CALIBRATION_LAPS)]
    tell(f"    the machine: fixed work, load {os.getloadavg()[0]:.1f}", laps, "ms")


def _calibration_ms() -> float:
    start = perf_counter()
    sum(number * number for number in range(300_000))
    return (perf_counter() - start) * 1e3


@pytest.fixture(autouse=True)
def own_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other harness processes of this user time on the same CPU; waiting for them is no cost of ours."""
    monkeypatch.setenv("TRT_HARNESS_LOCKS", str(tmp_path / "locks"))
