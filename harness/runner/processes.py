"""Worker processes and what they start: which there are, what they take, and their end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

MARK = "TRT_HARNESS_WORKER"
"""The environment variable by which everything that a worker starts is known, whatever session it moves to."""
STACK_SIGNAL = signal.SIGUSR2
"""Tells a worker to write to its log where its threads are."""
EXIT_S = 5.0
"""What a worker is given to end by itself."""
_PROC = Path("/proc")
_POLL_S = 0.005


def exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended; its number stays taken, so that its group can still be ended."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody waits for all children of this process
        return True


def ends(process: subprocess.Popen[bytes], patience_s: float, meanwhile: Callable[[], None]) -> bool:
    """Whether a child ends by itself within so long, in which `meanwhile` is called again and again."""
    deadline = monotonic() + patience_s
    while not exited(process):
        if monotonic() >= deadline:
            return False
        meanwhile()
        sleep(_POLL_S)
    return True


def end(process: subprocess.Popen[bytes], mark: str) -> int:
    """Kill a worker, if it has not ended, and everything that it started; its exit status, as `subprocess` tells it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    end_marked(mark)
    return status


def end_marked(mark: str, spared: Collection[int] = ()) -> None:
    """Kill what was started with this mark, whatever group it is in; this process and some others are spared."""
    wanted = f"{MARK}={mark}".encode()
    if not mark:  # nothing was started
        return
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), *spared):
            continue
        with suppress(OSError):  # it is another user's, or has ended
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def with_descendants(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    found = [pid]
    for one in found:  # grows on the way
        with suppress(OSError):
            for task in (_PROC / str(one) / "task").iterdir():
                children = map(int, (task / "children").read_text("ascii").split())
                found += [child for child in children if child not in found]
    return found


def resident_mib(pids: list[int], above_mib: float) -> float:
    """Memory that processes hold, in MiB; what they share counts once where it matters, which is above `above_mib`."""
    simple = sum(_resident_mib(pid) for pid in pids)
    if simple <= above_mib or len(pids) == 1:
        return simple
    shares = [_share_mib(pid) for pid in pids]
    return sum(share for share in shares if share is not None) if None not in shares else simple


def oom_kills() -> int | None:
    """How many processes of this machine the kernel has ended because memory ran out; None where it does not count."""
    with suppress(OSError):
        for line in (_PROC / "vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def _resident_mib(pid: int) -> float:
    try:
        return int((_PROC / str(pid) / "statm").read_text("ascii").split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):  # it has ended
        return 0.0


def _share_mib(pid: int) -> float | None:
    """Resident memory with shared pages divided by those who share them (proc(5), Pss of smaps_rollup)."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text("ascii", "replace").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
        return 0.0
    return 0.0 if not (_PROC / str(pid)).exists() else None
