"""Evidence bundles: a run and what it was judged by in one zip file, with a manifest of SHA-256 sums.

Bundles come from elsewhere: they are read without unpacking anything to disk, and within bounds.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any
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


def place_of(path: str) -> str:
    """Where a file that a run was judged by stands in a bundle."""
    return "/".join([JUDGED_BY, *({"/": "_root", "..": "_up"}.get(part, part) for part in PurePosixPath(path).parts)])


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
        with ZipFile(path) as archive:
            return _checked(archive)
    except (BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
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
    if run is not None:
        problems += _judged_otherwise(run, sums)
    signatures = _content(archive, entries, SIGNATURES_FILE, LARGEST_SIGNATURES)
    return Opened(len(entries), tuple(problems), run, signatures)


def _entries(archive: ZipFile) -> dict[str, ZipInfo]:
    """The entries by name; Refused for one that would be unsafe to unpack, and for more than a bundle can be."""
    found: dict[str, ZipInfo] = {}
    for entry in archive.infolist():
        name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
        parts = name.split("/")
        if name in found or "\\" in name or ":" in name or not all(parts) or {".", ".."} & {*parts}:
            raise Refused(f"the name '{name[:80]}' is there twice, leads elsewhere, or is a folder's")
        if kind not in (0, stat.S_IFREG) or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise Refused(f"'{name[:80]}' is no plain file")
        found[name] = entry
    if len(found) > MOST_FILES or sum(entry.file_size for entry in found.values()) > LARGEST_BYTES:
        raise Refused(f"it holds more than {MOST_FILES} files or {LARGEST_BYTES >> 30} GiB")
    return found


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


def _judged_otherwise(run: bytes, sums: Mapping[str, str]) -> list[str]:
    """Files that are not those that the run says it was judged by: what signs the run vouches for these as well."""
    try:
        data = parsed(run.decode("utf-8"))
        judged_by = {str(path): digest for path, digest in (data.get("judged_by") or {}).items() if digest}
    except (ValueError, AttributeError):
        return []  # it is no run, which its signatures tell
    return [
        f"{place_of(path)}: is not what the run was judged by"
        for path, digest in sorted(judged_by.items())
        if sums.get(place_of(path)) != digest
    ]
