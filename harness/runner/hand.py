"""A worker's part where two processes take turns: it holds one side, and times a block when it is asked to."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.backends import backend_named
from harness.errors import CaseError
from harness.records import Contestant, ModelFile, Plan
from harness.runner import windows
from harness.runner.turns import bound
from harness.runner.workshop import Workshop
from harness.timing.rest import rest
from harness.timing.sides import Block, LocalSide


class Hand(Workshop):
    """Holds one side at a time."""

    _held: ExitStack | None = None
    _side: LocalSide | None = None
    _free: Collection[int] = ()
    """The CPUs that the thread may run on where it is not told one."""

    def hold(self, plan: Plan, one: Contestant) -> Mapping[str, Any]:
        """Open and bind an artefact of a case; tells the clock that decides, how it is timed, and on what."""
        self.release()
        backend = backend_named(plan.case.backend)
        stages = self.stages(backend)
        # the artefact is what is opened: nothing is to be converted for it
        prepared = self.prepare(replace(plan, variant=ModelFile("", one.digest)), stages)
        timing, _ = windows.applied(plan.latency, backend.device)
        with ExitStack() as opened, stages("load"):
            step = bound(backend, prepared, one, timing, opened)
            self._side = opened.enter_context(LocalSide(step))
            self._held = opened.pop_all()
        rest()
        return {
            "decided_on": self._side.decided_on,
            "gpu": self.gpu(backend),
            "pid": os.getpid(),
            "settings": windows.told(timing),
        }

    def block(self, count: int, cpu: int | None) -> tuple[Block, int]:
        """That many iterations of the side that is held, and the CPU of the thread that timed them.

        Given one, the thread runs there; threads that the session made go where they like. Answered when this process
        leaves the CPU to the other.
        """
        if self._side is None:
            raise CaseError("nothing is held: a block was asked for before a side")
        os.sched_setaffinity(0, self._free if cpu is None else {cpu})
        timed, where = self._side.block(count), current_cpu()
        rest()
        return timed, where

    def release(self) -> None:
        """Close what is held, if anything is."""
        if self._free:
            os.sched_setaffinity(0, self._free)
        self._free = os.sched_getaffinity(0)
        held, self._held, self._side = self._held, None, None
        if held is not None:
            held.close()


def current_cpu() -> int:
    """The CPU that this thread ran on last (proc(5), field 39 of stat)."""
    stat = Path("/proc/thread-self/stat").read_text("ascii", "replace")
    return int(stat.rpartition(")")[2].split()[36])
