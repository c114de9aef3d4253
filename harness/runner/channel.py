"""The parent's ends of a worker's pipes: requests go out, answers and log come in, all of it bounded."""

from __future__ import annotations

import os
import select
import subprocess
from contextlib import suppress
from time import monotonic
from typing import IO

LOG_BYTES = 8000
"""What is kept of the log of one request: its end, which holds the last words and the stack of a crash."""
LONGEST_ANSWER_BYTES = 64 << 20
CHUNK_BYTES = 1 << 16
MOST_CHUNKS = 64
"""A pipe holds fewer: whoever writes more is still writing."""
QUIET_S = 0.05


class Garbage(Exception):
    """What came on the channel is no answer; the message tells what it is instead."""


class Log:
    """The end of what a worker wrote to standard error since its request began."""

    def __init__(self) -> None:
        self._end, self._size = bytearray(), 0

    def begin(self) -> None:
        """Forget what was written before."""
        self._end, self._size = bytearray(), 0

    def add(self, data: bytes) -> None:
        """Take more of it; what is too much is forgotten."""
        self._size += len(data)
        self._end += data
        del self._end[:-LOG_BYTES]

    def text(self) -> str:
        """The end, and how much there was before it."""
        end, lost = self._end.decode(errors="replace").strip(), self._size - len(self._end)
        return f"[{lost} bytes of log before this were not kept]\n{end}" if lost else end


class Channel:
    """Three pipes of one process; while this waits for one of them, none of the others fills up.

    The log is read into memory and not into a file, so that no worker can fill the disk with it.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]
        self._requests, self._answers, self._errors = (pipe.fileno() for pipe in self._pipes)
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)
        self._logs = True
        self._buffer, self._searched = bytearray(), 0
        self.log = Log()

    def send(self, line: bytes, deadline: float) -> None:
        """Write a request; TimeoutError when the worker does not take it, EOFError when it is gone."""
        left = memoryview(line)
        while left:
            if monotonic() >= deadline:
                raise TimeoutError
            if self._wait(max(0.0, deadline - monotonic()), sending=True):
                with suppress(BlockingIOError):
                    left = left[os.write(self._requests, left[:CHUNK_BYTES]) :]

    def line(self, wait_s: float) -> bytes | None:
        """The next line of the worker; None when there is none yet after so long or after more of the log.

        EOFError when the worker closed the channel, Garbage when the line has no end.
        """
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > LONGEST_ANSWER_BYTES:
                raise Garbage(f"an answer of more than {LONGEST_ANSWER_BYTES >> 20} MiB")
            self._wait(wait_s)
            end = self._buffer.find(b"\n", self._searched)
            if end < 0:
                return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def drain(self) -> None:
        """Take what there is of the log, without waiting."""
        for _ in range(MOST_CHUNKS):
            if not self._logs or not self._read_log():
                return

    def gather(self, patience_s: float) -> None:
        """Wait for more of the log, until no more comes."""
        deadline, before = monotonic() + patience_s, -1
        while self._logs and monotonic() < deadline and before:
            poll = select.poll()
            poll.register(self._errors, select.POLLIN)
            wait_s = deadline - monotonic() if before < 0 else QUIET_S
            before = len(poll.poll(max(0.0, wait_s) * 1e3))
            self.drain()

    def hang_up(self) -> None:
        """Close the end that sends requests, which asks the worker to end."""
        _close(self._pipes[0])

    def close(self) -> None:
        """Close all ends."""
        for pipe in self._pipes:
            _close(pipe)
        self._logs = False

    def _wait(self, wait_s: float, *, sending: bool = False) -> bool:
        """Take what the worker writes, waiting at most so long for it; whether it takes more of a request."""
        poll = select.poll()  # unlike select, it takes descriptors of any number
        poll.register(self._answers, select.POLLIN)
        if self._logs:
            poll.register(self._errors, select.POLLIN)
        if sending:
            poll.register(self._requests, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poll.poll(wait_s * 1e3)}
        if self._errors in ready:
            self._read_log()
        if self._answers in ready:
            self._read_answers()
        return self._requests in ready

    def _read_answers(self) -> None:
        data = os.read(self._answers, CHUNK_BYTES)
        if not data:
            raise EOFError
        self._buffer += data

    def _read_log(self) -> int:
        """Read once; how much there was."""
        try:
            data = os.read(self._errors, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if not data:  # closed by all who could write to it
            self._logs = False
        self.log.add(data)
        return len(data)


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):
        pipe.close()
