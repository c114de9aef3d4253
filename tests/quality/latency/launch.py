"""One fresh process: every cell is timed by itself and then in turns with its twin, each arm once.

    python -m quality.latency.launch --folder DIR --number 3 --cells conv,attention --arms null,s3

Prints the lines of `stored.py`. The session that is made first is side a's in even launches and b's in odd ones.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from time import perf_counter

from harness.backends import BACKENDS
from harness.backends.base import Step
from harness.backends.cuda import one_stream
from harness.environment import describe
from harness.errors import CaseError
from harness.records import Launch
from harness.timing.canary import gpu_step, host_step
from harness.timing.duel import DuelSettings, duel
from harness.timing.evidence import watch
from harness.timing.inject import slowed, tail
from harness.timing.laps import timed
from harness.timing.settle import settle
from harness.timing.sides import LocalSide
from quality.latency.cells import CELLS, Cell, feeds_of, opened
from quality.latency.stored import ARMS, TAIL, TAIL_FACTOR, TAIL_SHARE, Window, line, window

FEWEST_CALLS = 300
CANARY_S = 0.1
WARM_UP_S = 0.1


def main() -> None:
    """Times what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m quality.latency.launch")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--cells", required=True)
    parser.add_argument("--arms", required=True)
    parser.add_argument("--window", type=float, default=0.2, help="seconds of each window")
    parser.add_argument("--turns-only", action="store_true", help="no windows: what the gate needs")
    asked = parser.parse_args()
    cells = {cell.name: cell for some in CELLS.values() for cell in some}
    order = random.Random(asked.number)
    names = asked.cells.split(",")
    order.shuffle(names)
    for name in names:
        arms = asked.arms.split(",")
        order.shuffle(arms)
        for told in _timed(cells[name], asked.folder, asked.number, arms, 0 if asked.turns_only else asked.window):
            print(told, flush=True)


def _timed(cell: Cell, folder: Path, number: int, arms: list[str], window_s: float) -> Iterator[str]:
    """Windows of the session that was made first, before there is another; then both in turns."""
    device = BACKENDS.load(cell.backend)().device
    given = feeds_of(cell, folder)
    shared = one_stream() if device == "cuda" else nullcontext()
    with shared, opened(cell, folder) as first_session, _canary(device) as canary:
        first_step = first_session.bind(given)
        for arm in arms if window_s else ():
            name = "A" if arm == "null" else arm
            yield _line(
                "window", number, cell, name, partial(_window, _armed(first_step, arm, number), canary, window_s)
            )
        with opened(cell, folder) as second_session:
            steps = [first_step, second_session.bind(given)]
            a, b = steps if number % 2 == 0 else steps[::-1]
            for arm in arms:
                yield _line("turns", number, cell, arm, partial(_turns, a, b, arm, number, device))


def _line(kind: str, number: int, cell: Cell, arm: str, made: Callable[[], Launch | Window]) -> str:
    """What was measured, or why it could not be: not every slowdown can be made of every cell."""
    try:
        return line(kind, number, cell.name, arm, made())
    except CaseError as error:
        return line("left out", number, cell.name, arm, str(error))


def _turns(a: Step, b: Step, arm: str, number: int, device: str) -> Launch:
    """One launch of the harness's own; `number` says which side's session was made first."""
    with _armed(b, arm, number) as slower, LocalSide(a) as side_a, LocalSide(slower) as side_b:
        seen = watch(_uuid() if device == "cuda" else None)
        return duel(side_a, side_b, DuelSettings(), first="ab"[number % 2], watch=seen)


def _window(armed: AbstractContextManager[Step], canary: Step, window_s: float) -> Window:
    """The canary's window, then that of the step."""
    before = window(_calls(canary, CANARY_S))
    with armed as step:
        return window(_calls(step, window_s), before)


def _calls(step: Step, least_s: float) -> list[float]:
    """The milliseconds of consecutive calls, once they have settled."""
    calls: list[float] = []
    with timed(step) as lap:
        settle(lap, WARM_UP_S)
        until = perf_counter() + least_s
        while perf_counter() < until or len(calls) < FEWEST_CALLS:
            took = lap()
            calls.append(took.host_ms if took.gpu_ms is None else took.gpu_ms)
    return calls


def _armed(step: Step, arm: str, number: int) -> AbstractContextManager[Step]:
    """The step as an arm has it."""
    if arm == TAIL:
        return tail(step, TAIL_SHARE, TAIL_FACTOR, seed=number)
    return slowed(step, ARMS[arm]) if ARMS[arm] else nullcontext(step)


@cache
def _uuid() -> str:
    return describe().gpus[0].uuid


@contextmanager
def _canary(device: str) -> Iterator[Step]:
    if device == "cpu":
        yield host_step()
        return
    with gpu_step() as step:
        yield step


if __name__ == "__main__":
    main()
