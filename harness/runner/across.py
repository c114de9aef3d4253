"""Two processes take turns: each holds one side of a case, and is asked for its blocks from here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness.codec import decode, encode
from harness.records import Contestant, Duel, Plan
from harness.runner.client import WorkerFailed, WorkerProcess, well_formed
from harness.runner.lock import device_locks
from harness.timing.duel import duel, settings_for
from harness.timing.evidence import watch
from harness.timing.sides import Block


class Seat:
    """The CPU that both sides of a pair are timed on: the scheduler chooses it for the first, the second follows.

    Each on its own, a neighbour of one CPU slows one side for as long as the launch lasts; both kept on one, they
    cannot get away from a neighbour.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._cpu: int | None = None

    def ask(self) -> int | None:
        """Where the next block is to run; None for where the scheduler likes."""
        return self._cpu

    def tell(self, cpu: int) -> None:
        """Where it ran."""
        self._cpu = cpu if self._shared and self._cpu is None else None


class RemoteSide:
    """A side that another process holds."""

    def __init__(self, worker: WorkerProcess, told: Mapping[str, Any], seat: Seat) -> None:
        self._worker, self._seat = worker, seat
        self.decided_on = str(told["decided_on"])

    def block(self, count: int) -> Block:
        """That many iterations, timed where they run; the other process rests meanwhile."""
        answer = self._worker.request("block", count=count, cpu=self._seat.ask())
        with well_formed("block"):
            block, cpu = answer
            self._seat.tell(int(cpu))
            return decode(Block, block)


def turns(
    plans: Mapping[str, Plan],
    contestants: Mapping[str, Contestant],
    workers: Mapping[str, WorkerProcess],
    first: str,
) -> Duel:
    """One launch of the sides "a" and "b", each in its worker; `first` is opened first.

    Raises WorkerFailed where a worker cannot hold its side, and CaseError where the two cannot be compared.
    """
    order = ("a", "b") if first == "a" else ("b", "a")
    try:
        told = {
            side: workers[side].request("hold", plan=encode(plans[side]), one=encode(contestants[side]))
            for side in order
        }
        gpu = told["b"]["gpu"]
        settings = settings_for(plans["b"].latency, apart=True)
        with device_locks(gpu, alone=True):
            seat = Seat(shared=gpu is None)
            a, b = (RemoteSide(workers[side], told[side], seat) for side in ("a", "b"))
            seen = watch(gpu, ours=[told[side]["pid"] for side in order])
            launch = duel(a, b, settings, first=first, watch=seen)
    finally:
        for side in order:
            with suppress(WorkerFailed):  # a process that is gone holds nothing
                if workers[side].alive:
                    workers[side].request("release")
    how = {**settings.record(), **told["b"]["settings"], "processes": 2}
    return Duel((launch,), b.decided_on, how, contestants["a"].digest)
