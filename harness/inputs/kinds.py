"""What is known of each preparation without decoding anything: this is read where suites are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

LABELS = "labels"
"""The array that the table of labels becomes, and what its file is called among those beside the raw ones."""


LENGTHS = "lengths"
"""The array that says how much of each sample is no padding, of a kind that pads."""


@dataclass(frozen=True)
class Kind:
    """One way to make arrays from raw files."""

    arrays: tuple[str, ...]
    """What it makes; the first is what an input gets that names none."""
    suffixes: frozenset[str]
    """Of the files that it reads, in lower case."""
    packages: tuple[str, ...]
    """Distributions that decode."""
    extra: str
    """What installs them."""
    classes: bool = True
    """Labels are whole numbers; else they are text."""
    lines: bool = False
    """Where the source is a file, each of its lines is a sample."""
    parts: bool = False
    """A file holds several samples; which, and what they are called, shows when it is decoded."""


KINDS: Mapping[str, Kind] = {
    "audio": Kind(("features", LENGTHS), frozenset({".flac", ".wav"}), ("soundfile", "soxr"), "speech", classes=False),
    "images": Kind(
        ("image",), frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"}), ("pillow",), "images"
    ),
    "text": Kind(("ids", "mask", "types"), frozenset({".txt"}), ("tokenizers",), "text", lines=True),
    "video": Kind(
        ("frames",), frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}), ("av", "pillow"), "video", parts=True
    ),
}


def versions(kind: Kind) -> dict[str, str]:
    """Versions of the packages of a kind as they are installed here; without those that are not."""
    found = {}
    for name in kind.packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
