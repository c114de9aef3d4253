"""SHA-256 of files, models and folders; a file is hashed again only when the file system tells that it was touched."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from harness.errors import InputError
from harness.sources.inspect import external_files


def file_digest(file: Path) -> str:
    """SHA-256 of a file in hexadecimal, as sha256sum prints it; InputError when it cannot be read."""
    try:
        status = file.stat()
        if not file.is_file():
            raise InputError(f"{file}: is not a file")
        # The time of the last change of status cannot be set back as that of the content can, so a file whose size and
        # times were restored after a change is hashed again.
        return _hash(str(file), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from None


def model_digest(model: Path) -> str:
    """SHA-256 of an ONNX file, or of it and its weight files together where it has such; InputError as above."""
    beside = external_files(model)
    if not beside:
        return file_digest(model)
    lines = [file_digest(model), *(f"{file_digest(file)} {file.relative_to(model.parent)}" for file in beside)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 of everything in a folder but its hidden files; InputError as above, and where a link leads elsewhere."""
    files = sorted(file for file in folder.rglob("*") if not file.is_dir() and not file.name.startswith("."))
    if links := [file for file in files if file.is_symlink()]:
        raise InputError(f"{links[0]}: is a link: what it leads to is not part of the folder")
    lines = ["folder", *(f"{file_digest(file)} {file.relative_to(folder)}" for file in files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _hash(path: str, *stamp: int) -> str:
    del stamp  # only part of the memo's key
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
