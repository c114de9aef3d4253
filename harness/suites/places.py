"""Paths of a suite: relative to its folder, never outside its root; model sources are found here."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from harness.allowed import OPTION, option, permits, permits_name
from harness.suites.formats import why_other
from harness.suites.globs import MAGIC, matches, split

LONGEST_NAME = 100
NAME = re.compile(r"[A-Za-z0-9._+-]+")
FACTORY = re.compile(r"(torch|tensorflow):([A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
"""The framework, a name of a module and, after a colon, of what is in it."""
PROGRAMS = {".pt2": "pt2", ".keras": "keras", ".h5": "keras", ".hdf5": "keras"}
"""Endings of files that are code, and what kind of source they are."""


@dataclass(frozen=True)
class Found:
    """One model that a source stands for; `match` is its name below a glob's, else empty."""

    kind: str
    path: str
    match: str = ""
    stored: bool = False
    """The folder brings test_data_set_* with stored outputs."""
    beside: str | None = None
    """What lies in the suite's folder under the name of a factory's module."""


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
            path.exists()  # tells of a name that is too long for the file system
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"'{text:.80}' cannot be followed: {reason}") from error
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

    def data(self, text: str) -> str:
        """The absolute path of a folder or file of raw data."""
        path = self.inside(text)
        if not path.is_dir() and not _is_file(path):
            raise ValueError(_missing(path, text).replace("no such file", "no such file or folder", 1))
        return str(path)


def id_part(value: str) -> str:
    """A part of a case id, which becomes the name of a folder; ValueError says why it cannot."""
    if len(value) > LONGEST_NAME:
        raise ValueError(f"is {len(value)} characters long: {LONGEST_NAME} are the most, it becomes a file name")
    if value and not value.strip("."):
        raise ValueError(f"'{value}' cannot be part of a case id: it would be a folder")
    if not NAME.fullmatch(value):
        raise ValueError(f"'{value}' cannot be part of a case id: use letters, digits and . _ + -")
    return value


def sources(places: Places, text: str) -> tuple[Found, ...]:
    """The models that a source names; ValueError says why there are none."""
    if "://" in text:
        return (_address(text),)
    if text.startswith(("torch:", "tensorflow:")):
        return (_factory(places, text),)
    if MAGIC.search(text):
        return _globbed(places, text)
    return (_local(places, text),)


def _address(text: str) -> Found:
    if not re.fullmatch(r"https://[^/\s]+/\S+", text):
        raise ValueError(f"'{text}' must be an https:// address: nothing else is downloaded")
    return Found("url", text)


def _factory(places: Places, text: str) -> Found:
    """A factory by its name; whether there is one shows only where its framework is."""
    named = FACTORY.fullmatch(text)
    if named is None:
        raise ValueError(f"'{text}' must be {text.partition(':')[0]}:package.module:factory")
    if not permits_name(text):
        raise ValueError(f"'{text}' is code, which runs only where the command line allows it: {OPTION} {text}")
    candidates = (places.inside(named[2]), places.inside(f"{named[2]}.py"))
    beside = next((str(path) for path in candidates if _is_file(path) or path.is_dir()), None)
    return Found(named[1], text, beside=beside)


def _program(kind: str, path: str, text: str) -> Found:
    """A model that is code: to load one runs what is in it."""
    if not permits(path):
        raise ValueError(f"'{text}' is code, which runs only where the command line allows it: {option(path)}")
    return Found(kind, path)


def _local(places: Places, text: str, match: str = "") -> Found:
    if words := why_other(text):
        raise ValueError(words)
    for ending, kind in PROGRAMS.items():
        if text.endswith(ending):
            return _program(kind, places.file(text, (ending,)), text)
    path = places.inside(text)
    if path.is_dir():
        if _is_file(path / "saved_model.pb"):
            return _program("saved-model", str(path), text)
        if not _is_file(places.inside(f"{text}/model.onnx")):
            raise ValueError(f"the folder '{text}' holds no model.onnx (nor the saved_model.pb of a SavedModel)")
        return Found("folder", str(path), match, _stores(places, path, text))
    return Found("file", places.file(text, (".onnx",)), match)


def _stores(places: Places, folder: Path, text: str) -> bool:
    """Whether a folder brings stored data; ValueError where a link in it leaves the root."""
    sets = [child for child in folder.glob("test_data_set_*") if child.is_dir()]
    for one in sets:
        places.inside(f"{text}/{one.name}")
        for file in one.glob("*.pb"):
            places.inside(f"{text}/{one.name}/{file.name}")
    return bool(sets)


def _globbed(places: Places, pattern: str) -> tuple[Found, ...]:
    fixed, rest = split(pattern)
    if ".." in rest:
        raise ValueError(f"'{pattern}' has '..' behind a wildcard, which could leave the root")
    places.inside(fixed)  # before the search, so that nothing outside the root is walked
    found = set(matches(places.folder, pattern, places.inside))
    folders = {match for match in found if _is_file(places.folder / match / "model.onnx")}
    inner = {f"{folder}/model.onnx" for folder in folders}
    files = {match for match in found - folders - inner if _is_onnx(places.folder / match)}
    if not folders and not files:
        raise ValueError(f"'{pattern}' matches no .onnx file and no folder with a model.onnx")
    return tuple(_local(places, match, name) for match, name in _names(pattern, sorted(folders | files)).items())


def _names(pattern: str, matches: Sequence[str]) -> dict[str, str]:
    """Match to name: the stem, or the path below the glob's fixed part where stems collide."""
    stems = Counter(_stem(match) for match in matches)
    prefix, _ = split(pattern)
    names = {match: _stem(match) if stems[_stem(match)] == 1 else _below(match, prefix) for match in matches}
    for match, name in names.items():
        try:
            for part in name.split("/"):
                id_part(part)
        except ValueError as error:
            raise ValueError(f"the match '{match}' cannot be part of a case id: {error}") from None
        twin = next(other for other, taken in names.items() if taken == name)
        if twin != match:
            raise ValueError(f"the matches '{twin}' and '{match}' would both be named '{name}'; rename one")
    return names


def _stem(match: str) -> str:
    return PurePosixPath(match).name.removesuffix(".onnx")


def _below(match: str, prefix: str) -> str:
    return str(PurePosixPath(match).relative_to(prefix)).removesuffix(".onnx")


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
