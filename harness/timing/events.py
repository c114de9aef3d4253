"""CUDA events: moments on a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from harness.backends.cuda import check, runtime


class Events:
    """Moments on one stream, numbered from 0; `elapsed_ms` waits for the later one (resolution about 0.5 us)."""

    def __init__(self, stream: int, count: int) -> None:
        self._cuda = runtime()
        self._stream = stream
        self._events: Sequence[Any] = [check(self._cuda.cudaEventCreate()) for _ in range(count)]

    def mark(self, number: int) -> None:
        """The moment at which all work enqueued so far is done."""
        check(self._cuda.cudaEventRecord(self._events[number], self._stream))

    def marker(self, number: int) -> Callable[[], tuple[Any, ...]]:
        """What does so with nothing around it; its status is for `check`, later."""
        return partial(self._cuda.cudaEventRecord, self._events[number], self._stream)

    def wait(self, number: int) -> None:
        """Wait for a moment."""
        check(self._cuda.cudaEventSynchronize(self._events[number]))

    def elapsed_ms(self, first: int, last: int) -> float:
        """The time between two moments."""
        self.wait(last)
        return float(check(self._cuda.cudaEventElapsedTime(self._events[first], self._events[last])))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for event in self._events:
            self._cuda.cudaEventDestroy(event)
