"""The run's end of a seat on another node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from harness.cache import SAID
from harness.errors import HarnessError
from harness.judge import first_line
from harness.records import Duel, Failure, Outcome, Plan, Screening
from harness.runner.bench import excluded
from harness.runner.client import Halt
from harness.runner.duels import Match, lost_launch
from harness.runner.health import SickDevice
from harness.runner.screen import Case, lost_again
from harness.runner.seat import Answer
from harness.runner.workers import Told

T = TypeVar("T")
R = TypeVar("R")
LOOK_S = 0.2


class Lost(Exception):
    """A node, or the process there, ended before it answered; `failure` is what becomes of the case at hand."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


@contextmanager
def failed(name: str) -> Iterator[None]:
    """HarnessError with the name of the node for what went wrong there, Lost where the node did not answer."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, HarnessError):
            raise HarnessError(f"{name}: {error.cause}") from error
        raise
    except RayError as error:
        raise Lost(Failure("crash", "measure", f"{name} was lost: {_why(str(error))}", str(error))) from error


def _why(text: str) -> str:
    """The last line of Ray's that is no detail."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("\t")][-1]


@dataclass(eq=False)
class Member:
    """An actor that hosts a seat."""

    actor: Any
    name: str
    lost: bool = False
    lock: Any = field(default_factory=Lock)
    """Held by who asks: what waits for an actor that dies is asked of another one."""

    def kill(self) -> None:
        """End it and its workers at once."""
        import ray

        self.lost = True
        with suppress(Exception):  # Ray is not connected any more
            ray.kill(self.actor)


class RemoteSeat:
    """A seat on some node; when that is lost, on the next one that is left."""

    def __init__(self, members: Sequence[Member], retries: int, halt: Halt) -> None:
        self._members, self._retries, self._halt = members, retries, halt
        self._sick: SickDevice | None = None
        self.told = Told({}, {}, {})

    def outcome(self, plan: Plan, before: Sequence[Failure] = ()) -> Outcome:
        """As `Bench.outcome`; a node that is lost costs an attempt."""
        if plan.excluded is not None:
            return excluded(plan.excluded)
        earlier = list(before)
        while True:
            try:
                with self._held() as member:
                    answer = self._answer(member, plan, earlier)
            except Lost as lost:
                if self._halt.called or len(earlier) >= self._retries:
                    return Outcome(error=lost.failure, attempts=len(earlier) + 1, earlier=tuple(earlier))
                earlier.append(lost.failure)
            else:
                self.told, self._sick = answer.told, answer.sick
                for note in answer.outcome.notes:
                    if note.startswith(SAID):
                        print(f"harness: {member.name}: {note}", file=sys.stderr)
                return answer.outcome

    def raise_sick(self) -> None:
        """Raise SickDevice where the device of the node failed its probes."""
        if self._sick is not None:
            raise self._sick

    def launch(self, matches: Sequence[Match], first: str) -> Iterator[Duel]:
        """As `duels.launch`; a node that is lost costs the case at hand that launch."""
        return self._each("launch", matches, lost_launch, first)

    def once_more(self, cases: Sequence[Case]) -> Iterator[Screening]:
        """As `screen.once_more`; a node that is lost costs the case at hand that measurement."""
        return self._each("once_more", cases, lambda case, failure: lost_again(case[3], failure))

    def _each(self, method: str, items: Sequence[T], lost: Callable[[T, Failure], R], *more: object) -> Iterator[R]:
        """What nodes give for each item, in order; `lost` makes that of an item which a node was lost over."""
        done = 0
        while done < len(items):
            try:
                with self._held() as member:
                    for value in self._stream(member, method, items[done:], *more):
                        done += 1
                        yield value
            except Lost as error:
                yield lost(items[done], error.failure)
                done += 1

    @contextmanager
    def _held(self) -> Iterator[Member]:
        """A node that is left, for this thread alone; Lost where the run is ending."""
        for one in self._members:
            while not one.lock.acquire(timeout=LOOK_S):
                self._go_on()
            try:
                self._go_on()
                if not one.lost:
                    yield one
                    return
            finally:
                one.lock.release()
        raise HarnessError("no node of the cluster is left; what was measured is kept: `--resume` goes on with it")

    def _go_on(self) -> None:
        if self._halt.called:  # what this thread finds is of no use, and why the run ends another one tells
            raise Lost(Failure("harness", "measure", "the run is ending"))

    @contextmanager
    def _asked(self, member: Member) -> Iterator[None]:
        try:
            with failed(member.name):
                yield
        except Lost as lost:
            member.kill()
            if not self._halt.called:
                print(f"harness: {first_line(lost.failure.message)}", file=sys.stderr)
            raise

    def _answer(self, member: Member, plan: Plan, earlier: Sequence[Failure]) -> Answer:
        import ray

        with self._asked(member):
            answer: Answer = ray.get(member.actor.outcome.remote(plan, earlier))
        return answer

    def _stream(self, member: Member, method: str, items: Sequence[T], *more: object) -> Iterator[Any]:
        import ray

        with self._asked(member):
            for one in getattr(member.actor, method).options(num_returns="streaming").remote(items, *more):
                yield ray.get(one)
