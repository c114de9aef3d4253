"""What was made once and need not be made again: found by everything that decides on it, and signed by this user.

A record (`<cache>/index/<kind>/<name>.json`) leads from a key to the digest of what was made, which is kept by
`harness.artefacts`. Record and engine are authenticated with a key of this user's (HMAC-SHA-256, RFC 2104): another
user's cache, or one that came with a download, is never read.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import time
from typing import Any

from harness import artefacts
from harness.codec import encode, parsed
from harness.errors import InputError

KEY_FILE = "TRT_HARNESS_CACHE_KEY"
"""The environment variable that names the key file, where it is not in the user's state folder."""
SAID = "cache: "
"""How a warning begins."""
_INDEX = "index"
_KEY_BYTES = 32
_FRESH_S = 3600.0
"""A record without its artefact is left alone for that long: somebody may be about to put it there."""


@dataclass(frozen=True)
class Kept:
    """Something found: the file or folder, the digest of its content, and what was noted when it was made."""

    path: Path
    digest: str
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Cache:
    """The kept things of one folder; `since` (seconds since the epoch) ignores what was made before."""

    folder: Path
    since: float | None = None
    said: list[str] = field(default_factory=list)
    """Warnings that nobody has told yet."""

    def find(self, kind: str, key: Mapping[str, Any]) -> Kept | None:
        """What was kept under a key, verified; None for a miss, also where anything about it was changed.

        `kind` is what it is ("engines"); the key names everything that decides on its content.
        """
        record = self._record(kind, key)
        try:
            told = self._read(record, kind, key)
            if told is None or (self.since is not None and told["made"] < self.since):
                return None
            path = artefacts.held(self.folder, told["digest"])
        except (InputError, ValueError) as error:
            self.say(f"{error}; it is made again")
            with suppress(OSError):
                record.unlink()
            return None
        if path is None:  # it was removed to save space
            return None
        return Kept(path, told["digest"], told["about"])

    def keep(
        self, kind: str, key: Mapping[str, Any], made: Path, about: Mapping[str, Any], *, replace: bool = False
    ) -> Kept:
        """Keep a file or folder that nobody writes to any more; where another process was first, its is what is kept.

        `about` are JSON values to be found again; `replace` what was kept before. Raises OSError when the disk does
        not take it.
        """
        digest = artefacts.digest_of(made)
        record = self._record(kind, key)
        record.parent.mkdir(parents=True, exist_ok=True)
        data = {"kind": kind, "key": encode(key), "digest": digest, "about": encode(about), "made": time()}
        for first in (not replace and self.since is None, False):
            self.keep_artefact(made, digest, artefacts.link)
            self._write(record, data, only_first=first)
            if found := self.find(kind, key):
                return found
        raise OSError(errno.EIO, "what was written is not what can be read", str(record))

    def keep_artefact(self, made: Path, digest: str, put: artefacts.Put = shutil.copyfile) -> None:
        """Keep something by its digest alone, as this user's; raises OSError when the disk does not take it."""
        engine = made.is_file() and made.suffix != ".onnx"
        artefacts.keep(self.folder, made, digest, put, self._signature(digest) if engine else "")

    def artefact(self, digest: str, *, reviewed: bool = False) -> Path:
        """What is kept under a digest; `reviewed`: the digest stands in an accepted baseline.

        Raises InputError where it is not here, or an engine that neither this user's cache wrote nor anybody reviewed:
        such a file would run code of whoever wrote it.
        """
        found = artefacts.find(self.folder, digest)
        if found.name == artefacts.ENGINE_NAME and not (reviewed or self.vouches(digest)):
            raise InputError(
                f"{found}: this engine was not built by this user's harness and stands in no accepted baseline: "
                "it is not loaded; build it here"
            )
        return found

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A folder to make something in that is to be kept; what a killed process leaves there `clean` removes."""
        place = self.folder / artefacts.FOLDER
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".") as name:
            yield Path(name)

    def vouches(self, digest: str) -> bool:
        """Whether this user's cache wrote what is kept under a digest."""
        return artefacts.is_marked(self.folder, digest, self._signature(digest))

    @property
    def mark(self) -> str:
        """Tells whether two processes have the same key, and nothing else of it."""
        return self._mac("mark")

    def say(self, warning: str) -> None:
        """Warn; told with the next outcome."""
        self.said.append(SAID + warning)

    def told(self) -> tuple[str, ...]:
        """The warnings since it was last asked."""
        found = tuple(self.said)
        self.said.clear()
        return found

    def _record(self, kind: str, key: Mapping[str, Any]) -> Path:
        # Named by the user's key as well: users who share a folder do not overwrite each other's.
        return self.folder / _INDEX / kind / f"{self._mac(['name', kind, encode(key)])[:40]}.json"

    def _read(self, record: Path, kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record; None where there is none, ValueError where it is not what was written."""
        try:
            text = record.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{record}: cannot be read") from None
        with suppress(ValueError, KeyError, TypeError):
            told = parsed(text)
            data: dict[str, Any] = told["data"]
            same = (data["kind"], data["key"]) == (kind, encode(key))
            if same and hmac.compare_digest(told["mac"], self._mac(["record", data])):
                return data
        raise ValueError(f"{record}: is not what was written here (a changed byte)")

    def _write(self, record: Path, data: Mapping[str, Any], *, only_first: bool) -> None:
        text = json.dumps({"mac": self._mac(["record", data]), "data": data}, sort_keys=True)
        handle, name = tempfile.mkstemp(dir=record.parent, prefix=".")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            _place(Path(name), record, only_first=only_first)
        finally:
            Path(name).unlink(missing_ok=True)

    def _signature(self, digest: str) -> str:
        return f"signed-{self._mac(['artefact', digest])[:40]}"

    def _mac(self, value: Any) -> str:
        secret, why = _secret(key_file())
        if why:
            _once(self, why)
        content = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hmac.new(secret, content.encode(), hashlib.sha256).hexdigest()


def _place(made: Path, target: Path, *, only_first: bool) -> None:
    """Put a finished file where it is looked for; with `only_first` what stands there stays."""
    if only_first:
        try:
            os.link(made, target)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            only_first = False
    if not only_first:
        made.replace(target)


_complained: set[str] = set()


def _once(cache: Cache, why: str) -> None:
    if why not in _complained:
        _complained.add(why)
        cache.say(why)


def key_file() -> Path | None:
    """Where this user's key is; None where nobody knows."""
    if named := os.environ.get(KEY_FILE):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(state) if state else Path.home() / ".local" / "state") / "trt-harness" / "cache.key"
    except RuntimeError:  # a user without a home
        return None


@lru_cache(maxsize=8)
def _secret(file: Path | None) -> tuple[bytes, str]:
    """The key, made when there is none yet; one for this process alone, and why, where it cannot be kept."""
    try:
        if file is None:
            raise OSError(None, f"there is no home folder: name a file with {KEY_FILE}")
        if not file.exists():
            _make(file)
        status = file.stat()
        key = file.read_bytes()
    except OSError as error:
        return secrets.token_bytes(_KEY_BYTES), f"{file}: {error.strerror}: nothing kept now will be found again"
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or len(key) != _KEY_BYTES:
        why = f"{file}: is not a key that only this user can read: remove it, or chmod 600; nothing kept is found"
        return secrets.token_bytes(_KEY_BYTES), why
    return key, ""


def _make(file: Path) -> None:
    """Write a key that only this user can read; of two processes the first one's counts."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(_KEY_BYTES))
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink(missing_ok=True)


def clean(folder: Path, now: float) -> None:
    """Remove records whose artefact is gone, and half-written ones; `now` is in seconds since the epoch."""
    for record in (folder / _INDEX).glob("*/*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if record.stat().st_mtime > now - _FRESH_S:
                continue
            half = record.name.startswith(".")
            if half or not artefacts.has(folder, json.loads(record.read_text("utf-8"))["data"]["digest"]):
                record.unlink()
