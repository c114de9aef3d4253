"""CUDA events around one iteration."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from harness.backends.cuda import check, runtime


class Events:
    """A pair of CUDA events on one stream; `elapsed_ms` waits for the second (resolution about 0.5 us)."""

    def __init__(self, stream: int) -> None:
        self._cuda = runtime()
        self._stream = stream
        self._first = check(self._cuda.cudaEventCreate())
        self._second = check(self._cuda.cudaEventCreate())

    def start(self) -> None:
        check(self._cuda.cudaEventRecord(self._first, self._stream))

    def stop(self) -> None:
        check(self._cuda.cudaEventRecord(self._second, self._stream))

    def elapsed_ms(self) -> float:
        check(self._cuda.cudaEventSynchronize(self._second))
        return float(check(self._cuda.cudaEventElapsedTime(self._first, self._second)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for event in (self._first, self._second):
            self._cuda.cudaEventDestroy(event)
