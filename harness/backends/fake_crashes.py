"""How a scripted case goes wrong: `crash: {stage: infer, kind: segfault}` in a script of the fake backend.

Ends the process      segfault, abort, exit, kill (as somebody from outside would)
Never ends            hang, exit-hang (the process, when it is asked to end), closed-channel
Ends when told        wait (until the file `until` is there)
Is an error           error, out-of-memory (of the host), device-memory, device (which recovers),
                      sticky-device (until the process ends), sick-device (so that probes fail)
Is no answer          garbage, giant-answer
Takes what is short   memory (of the host, until it is ended), files (descriptors), giant-log
Leaves something      child (a process that outlives the worker; `detached: true` in a session of its own)

`attempts: 1` fails the first attempt at a case alone, `probes: 1` the first probe, `once: FILE` where that file is not
there, and makes it; `mib` is how much memory, log or answer it is; `pid_file` is where the number of the child is
written.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import os
import re
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import ATTEMPT
from harness.errors import BuildError, DeviceError, DeviceMemory, InputError, did_you_mean

STAGES = ("build", "load", "infer", "time", "serve")
SETTINGS = {"stage", "kind", "attempts", "probes", "once", "mib", "pid_file", "detached", "until"}
Wanted = Mapping[str, Any]
MOST_MIB = 4096
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PROC = Path("/proc/self")
_held: list[Any] = []
"""What is never given back."""
_lost: list[str] = []
"""Why the device cannot be used any more by this process."""


def crash(entry: Mapping[str, Any], stage: str) -> None:
    """Fail here if the script says so."""
    if _lost:
        raise DeviceError(_lost[0])
    wanted = entry.get("crash")
    if not wanted:
        return
    if not all(type(wanted.get(key, 1)) is int for key in ("attempts", "probes")):
        raise InputError(f"script: attempts and probes of a crash are whole numbers, found {wanted!r:.60}")
    if unknown := set(wanted) - SETTINGS:
        raise InputError(f"script: unknown key '{min(unknown)}' of a crash{did_you_mean(min(unknown), SETTINGS)}")
    kind, where = str(wanted.get("kind")), str(wanted.get("stage", "infer"))
    if kind not in CRASHES:
        raise InputError(f"script: unknown crash '{kind}'{did_you_mean(kind, CRASHES)}")
    if where not in STAGES:
        raise InputError(f"script: unknown stage '{where}'{did_you_mean(where, STAGES)}")
    if where == stage and _attempt() <= wanted.get("attempts", _attempt()) and _first(wanted):
        CRASHES[kind](wanted)


def _first(wanted: Wanted) -> bool:
    """Whether it has not happened yet, where it is to happen once in all processes."""
    if "once" not in wanted:
        return True
    try:
        with _here(wanted, "once").open("x"):
            return True
    except FileExistsError:
        return False


def _here(wanted: Wanted, key: str, *, new: bool = False) -> Path:
    """A file of the working folder that the script names."""
    name = str(wanted.get(key))
    file = Path(name)
    if not _FILE.fullmatch(name) or file.is_symlink() or (new and file.exists()):
        what = "a file that is not there yet" if new else "a file"
        raise InputError(f"script: {key}: expected the name of {what}, found {name!r:.60}")
    return file


def sicken(entry: Mapping[str, Any]) -> None:
    """DeviceError where the script says that a probe of the device fails."""
    wanted = entry.get("crash") or {}
    if wanted.get("kind") == "sick-device" and _attempt() <= wanted.get("probes", _attempt()):
        raise DeviceError("scripted: the device does not give back what it was given")


def _mib(wanted: Wanted) -> int:
    """How much, which the script may not choose without bounds."""
    mib = wanted.get("mib", 1024)
    if type(mib) is not int or not 0 < mib <= MOST_MIB:
        raise InputError(f"script: mib: expected a whole number up to {MOST_MIB}, found {mib!r:.60}")
    return mib


def _attempt() -> int:
    return int(os.environ.get(ATTEMPT, "1"))


def _segfault(wanted: Wanted) -> None:  # noqa: ARG001 - as all of them
    os.kill(os.getpid(), signal.SIGSEGV)


def _kill(wanted: Wanted) -> None:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(wanted: Wanted) -> None:  # noqa: ARG001
    while True:
        time.sleep(3600)


def _wait(wanted: Wanted) -> None:
    file = _here(wanted, "until")
    while not file.exists():
        time.sleep(0.01)


def _exit_hang(wanted: Wanted) -> None:
    atexit.register(_hang, wanted)


def _exhaust_memory(wanted: Wanted) -> None:  # noqa: ARG001
    """Takes memory until it is refused, under a limit so that the machine does not suffer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (1 << 30), hard))
    try:
        held = [np.ones(1 << 25) for _ in itertools.count()]
        held.clear()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    return int((_PROC / "statm").read_text().split()[0]) * resource.getpagesize()


def _grow(wanted: Wanted) -> None:
    """Takes memory, 16 MiB at a time, and keeps it for a while."""
    _held.extend(np.ones(1 << 21) for _ in range(_mib(wanted) >> 4))
    time.sleep(60)


def _fail(wanted: Wanted) -> None:  # noqa: ARG001
    raise BuildError("the script says so")


def _device(wanted: Wanted) -> None:  # noqa: ARG001
    raise DeviceError("scripted: the device reported an error")


def _sticky(wanted: Wanted) -> None:  # noqa: ARG001
    _lost.append("scripted: a sticky device error, the context of this process is lost")
    raise DeviceError(_lost[0])


def _device_memory(wanted: Wanted) -> None:
    raise DeviceMemory(f"scripted: no {wanted.get('mib', 1024)} MiB are free")


def _garbage(wanted: Wanted) -> None:  # noqa: ARG001
    os.write(_channel(), b"Segmentation \xff\x00 fault: {]\n")


def _giant_answer(wanted: Wanted) -> None:
    """A line that does not end; nobody waits for the rest of it once it is too long."""
    for _ in range(_mib(wanted)):
        os.write(_channel(), b"x" * (1 << 20))


def _closed_channel(wanted: Wanted) -> None:
    os.close(_channel())
    _hang(wanted)


def _channel() -> int:
    """What the worker answers on: the only pipe that is written to and is no standard stream."""
    for name in sorted(int(entry.name) for entry in (_PROC / "fd").iterdir()):
        with suppress(OSError):
            is_pipe = stat.S_ISFIFO(os.fstat(name).st_mode)
            if name > 2 and is_pipe and fcntl.fcntl(name, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                return name
    raise InputError("script: this process answers on no channel")


def _giant_log(wanted: Wanted) -> None:
    line = b"the same line again and again ".ljust(1023, b".") + b"\n"
    for _ in range(_mib(wanted)):
        os.write(2, line * 1024)


def _open_files(wanted: Wanted) -> None:  # noqa: ARG001
    """Opens what it may, at most 10,000, and closes none."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(10_000, hard), hard))
    while True:
        try:
            _held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return


def _child(wanted: Wanted) -> None:
    """A process that sleeps on when this one is gone; its number goes into a new file of the working folder."""
    file = _here(wanted, "pid_file", new=True)
    child = subprocess.Popen(["sleep", "600"], start_new_session=bool(wanted.get("detached")))  # noqa: S607
    _held.append(child)
    with file.open("x") as stream:
        stream.write(str(child.pid))


CRASHES: Mapping[str, Callable[[Wanted], Any]] = {
    "segfault": _segfault,
    "abort": lambda wanted: os.abort(),  # noqa: ARG005
    "exit": lambda wanted: os._exit(3),  # noqa: ARG005
    "kill": _kill,
    "hang": _hang,
    "exit-hang": _exit_hang,
    "wait": _wait,
    "closed-channel": _closed_channel,
    "error": _fail,
    "out-of-memory": _exhaust_memory,
    "device-memory": _device_memory,
    "device": _device,
    "sticky-device": _sticky,
    "sick-device": _device,
    "garbage": _garbage,
    "giant-answer": _giant_answer,
    "memory": _grow,
    "files": _open_files,
    "giant-log": _giant_log,
    "child": _child,
}
