"""The world around a run: its clock, its streams, its files, other runs, and servers."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from faults.disks import flip
from faults.ends import JOURNAL, WAITS, at, go, in_turn
from faults.fault import Before, Check, During, Fault
from faults.place import Place, Process
from faults.server import serving
from harness.records import Run
from harness.store import read_run

YEAR_S = 365 * 86400.0


MANY_FILES = """
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(10_100, hard), hard))
for descriptor in range(20, min(10_020, hard)):
    os.dup2(0, descriptor)
"""


def full() -> Any:
    """A stream that takes nothing: every write fails with ENOSPC."""
    return os.open("/dev/full", os.O_WRONLY)


def nobody() -> Any:
    """A pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


def gone(*names: str) -> During:
    """Remove files and folders of the project."""

    def during(place: Place, _: Process) -> None:
        for name in names:
            path = place.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return during


def written(name: str, content: bytes) -> During:
    """Replace a file of the project."""
    return lambda place, _: (place.project / name).write_bytes(content) and None


def another_run(suite: str, out: str, *options: str, wait: bool = False) -> During:
    """A further run in the same project; with `wait` until it has ended."""

    def during(place: Place, _: Process) -> None:
        other = place.start([f"{suite}.yaml", "-o", out, "--artefacts", "cache", *options])
        place.others.append(other)
        if wait:
            place.notes.append(f"the other one ended with {other.wait(20)}")

    return during


def same_as_other(out: str) -> Check:
    """The other run has to have the same cases with the same statuses."""

    def check(place: Place, run: Run) -> list[str]:
        other = read_run(place.project / out)
        told = [[(one.case.id, one.status, one.measurements) for one in each.records] for each in (run, other)]
        return [] if told[0] == told[1] and place.others[0].process.returncode == 0 else ["the other run is another"]

    return check


def refused(place: Place, _: Run) -> list[str]:
    """The other run has to be refused."""
    found = [other.process.returncode for other in place.others]
    return [] if found == [2] * len(found) else [f"the other runs ended with {found}, not 2"]


@contextmanager
def _busy_device(place: Place) -> Iterator[None]:
    """Somebody else holds the lock of the device for two seconds."""
    with (place.folder / "locks" / "cpu.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(2.0, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        try:
            yield
        finally:
            timer.join()


def _no_locks(place: Place) -> None:
    (place.folder / "locks").rmdir()
    (place.folder / "locks").touch()


def served(way: str, *, left: bytes = b"", keep: bool = False) -> Before:
    """The server sends the model in that way; `left` is what an earlier download left."""

    @contextmanager
    def before(place: Place) -> Iterator[None]:
        content = (place.project / "small.onnx").read_bytes()
        downloads = place.cache / "downloads"
        if left or keep:
            downloads.mkdir(parents=True)
            name = f"{sha256(content).hexdigest()}.{'onnx' if keep else 'part'}"
            (downloads / name).write_bytes(left or content)
            if keep:
                flip(downloads / name)
        with serving(place, way) as asked:
            yield
            place.notes.append(f"asked {len(asked)} times")

    return before


def waits(name: str, how: str, exit_: int, *steps: During, **more: Any) -> Fault:
    """Something that happens while a case is being measured, which then goes on."""
    return Fault(name, how, exit_, script=f"{WAITS}, stage: infer", during=in_turn(*steps, go), **more)


JUMPS = at("run", "os.fsync", JOURNAL, "mark", 3)
STREAMS = (
    Fault("stdout is closed", "from the beginning", 0, prepare="os.close(1)"),
    Fault("stdin, stdout and stderr are closed", "from the beginning", 0, prepare="os.closerange(0, 3)"),
    Fault("stdout is full", "/dev/full", 0, streams=lambda: {"stdout": full()}),
    Fault("stderr is full", "/dev/full; Ctrl-C in infer", 130, streams=lambda: {"stderr": full(), "stdout": full()},
          script=f"{WAITS}, stage: infer", during=lambda _, process: process.send(2), resume=0),
    Fault("nobody reads stdout", "a pipe without a reader", 0, streams=lambda: {"stdout": nobody()}),
    Fault("10,000 open files are handed on", "from the beginning", 0, prepare=MANY_FILES),
)  # fmt: skip
CLOCK = (
    Fault("the clock jumps a year ahead", "after the first case", 0, at=JUMPS, clock_s=YEAR_S),
    Fault("the clock jumps a year back", "after the first case", 0, at=JUMPS, clock_s=-YEAR_S),
)
FILES = (
    waits("the suite is deleted", "while a case runs", 0, gone("project/toy.yaml")),
    waits("the script of the fake backend is deleted", "while a case runs", 1, gone("project/script.yaml"),
          error=("input", "script.yaml"), case="n-[34]"),
    waits("the model is deleted", "while a case runs", 1, gone("project/small.onnx"), error=("input", "small.onnx"),
          case="n-[34]"),
    waits("the folder of the run is deleted", "while a case runs", 3, gone("project/out"), resume=0),
    waits("the cache is deleted", "while a case runs", 0, gone("project/cache"), suite="net"),
    waits("the temporary folder is deleted", "while a case runs", 3, gone("tmp"), error=("harness", "No such file")),
    waits("the locks are deleted", "while a case runs", 0, gone("locks")),
)  # fmt: skip
OTHERS = (
    waits("two runs on one cache", "both make everything", 0, gone("project/cache"), another_run("net", "other"),
          suite="net", check=same_as_other("other")),
    waits("another run into the same folder", "while a case runs", 0, another_run("toy", "out", wait=True),
          check=refused),
    waits("another --resume into the same folder", "while a case runs", 0,
          another_run("toy", "out", "--resume", wait=True), check=refused),
    Fault("somebody holds the device", "its lock, for two seconds", 0, before=_busy_device),
    Fault("there is no place for locks", "a file in place of the folder", 3, ("harness", "no place for locks"),
          before=_no_locks, case="/"),
)  # fmt: skip
FAR = "far/fake"
PORT = ("plan_digest",)
"""The port of the server stands in the suite, and is another one each time."""
SERVERS = (
    Fault("the network is cut in the middle of a download", "once", 0, suite="url", before=served("cut-once"),
          case=FAR, but=PORT),
    Fault("the network is cut again and again", "each time in the middle of the rest", 1,
          ("input", "what came is kept"), suite="url", case=FAR, before=served("cut"), options=("--timeout", 20)),
    Fault("a server claims more than it sends", "Content-Length", 1, ("input", "cut"), suite="url", case=FAR,
          before=served("longer"), options=("--timeout", 20)),
    Fault("a server claims less than it sends", "Content-Length", 1, ("input", "SHA-256"), suite="url", case=FAR,
          before=served("shorter")),
    Fault("a server claims a petabyte", "Content-Length", 1, ("input", "larger than"), suite="url", case=FAR,
          before=served("endless")),
    Fault("a server sends another model", "other bytes", 1, ("input", "SHA-256"), suite="url", case=FAR,
          before=served("other")),
    Fault("a server breaks", "status 500", 1, ("input", "500"), suite="url", case=FAR, before=served("broken")),
    Fault("a server leads away from https", "a redirect", 1, ("input", "https"), suite="url", case=FAR,
          before=served("away")),
    Fault("a server stalls", "in the middle of the body", 3, ("timeout", "took longer"), suite="url", case=FAR,
          before=served("stall")),
    Fault("a partial download of something else", "40 bytes in the cache", 0, suite="url",
          before=served("whole", left=b"x" * 40), case=FAR, but=PORT),
    Fault("a flipped bit in a download", "in the cache", 0, suite="url", before=served("whole", keep=True),
          case=FAR, but=PORT),
)  # fmt: skip

FAULTS: tuple[Fault, ...] = (*STREAMS, *CLOCK, *FILES, *OTHERS, *(SERVERS if shutil.which("openssl") else ()))
