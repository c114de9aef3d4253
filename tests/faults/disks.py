"""Disks that are full, broken or forgetful: the run's folder, its journal, and every kind of cache file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from faults.ends import JOURNAL, KILLED, WAITS, at, says, send
from faults.fault import Before, Check, Fault
from faults.place import Place
from harness.artefacts import STALE_S
from harness.records import Run

Mend = Callable[[Place], None]


@cache
def mountable() -> bool:
    """Whether small file systems can be mounted here."""
    with tempfile.TemporaryDirectory() as name:
        if _mount(Path(name), "-o", "size=16k"):
            subprocess.run(["umount", name], check=True)
            return True
    return False


def _mount(folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    return (
        shutil.which("mount") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def small(where: str, kib: int) -> Before:
    """A file system of its own for a folder of the place."""

    @contextmanager
    def before(place: Place) -> Iterator[None]:
        folder = place.folder / where
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if where == "project/disk":
            place.out = Path("disk/out")
        assert _mount(folder, "-o", f"size={kib}k")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)

    return before


def room(place: Place) -> None:
    """Make the small file system larger."""
    assert _mount(place.project / "disk", "-o", "remount,size=10m")


SHORT_FILES = "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
"""No file may grow beyond that: writing more fails (EFBIG), because Python ignores SIGXFSZ."""


def flip(file: Path) -> None:
    """Change one bit in the middle and leave size and time of change as they were."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def flipped(pattern: str) -> Before:
    """Change a bit of every such file of the cache."""

    def before(place: Place) -> None:
        found = sorted(file for file in place.cache.glob(pattern) if file.is_file())
        assert found, f"the cache holds no {pattern}"
        for file in found:
            flip(file)

    return before


def noticed(place: Place, run: Run) -> list[str]:
    """What was changed has to be told, once, and to be sound again."""
    notes = [note for record in run.records for note in record.notes if note.startswith("cache: ")]
    return [] if notes else ["nobody noticed that the cache was changed"]


def journal(change: Callable[[list[bytes]], list[bytes]]) -> Mend:
    """Change the lines of the journal of a run that was killed."""

    def mend(place: Place) -> None:
        path = place.project / place.out / "journal.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return mend


def damaged(number: int, old: bytes = b"1.005", new: bytes = b"1.905") -> Callable[[list[bytes]], list[bytes]]:
    """One line with another byte, which is JSON still."""

    def change(lines: list[bytes]) -> list[bytes]:
        assert old in lines[number], lines[number]
        return [one.replace(old, new) if at == number else one for at, one in enumerate(lines)]

    return change


def _baseline(place: Place) -> Path:
    (file,) = (place.project / "baselines").rglob("*.json")
    return file


def _damage_baseline(place: Place) -> None:
    file = _baseline(place)
    shutil.copy2(file, place.folder / "sound")
    file.write_bytes(file.read_bytes().replace(b"{", b"[", 2))


def _mend_baseline(place: Place) -> None:
    shutil.copy2(place.folder / "sound", _baseline(place))


def _read_only(place: Place) -> None:
    place.out = Path("small.onnx") / "out"  # nobody can make a folder in a file, not even root


def _elsewhere(place: Place) -> None:
    place.out = Path("out")


def _aged(place: Place) -> None:
    """What a killed process left half-made is removed when it is older than anything that is still being made."""
    for path in place.cache.rglob(".*"):
        old = path.stat().st_mtime - STALE_S - 3600
        os.utime(path, (old, old))


def _without(*names: str) -> Before:
    def before(place: Place) -> None:
        for name in names:
            path = place.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return before


def _cut(place: Place) -> None:
    path = place.project / "out" / "run.json"
    os.truncate(path, path.stat().st_size // 2)


def _other_model(place: Place) -> None:
    flip(place.project / "small.onnx")


def _made_here(place: Place, run: Run) -> list[str]:
    return [f"{one.case.id}: found in a cache that nobody signed" for one in run.records if "cache" in one.attested]


FULL = Fault("the disk is full under the run's folder", "a tmpfs of 24 KiB", 3, before=small("project/disk", 24),
             mend=room, resume=0, check=says("make room, then --resume"))  # fmt: skip
if not mountable():
    FULL = replace(FULL, how="RLIMIT_FSIZE of 8 KiB (nothing can be mounted here)", prepare=SHORT_FILES,
                   before=None, mend=None)  # fmt: skip
MOUNTED = (
    Fault("the disk is full under the cache", "a tmpfs of 12 KiB", 3, ("harness", "variant cannot be kept"),
          suite="net", case="onnxruntime-cpu/fp16", before=small("project/cache", 12)),
    Fault("the disk is full under TMPDIR", "a tmpfs of 4 KiB", 3, ("harness", "No space left"), case="/",
          before=small("tmp", 4)),
)  # fmt: skip
BROKEN = (
    FULL,
    *(MOUNTED if mountable() else ()),
    Fault("files may not grow", "RLIMIT_FSIZE of 8 KiB", 3, prepare=SHORT_FILES, resume=0),
    Fault("the folder of the run cannot be written", "it is below a file", 2, before=_read_only, mend=_elsewhere,
          resume=0),
    Fault("the disk breaks in the middle of a line", "EIO after half a write", 3, resume=0,
          at=at("run", "os.write", JOURNAL, "EIO", 5)),
    Fault("the disk breaks at fsync", "EIO", 3, at=at("run", "os.fsync", JOURNAL, "EIO", 3), resume=0),
    Fault("the disk is read-only for run.json", "EROFS", 3, at=at("run", "open", "*/run.*.tmp", "EROFS"), resume=0),
    Fault("the disk is full for the report", "ENOSPC", 3, at=at("run", "open", "*/.report.html.*", "ENOSPC"), resume=0),
)  # fmt: skip


def killed(name: str, how: str, mend: Mend, resume: int = 0, **more: object) -> Fault:
    """A run that was killed, and what it left behind changed before it is continued."""
    return Fault(name, f"SIGKILL of the run in infer, then {how}", KILLED, script=f"{WAITS}, stage: infer", mend=mend,
                 during=send(signal.SIGKILL), resume=resume, **more)  # type: ignore[arg-type] # fmt: skip


JOURNALS = (
    killed("the journal is torn", "30 bytes less", journal(lambda lines: [*lines[:-1], lines[-1][:-30]])),
    killed("the journal is torn between lines", "a newline less", journal(lambda lines: [*lines[:-1], lines[-1][:-1]])),
    killed("a record of the journal is damaged", "another byte in it", journal(damaged(3))),
    killed("a measured case of the journal is damaged", "another byte in it", journal(damaged(2))),
    killed("the beginning of the journal is damaged", "another byte in it", journal(damaged(0, b"n-1", b"n-9")), 2,
           check=says("the line about the beginning of the run is damaged")),
    killed("the journal is empty", "0 bytes", journal(lambda _: [])),
    killed("the journal has a part of another", "its second half twice", journal(lambda lines: [*lines, *lines[2:]])),
    killed("the model has another byte, with size and time as before", "a bit of it changed", _other_model, 2,
           check=says("holds something else")),
    Fault("run.json is cut in half", "after a SIGKILL at the very end", KILLED, mend=_cut, resume=0,
          at=at("run", "shutil.rmtree", "*/trt-harness-run-*", "SIGKILL", 3)),
)  # fmt: skip


def changed(what: str, pattern: str, suite: str = "net", check: Check = noticed) -> Fault:
    """A flipped bit in what the cache keeps."""
    return Fault(f"a flipped bit in {what}", pattern, 0, suite=suite, before=flipped(pattern), check=check)


CACHES = (
    changed("a variant", "artefacts/*/model.onnx"),
    changed("a reference", "artefacts/*/again/../0-0.npy"),
    changed("a precision twin", "artefacts/*/noise.f64"),
    changed("an engine", "artefacts/*/model.engine", "rtx"),
    changed("each record of the cache", "index/*/*.json"),
    changed("the record of an engine", "index/engines/*.json", "rtx"),
    Fault("a flipped bit in the key of the cache", "key", 0, suite="rtx", check=_made_here,
          before=lambda place: flip(place.folder / "key")),
    Fault("everything but the records of the cache is gone", "artefacts/", 0, suite="net",
          before=_without("project/cache/artefacts")),
    Fault("the cache is a file", "in place of the folder", 2, suite="net", before=lambda place: _as_file(place.cache),
          mend=lambda place: place.cache.unlink(), resume=0, check=says("choose another folder with --artefacts")),
    Fault("SIGKILL of the worker when it keeps something", "before it has its name", 3, ("crash", "SIGKILL"),
          suite="net", case="onnxruntime-cpu", before=_without("project/cache"), mend=_aged, resume=3,
          at=at("worker", "os.rename", "*/artefacts/[0-9a-f]*", "SIGKILL")),
    Fault("a baseline is damaged", "other brackets", 2, suite="timed", before=_damage_baseline, mend=_mend_baseline,
          resume=1),
)  # fmt: skip


def _as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


FAULTS: tuple[Fault, ...] = (*BROKEN, *JOURNALS, *CACHES)
