"""Whatever breaks, a run ends as it should, costs what it must and leaves nothing behind; and these checks can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from faults.bases import Base, make
from faults.catalogue import FAULTS
from faults.engine import Result, run

pytestmark = pytest.mark.alone  # several at once take all processors by themselves
WITHOUT = ", without "
BY_NAME = {fault.name: fault for fault in FAULTS}
PROOFS = {
    # a fault, the protection that is taken away, and what is found then
    "SIGKILL of the run in infer": ("no_guard", "left running"),
    "SIGKILL of the run in build": ("no_sweeping", "left on disk"),
    "a child in a session of its own": ("no_marks", "left running"),
    "a record of the journal is damaged": ("no_sums", "toy/small/fake/fp32/n-"),
    "a flipped bit in a reference": ("no_digests", "nobody noticed"),
    "stdout is full": ("no_patience", "ended with 3, not 0"),
    "host memory over the worker's limit": ("no_watchdog", "not out-of-memory"),
    "another --resume into the same folder": ("no_lock", "the other runs ended with"),
    "SIGKILL of the worker at its start": ("no_second_start", "ended with 3, not 0"),
    "hang in infer": ("no_deadline", "took longer than 12 s"),
}


AT_ONCE = 5
"""Most of a fault is waiting."""


class Made:
    """The results of faults, made by some threads ahead of the tests that ask for them."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder, self._pool, self._lock = folder, pool, threading.Lock()
        self._bases: dict[str, Base] = {}
        self._results: dict[tuple[str, str], Future[Result]] = {}

    def result(self, name: str, sabotage: str = "") -> Future[Result]:
        """What becomes of a fault; begun by the first who asks."""
        key = name, sabotage
        if key not in self._results:
            self._results[key] = self._pool.submit(self._run, name, sabotage, len(self._results))
        return self._results[key]

    def _run(self, name: str, sabotage: str, number: int) -> Result:
        fault = replace(BY_NAME[name], limit_s=12.0) if sabotage else BY_NAME[name]
        return run(fault, self._base(fault.suite), self._folder / str(number), [sabotage] if sabotage else [])

    def _base(self, kind: str) -> Base:
        with self._lock:
            if kind not in self._bases:
                self._bases[kind] = make(kind, self._folder / "bases" / kind)
            return self._bases[kind]


@pytest.fixture(scope="module")
def made(request, tmp_path_factory) -> Iterator[Made]:
    """Alone, this process begins with what it was asked for; beside others it does not know its share."""
    pool = ThreadPoolExecutor(AT_ONCE)
    found = Made(tmp_path_factory.mktemp("faults"), pool)
    if not hasattr(request.config, "workerinput"):
        for item in request.session.items:
            if item.path == Path(__file__) and hasattr(item, "callspec"):
                found.result(*item.callspec.id.split(WITHOUT))
    yield found
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_fault_costs_no_more_than_it_must(name: str, made: Made, request):
    if why := BY_NAME[name].known:
        request.applymarker(pytest.mark.xfail(reason=why, strict=True))

    assert made.result(name).result().problems == ()


@pytest.mark.parametrize("proof", [f"{name}{WITHOUT}{sabotage}" for name, (sabotage, _) in PROOFS.items()])
def test_without_its_protection_a_fault_is_found(proof: str, made: Made):
    name, sabotage = proof.split(WITHOUT)

    problems = made.result(name, sabotage).result().problems

    assert any(PROOFS[name][1] in problem for problem in problems), problems


def test_names_of_faults_are_their_own():
    assert len(BY_NAME) == len(FAULTS) >= 40
