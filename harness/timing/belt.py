"""Where frames wait between the cameras that decode them and the sessions that take them: a bounded queue."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any


@dataclass(frozen=True)
class Shot:
    """A frame on its way."""

    stream: int
    due_s: float
    """When it arrived, or should have: a camera that decodes too slowly does not make it arrive later."""
    picture: Any


class Belt:
    """Frames in the order in which they were decoded; of each stream at most `room` wait.

    A frame is dropped where `room` frames of its stream waited when it arrived: those that were not decoded yet then
    waited as well. Where nothing is paced no frame is dropped, and its camera waits until there is room.
    """

    def __init__(self, streams: int, room: int, *, paced: bool, now: Callable[[], float]) -> None:
        self._room, self._paced, self._now = room, paced, now
        self._waiting: deque[Shot] = deque()
        self._held = [0] * streams
        self._taken: list[deque[float]] = [deque() for _ in range(streams)]
        self._running, self._broken = streams, False
        self._changed = Condition()
        self.dropped = 0
        self.latencies_s = array("d")
        self.decode_s = self.prepare_s = self.infer_s = 0.0
        self.done_s = 0.0

    def arrive(self, shot: Shot) -> bool:
        """A frame that is decoded; False where no more is wanted."""
        with self._changed:
            while not self._paced and self._held[shot.stream] >= self._room and not self._broken:
                self._changed.wait()
            if self._paced and self._were_waiting(shot) >= self._room:
                self.dropped += 1
            else:
                self._waiting.append(shot)
                self._held[shot.stream] += 1
                self._changed.notify_all()
            return not self._broken

    def _were_waiting(self, shot: Shot) -> int:
        """Frames of its stream that waited when it arrived."""
        taken = self._taken[shot.stream]
        while taken and taken[0] <= shot.due_s:
            taken.popleft()
        return self._held[shot.stream] + len(taken)

    def decoded(self, decode_s: float) -> None:
        """A frame took so long to decode, whether it is wanted or others build on it."""
        with self._changed:
            self.decode_s += decode_s

    def lost(self, count: int) -> None:
        """So many frames were not even decoded."""
        with self._changed:
            self.dropped += count

    def ready(self, count: int) -> float | None:
        """When the last of the next so many frames arrived; None where there are not so many."""
        return self._waiting[count - 1].due_s if len(self._waiting) >= count else None

    def take(self, count: int) -> list[Shot]:
        """The next frames, once there are so many; fewer where no more come, none at the end."""
        with self._changed:
            while len(self._waiting) < count and self._running and not self._broken:
                self._changed.wait()
            if self._broken:
                return []
            shots = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
            moment = self._now()
            for shot in shots:
                self._held[shot.stream] -= 1
                if self._paced:
                    self._taken[shot.stream].append(moment)
            self._changed.notify_all()
            return shots

    def answered(self, shots: Sequence[Shot], prepare_s: float, infer_s: float, done_s: float) -> None:
        """The results of frames that were taken together."""
        with self._changed:
            self.latencies_s.extend(done_s - shot.due_s for shot in shots)
            self.prepare_s += prepare_s
            self.infer_s += infer_s
            self.done_s = max(self.done_s, done_s)

    @contextmanager
    def shooting(self) -> Iterator[None]:
        """While a camera plays; after an error nothing goes on."""
        with self.answering():
            yield
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While a session takes frames; after an error nothing goes on."""
        try:
            yield
        except BaseException:
            with self._changed:
                self._broken = True
                self._changed.notify_all()
            raise
