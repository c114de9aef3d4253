"""Evidence bundles: a run and what it was judged by in one zip file, with a manifest of SHA-256 sums.

Bundles come from elsewhere: they are read without unpacking anything to disk, and within bounds.
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from harness.codec import parsed
from harness.signatures import LARGEST_BYTES as LARGEST_SIGNATURES
from harness.signatures import SIGNATURES_FILE
from harness.store import RUN_FILE

SCHEMA = "harness.bundle/1"
MANIFEST_FILE = "MANIFEST.json"
JUDGED_BY = "judged-by"
"""The folder of suites, baselines and acknowledgements."""
MOST_FILES = 10_000
LARGEST_BYTES = 4 << 30
"""Of all files together, as they unpack."""
LARGEST_READ = 1 << 30
"""Of run.json and the manifest, which are read as a whole."""
CHUNK = 1 << 20
_HEADER, _LENGTHS_AT, _END = 30, 26, 22
"""Bytes: of what stands before a file, from where its lengths of name and extras are; of the end without a comment."""
_DAMAGE = (BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)
FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every entry: the same files make the same bundle."""


class Refused(Exception):
    """Why a file is no bundle, or holds what none may hold."""


@dataclass(frozen=True)
class Opened:
    """A bundle that was read, and which of its files are not what its manifest says."""

    files: int
    problems: tuple[str, ...]
    run: bytes | None
    signatures: bytes | None
    judged_by: int
    """How many files its run names that it was judged by."""
    unsigned: tuple[str, ...]
    """Files of which nothing but the manifest tells, which anybody can make anew."""


def place_of(path: str) -> str:
    """Where a file that a run was judged by stands in a bundle; what no name may hold there is written as %3A."""
    parts = ({"/": "_root", "..": "_up"}.get(part) or _ODD.sub(_as_hex, part) for part in PurePosixPath(path).parts)
    return "/".join([JUDGED_BY, *parts])


_ODD = re.compile(r"^_(?=root$|up$)|[%:\\\x00-\x1f\x7f\ud800-\udfff]")


def _as_hex(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def write(path: Path, files: Mapping[str, Path | bytes], about: Mapping[str, Any]) -> None:
    """Write files, by their names in the bundle, and their manifest; the same content makes the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
            sums = {name: _add(archive, name, files[name]) for name in sorted(files)}
            manifest = {"schema": SCHEMA, **about, "files": sums}
            _add(archive, MANIFEST_FILE, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _add(archive: ZipFile, name: str, content: Path | bytes) -> dict[str, Any]:
    """Pack one file; its sum and its size."""
    entry = ZipInfo(name, FIXED_TIME)
    entry.compress_type, entry.create_system, entry.external_attr = ZIP_DEFLATED, 3, (stat.S_IFREG | 0o644) << 16
    entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest, size = sha256(), 0
    with archive.open(entry, "w") as target:
        for chunk in _chunks(content):
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _chunks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def read(path: Path) -> Opened:
    """Check every file of a bundle against its manifest; Refused where that is impossible or unsafe."""
    try:
        with path.open("rb") as stream, ZipFile(stream) as archive:
            _refuse_other_bytes(archive, stream)
            return _checked(archive)
    except _DAMAGE as error:
        raise Refused(f"it is damaged: {error}") from error


def _checked(archive: ZipFile) -> Opened:
    entries = _entries(archive)
    sums = _sums(archive, entries)
    problems = [f"{name}: is not in its manifest" for name in sorted(entries.keys() - sums.keys() - {MANIFEST_FILE})]
    problems += [f"{name}: is missing" for name in sorted(sums.keys() - entries.keys())]
    for name in sorted(sums.keys() & entries.keys()):
        if _sum(archive, entries[name]) != sums[name]:
            problems.append(f"{name}: was altered after it was packed")
    run = _content(archive, entries, RUN_FILE, LARGEST_READ)
    judged_by = _judged_by(run)
    problems += _judged_otherwise(judged_by, sums)
    signatures = _content(archive, entries, SIGNATURES_FILE, LARGEST_SIGNATURES)
    covered = {RUN_FILE, SIGNATURES_FILE, MANIFEST_FILE, *judged_by}
    return Opened(
        len(entries), tuple(problems), run, signatures, len(judged_by), tuple(sorted(entries.keys() - covered))
    )


def _entries(archive: ZipFile) -> dict[str, ZipInfo]:
    """The entries by name; Refused for one that would be unsafe to unpack, and for more than a bundle can be."""
    found: dict[str, ZipInfo] = {}
    seen: set[str] = set()
    for entry in archive.infolist():
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        parts = name.split("/")
        if name.casefold() in seen or "\\" in name or ":" in name or not all(parts) or {".", ".."} & {*parts}:
            raise Refused(f"the name '{name[:80]}' is there twice, leads elsewhere, or is a folder's")
        if kind not in (0, stat.S_IFREG) or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise Refused(f"'{name[:80]}' is no plain file")
        found[name] = entry
        seen.add(name.casefold())  # they would be one file on some machines
    if len(found) > MOST_FILES or sum(entry.file_size for entry in found.values()) > LARGEST_BYTES:
        raise Refused(f"it holds more than {MOST_FILES} files or {LARGEST_BYTES >> 30} GiB")
    return found


def _refuse_other_bytes(archive: ZipFile, stream: BinaryIO) -> None:
    """Refused where bytes belong to no entry of the directory: other programs would find other files in them."""
    places, place = [], 0
    for entry in sorted(archive.infolist(), key=lambda one: one.header_offset):
        places.append(entry.header_offset == place)
        stream.seek(place + _LENGTHS_AT)
        place += _HEADER + sum(struct.unpack("<2H", stream.read(4))) + entry.compress_size
    stream.seek(-_END, os.SEEK_END)
    if not all(places) or place != archive.start_dir or stream.read(4) != b"PK\x05\x06":
        raise Refused("it holds more than its files: something stands before, between or behind them")


def _sums(archive: ZipFile, entries: Mapping[str, ZipInfo]) -> dict[str, str]:
    """The manifest's sums by name."""
    content = _content(archive, entries, MANIFEST_FILE, LARGEST_READ)
    if content is None:
        raise Refused(f"it has no {MANIFEST_FILE}")
    data = parsed(content.decode("utf-8"))
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise Refused(f"the schema of {MANIFEST_FILE} is not {SCHEMA!r}")
    try:
        return {str(name): str(one["sha256"]) for name, one in data["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{MANIFEST_FILE} lists no files: {error}") from error


def _content(archive: ZipFile, entries: Mapping[str, ZipInfo], name: str, most: int) -> bytes | None:
    """A file as a whole; None where it is not there."""
    if name not in entries:
        return None
    if entries[name].file_size > most:
        raise Refused(f"{name} is larger than {most >> 20} MiB")
    return archive.read(entries[name])


def _sum(archive: ZipFile, entry: ZipInfo) -> str:
    digest = sha256()
    with archive.open(entry) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _judged_by(run: bytes | None) -> dict[str, str]:
    """What a run says it was judged by: the place of each file in a bundle, to its SHA-256."""
    try:
        named = parsed((run or b"{}").decode("utf-8")).get("judged_by") or {}
        return {place_of(str(path)): str(digest) for path, digest in named.items() if digest}
    except (ValueError, AttributeError):
        return {}  # it is no run, which its signatures tell


def _judged_otherwise(judged_by: Mapping[str, str], sums: Mapping[str, str]) -> list[str]:
    """Files that are not those that the run was judged by: what signs the run vouches for these as well."""
    other = [name for name, digest in judged_by.items() if sums.get(name) != digest]
    other += [name for name in sums if name.startswith(f"{JUDGED_BY}/") and name not in judged_by]
    return [f"{name}: is not what the run was judged by" for name in sorted(other)]
