"""Paths of a suite: relative to its folder, never outside its root; model sources are found here."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

_MAGIC = re.compile(r"[*?[]")
_MATCH_NAME = re.compile(r"[A-Za-z0-9._+/-]+")


@dataclass(frozen=True)
class Found:
    """One model that a source stands for; `match` is its name below a glob's, else empty."""

    kind: str
    path: str
    match: str = ""
    stored: bool = False
    """The folder brings test_data_set_* with stored outputs."""


@dataclass(frozen=True)
class Places:
    """Where a suite lies and the folder that its paths may not leave (both absolute, root resolved)."""

    folder: Path
    root: Path
    pythons: Mapping[str, str] = field(default_factory=dict)
    """Environment to the absolute path of its interpreter, where the command gives it."""

    def inside(self, text: str) -> Path:
        """The absolute path; ValueError when it, or what a link in it points to, leaves the root."""
        try:
            path = Path(os.path.abspath(self.folder / text))  # noqa: PTH100 - drops '..' and keeps links
            real = path.resolve()
        except (OSError, RuntimeError) as error:
            raise ValueError(f"cannot be followed: {error}") from error
        if not real.is_relative_to(self.root):
            raise ValueError(f"'{text}' leaves the root {self.root}; a wider one is given with --root")
        return path

    def file(self, text: str, suffixes: Sequence[str]) -> str:
        """The absolute path of a file that exists and ends in one of `suffixes`."""
        path = self.inside(text)
        if path.suffix not in suffixes:
            raise ValueError(f"'{text}' must end in {' or '.join(suffixes)}")
        if not _is_file(path):
            raise ValueError(_missing(path, text))
        return str(path)


def sources(places: Places, text: str) -> tuple[Found, ...]:
    """The models that a source names; ValueError says why there are none."""
    if "://" in text:
        return (_address(text),)
    if text.startswith("torch:"):
        raise ValueError("torch sources are not supported yet; export the model to ONNX")
    if _MAGIC.search(text):
        return _globbed(places, text)
    return (_local(places, text),)


def _address(text: str) -> Found:
    if not re.fullmatch(r"https://[^/\s]+/\S+", text):
        raise ValueError(f"'{text}' must be an https:// address: nothing else is downloaded")
    return Found("url", text)


def _local(places: Places, text: str, match: str = "") -> Found:
    path = places.inside(text)
    if path.is_dir():
        if not _is_file(places.inside(f"{text}/model.onnx")):
            raise ValueError(f"the folder '{text}' holds no model.onnx")
        stored = any(child.is_dir() for child in path.glob("test_data_set_*"))
        return Found("folder", str(path), match, stored)
    return Found("file", places.file(text, (".onnx",)), match)


def _globbed(places: Places, pattern: str) -> tuple[Found, ...]:
    fixed, rest = _split(pattern)
    if ".." in rest:
        raise ValueError(f"'{pattern}' has '..' behind a wildcard, which could leave the root")
    places.inside(fixed)  # before the search, so that nothing outside the root is walked
    # pathlib's glob takes hidden files and no absolute patterns, glob's is what a shell does
    matches = {match.rstrip("/") for match in glob.glob(pattern, root_dir=places.folder, recursive=True)}  # noqa: PTH207
    folders = {match for match in matches if match and _is_file(places.folder / match / "model.onnx")}
    inner = {f"{folder}/model.onnx" for folder in folders}
    files = {match for match in matches - folders - inner if _is_onnx(places.folder / match)}
    if not folders and not files:
        raise ValueError(f"'{pattern}' matches no .onnx file and no folder with a model.onnx")
    return tuple(_local(places, match, name) for match, name in _names(pattern, sorted(folders | files)).items())


def _names(pattern: str, matches: Sequence[str]) -> dict[str, str]:
    """Match to name: the stem, or the path below the glob's fixed part where stems collide."""
    stems = Counter(_stem(match) for match in matches)
    prefix, _ = _split(pattern)
    names = {match: _stem(match) if stems[_stem(match)] == 1 else _below(match, prefix) for match in matches}
    for match, name in names.items():
        if not _MATCH_NAME.fullmatch(name):
            raise ValueError(f"the match '{match}' cannot be part of a case id: use letters, digits and . _ + - /")
        twin = next(other for other, taken in names.items() if taken == name)
        if twin != match:
            raise ValueError(f"the matches '{twin}' and '{match}' would both be named '{name}'; rename one")
    return names


def _stem(match: str) -> str:
    return PurePosixPath(match).name.removesuffix(".onnx")


def _below(match: str, prefix: str) -> str:
    return str(PurePosixPath(match).relative_to(prefix)).removesuffix(".onnx")


def _split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The fixed folder that a glob starts from, and the parts from its first wildcard on."""
    parts = PurePosixPath(pattern).parts
    end = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return str(PurePosixPath(*parts[:end])), parts[end:]


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx" and _is_file(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the file system
        return False


def _missing(path: Path, text: str) -> str:
    siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, siblings, n=1, cutoff=0.75)
    return f"no such file: '{text}'" + (f", did you mean '{near[0]}'?" if near else "")
