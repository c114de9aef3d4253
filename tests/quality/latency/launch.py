"""One fresh process: every cell is timed by itself and then in turns with its twin, each arm once.

    python -m quality.latency.launch --folder DIR --number 3 --cells conv,attention --arms null,s3

Prints the lines of `stored.py`. The session that is made first is side a's in even launches and b's in odd ones.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path

from harness.backends import BACKENDS
from harness.backends.base import Step
from harness.backends.cuda import one_stream
from harness.environment import describe
from harness.errors import CaseError
from harness.records import Launch
from harness.timing.canary import canary
from harness.timing.duel import DuelSettings, duel
from harness.timing.evidence import watch
from harness.timing.inject import slowed, tail
from harness.timing.laps import Lap, timed
from harness.timing.loop import laps
from harness.timing.settle import settle
from harness.timing.sides import LocalSide
from quality.latency.cells import CELLS, Cell, feeds_of, opened
from quality.latency.stored import ARMS, TAIL, TAIL_FACTOR, TAIL_SHARE, Window, line, window

FEWEST_CALLS = 300
WARM_UP_S = 0.1
KINDS = ("windows", "turns")


def main() -> None:
    """Times what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m quality.latency.launch")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--cells", required=True)
    parser.add_argument("--arms", required=True)
    parser.add_argument("--window", type=float, default=0.2, help="seconds of each window")
    parser.add_argument("--only", choices=KINDS)
    asked = parser.parse_args()
    cells = {cell.name: cell for some in CELLS.values() for cell in some}
    order = random.Random(asked.number)
    names = asked.cells.split(",")
    order.shuffle(names)
    for name in names:
        arms = asked.arms.split(",")
        order.shuffle(arms)
        for told in _timed(cells[name], asked.folder, asked.number, arms, asked.window, asked.only or KINDS):
            print(told, flush=True)


def _timed(
    cell: Cell, folder: Path, number: int, arms: list[str], window_s: float, kinds: str | tuple[str, ...]
) -> Iterator[str]:
    """Windows of the session that was made first, before there is another; then both in turns."""
    device = BACKENDS.load(cell.backend)().device
    given = feeds_of(cell, folder)
    shared = one_stream() if device == "cuda" else nullcontext()
    with shared, opened(cell, folder) as first_session, canary(device) as beside:
        first_step = first_session.bind(given)
        for arm in arms if "windows" in kinds else ():
            name = "A" if arm == "null" else arm
            yield _line(
                "window", number, cell, name, partial(_window, _armed(first_step, arm, number), beside, window_s)
            )
        if "turns" not in kinds:
            return
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


def _window(armed: AbstractContextManager[Step], beside: Step, window_s: float) -> Window:
    """The window of a step, once it has settled, with that of the canary in turns with it."""
    with armed as step, timed(step) as lap, timed(beside) as other:
        settle(lap, WARM_UP_S)
        found, canary_laps = laps(lap, window_s, FEWEST_CALLS, float("inf"), other)
    return window(_times(found), window(_times(canary_laps)))


def _times(found: list[Lap]) -> list[float]:
    return [one.host_ms if one.gpu_ms is None else one.gpu_ms for one in found]


def _armed(step: Step, arm: str, number: int) -> AbstractContextManager[Step]:
    """The step as an arm has it."""
    if arm == TAIL:
        return tail(step, TAIL_SHARE, TAIL_FACTOR, seed=number)
    return slowed(step, ARMS[arm]) if ARMS[arm] else nullcontext(step)


@cache
def _uuid() -> str:
    return describe().gpus[0].uuid


if __name__ == "__main__":
    main()
