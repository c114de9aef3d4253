"""What was made and may be used again, kept by the digest of its content: engines, model files, folders of tensors.

A folder in use is locked (shared) by the process that found it, so that nobody's `clean` removes it meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

from harness.errors import InputError

ONNX_NAME, ENGINE_NAME = "model.onnx", "model.engine"
FOLDER, DOWNLOADS = "artefacts", "downloads"
UNUSED_S = 14 * 86400.0
"""What no baseline names is kept for that long after its last use."""
STALE_S = 86400.0
"""Nothing is half-made for that long by a process that still runs."""
_ATTEMPTS = 20
_RECENT_S = 3600.0
HELD = 64
"""Files and folders that a process keeps locked at most: those that it used last."""

Put = Callable[[Path, Path], object]
"""Brings a file to another place."""
_DIGEST = re.compile("[0-9a-f]{64}")
_held: OrderedDict[Path, int] = OrderedDict()


def keep(folder: Path, made: Path, digest: str, put: Put = shutil.copyfile, mark: str = "") -> None:
    """Put an engine, an ONNX file with its weight files, or a folder in its place under `folder` unless it is there.

    `folder` is the one of `--artefacts`; a `mark` is left beside it, and it is in use from here on. Raises OSError when
    the disk does not take it.
    """
    place = _place(folder, digest)
    for _ in range(_ATTEMPTS):
        if use(place) is not None:
            break
        _put(made, place, put, mark)  # again where somebody has removed it since
    else:
        raise OSError(errno.EBUSY, "cannot be opened, or is removed as often as it is put there", str(place))
    if mark:
        (place / f".{mark}").touch()


def _put(made: Path, place: Path, put: Put, mark: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as half:
        whole = Path(half) / place.name
        whole.mkdir()
        _fill(made, whole, put)
        if mark:
            (whole / f".{mark}").touch()
        try:
            os.rename(whole, place)  # noqa: PTH104 - atomic, and fails where another process was first
        except OSError:
            if not place.exists():
                raise


def _fill(made: Path, whole: Path, put: Put) -> None:
    from harness.sources.inspect import external_files  # brings onnx, which the parent does not load

    if made.is_dir():
        shutil.copytree(
            made, whole, copy_function=lambda a, b: put(Path(a), Path(b)), dirs_exist_ok=True, ignore=_hidden
        )
        return
    engine = made.suffix != ".onnx"
    put(made, whole / (ENGINE_NAME if engine else ONNX_NAME))
    for beside in () if engine else external_files(made):
        target = whole / beside.relative_to(made.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        put(beside, target)


def link(made: Path, target: Path) -> bool:
    """A second name for a file that nobody writes to any more; a copy (False) where the file system has no such.

    What has that name already is replaced, never written to: it may be a second name as well.
    """
    if target.exists() and target.samefile(made):
        return True
    target.unlink(missing_ok=True)
    try:
        os.link(made, target)
    except OSError:
        shutil.copyfile(made, target)
        return False
    return True


def has(folder: Path, digest: str) -> bool:
    """Whether something is kept under the digest; only `find` looks whether it is still what it was."""
    return bool(_DIGEST.fullmatch(digest)) and _place(folder, digest).is_dir()


def find(folder: Path, digest: str) -> Path:
    """The kept file or folder; InputError when it was never kept here, or is not what it was and then removed."""
    place = _place(folder, digest)
    found = held(folder, digest)
    if found is None:
        raise InputError(f"{place}: the accepted artefact is not here: it cannot be timed again")
    return found


def held(folder: Path, digest: str) -> Path | None:
    """As `find`, and None when it was never kept here or was removed to save space."""
    place = _place(folder, digest)
    inode = use(place)
    if inode is None:
        return None
    main = _main(place)
    with suppress(InputError, OSError):  # a file is gone
        if digest_of(main) == digest:
            return main
    _discard(place, inode)
    raise InputError(f"{place}: is not what was kept here (a changed or missing byte): it was removed")


def take(folder: Path, digest: str, target: Path) -> Path:
    """As `find`, but of a copy in a folder of the caller's, where removal does not matter.

    What is taken is not to be written to.
    """
    find(folder, digest)  # locked from here on
    copied = False

    def put(kept: str, mine: str) -> None:
        nonlocal copied
        copied |= not link(Path(kept), Path(mine))

    shutil.copytree(_place(folder, digest), target, copy_function=put, dirs_exist_ok=True, ignore=_hidden)
    if copied and digest_of(_main(target)) != digest:
        raise InputError(f"{_place(folder, digest)}: changed while it was read: run again")
    return _main(target)


def use(path: Path) -> int | None:
    """Lock a file or folder against `clean` for as long as it is among the last that were used; gives its inode.

    None where there is none.
    """
    inode = _hold(path)
    with suppress(OSError):
        if inode is not None and path.stat().st_mtime < time() - _RECENT_S:  # not more often: it marks a change as well
            os.utime(path)
    return inode


def digest_of(made: Path) -> str:
    """SHA-256 in hexadecimal by which something is kept; InputError where a file cannot be read."""
    from harness.sources.digest import file_digest, folder_digest, model_digest

    if made.is_dir():
        return folder_digest(made)
    return model_digest(made) if made.suffix == ".onnx" else file_digest(made)


def is_marked(folder: Path, digest: str, name: str) -> bool:
    """Whether the mark is there."""
    return (_place(folder, digest) / f".{name}").exists()


def clean(folder: Path, named: Collection[str], now: float, most_bytes: float = float("inf")) -> list[str]:
    """Remove what is not among `named` and was not used for `UNUSED_S`, and the least recently used beyond a size.

    What was left half-made goes as well. `now` is in seconds since the epoch. What a process has found and not closed
    stays, and so does what cannot be removed. Gives the digests, or the names of downloads.
    """
    found: list[str] = []
    entries = sorted(_entries(folder), key=lambda one: one.used)
    size = sum(one.size for one in entries)
    for one in entries:
        half_made = one.path.name.startswith(".")
        old = one.used < now - (STALE_S if half_made else UNUSED_S)
        if one.digest in named or not (old or (size > most_bytes and not half_made)):
            continue
        if _removed(one.path, one.used, now):
            size -= one.size
            found += [] if half_made else [one.digest]
    return found


@dataclass(frozen=True)
class _Entry:
    path: Path
    digest: str
    used: float
    size: int


def _entries(folder: Path) -> Iterator[_Entry]:
    for path in (*(folder / FOLDER).glob("*"), *(folder / DOWNLOADS).glob("*")):
        with suppress(OSError):  # somebody else removed it
            files = path.rglob("*") if path.is_dir() else [path]
            yield _Entry(path, path.name.split(".")[0] or path.name, path.stat().st_mtime, sum(map(_size, files)))


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0


def _removed(path: Path, used: float, now: float) -> bool:
    """Remove an entry, whole or not at all, unless somebody uses it or has used it in this very moment."""
    gone = path.parent / f".gone-{os.getpid()}-{path.name.lstrip('.')}"
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not _alone(handle) and used > now - STALE_S:
            return False
        if path.stat().st_mtime != used:
            return False
        path.rename(gone)
    except OSError:
        return False
    finally:
        os.close(handle)
    _delete(gone)
    return True


def _alone(handle: int) -> bool:
    """Whether nobody else has it locked; OSError where somebody has, False on a file system without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _hold(place: Path) -> int | None:
    """Lock it for as long as it is among the last that were used; its inode, or None where there is none."""
    try:
        handle = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_SH)
    inode = os.fstat(handle).st_ino
    try:
        still = place.stat().st_ino == inode
    except OSError:
        still = False
    if not still:  # it was removed before it was locked
        os.close(handle)
        return None
    _let_go(place)
    _held[place] = handle
    while len(_held) > HELD:
        os.close(_held.popitem(last=False)[1])
    return inode


def _let_go(place: Path) -> None:
    handle = _held.pop(place, None)
    if handle is not None:
        os.close(handle)


def _discard(place: Path, inode: int) -> None:
    """Remove a damaged folder, unless another process has replaced it by now."""
    _let_go(place)
    gone = place.with_name(f".gone-{os.getpid()}-{place.name}")
    with suppress(OSError):
        place.rename(gone)
        if gone.stat().st_ino != inode:
            gone.rename(place)
            return
    shutil.rmtree(gone, ignore_errors=True)


def _hidden(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".")]


def _main(place: Path) -> Path:
    """What is handed out of a folder: the engine, the model, or the folder itself."""
    for name in (ENGINE_NAME, ONNX_NAME):
        if (place / name).exists():
            return place / name
    return place


def _place(folder: Path, digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):  # it may come from a file of others, and is going to be a path
        raise InputError(f"'{digest:.80}' is no SHA-256 in hexadecimal: nothing is kept under it")
    return folder / FOLDER / digest
