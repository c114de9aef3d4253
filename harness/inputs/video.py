"""Video: frames of files, decoded by PyAV, then brought to one size and normalised as images are.

What happens to every frame: it is decoded (`harness.inputs.clips`), converted to RGB by FFmpeg's exact arithmetic, the
same on every processor, with the matrix and range that the file names (BT.601 and limited where it names none), turned
as the file says, and from there on it is an image (`harness.inputs.pixels`). Pixels that are not square stay as they
are, and the two fields of an interlaced frame stay one picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.inputs.clips import Frame, frames
from harness.inputs.dtypes import Array
from harness.inputs.pixels import fitted, item_bytes, normalised, rgb
from harness.inputs.prepared import Made, each
from harness.inputs.room import check_room
from harness.inputs.samples import Sample

TURNS = {0: None, 90: "ROTATE_90", -90: "ROTATE_270", 180: "ROTATE_180", -180: "ROTATE_180"}
"""Degrees counter-clockwise to what Pillow calls them."""


def make(found: Sequence[Sample], settings: Mapping[str, Any]) -> Made:
    """One array `frames`, as `image` of images: every frame, or each `every`th one, file by file."""
    clips = each(found, partial(_taken, settings=settings))
    named = list(zip(found, clips, strict=True))
    height, width = settings["size"]
    check_room("frames", (sum(len(clip) for clip, _ in clips), 3, height, width), item_bytes(settings))
    rows = [f"{one.name}:{number}" for one, (_, count) in named for number in range(0, count, settings["every"])]
    every = [f"{one.name}:{number}" for one, (_, count) in named for number in range(count)]
    pixels = np.concatenate([np.stack(clip) for clip, _ in clips])
    return Made({"frames": normalised(pixels, settings)}, names=rows, others=set(every) - set(rows))


def _taken(file: Path, settings: Mapping[str, Any]) -> tuple[list[Array], int]:
    """Bytes [height, width, 3] of the frames that are taken, and how many frames there are."""
    height, width = settings["size"]
    convert, taken, count = Pictures(settings), list[Array](), 0
    for frame in frames(file):
        if frame.number % settings["every"] == 0:
            check_room("frames", (len(taken) + 1, 3, height, width), item_bytes(settings))
            taken.append(convert.bytes_of(frame))
        count = frame.number + 1
    return taken, count


class Pictures:
    """Makes arrays of decoded frames; keeps FFmpeg's tables, so it is for one thread."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        exact = Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # as FFmpeg's own tests on all machines
        self._settings, self._reformatter = settings, VideoReformatter()
        self._how = {"interpolation": Interpolation.BILINEAR | exact, "threads": 1}

    def batch(self, taken: Sequence[Frame]) -> Array:
        """What the model takes of these frames."""
        return normalised(np.stack([self.bytes_of(frame) for frame in taken]), self._settings)

    def bytes_of(self, frame: Frame) -> Array:
        """Bytes [height, width, 3] in the size of the settings; InputError where the frame cannot be used."""
        return np.asarray(fitted(rgb(self._turned(frame)), self._settings))

    def _turned(self, frame: Frame) -> Any:
        from PIL import Image

        turn = TURNS.get(frame.picture.rotation, "")
        if turn == "":
            raise InputError(f"frame {frame.number} is to be turned by {frame.picture.rotation} degrees: turn it")
        image = self._image(frame)
        return image if turn is None else image.transpose(Image.Transpose[turn])

    def _image(self, frame: Frame) -> Any:
        from PIL import Image

        kind = frame.picture.format
        if any(part.bits > 8 for part in kind.components):
            raise InputError(f"frame {frame.number} has pixels of {kind.name}, of more than 8 bits: convert it to 8")
        wanted = "rgba" if kind.has_palette or any(part.is_alpha for part in kind.components) else "rgb24"
        plain = self._reformatter.reformat(frame.picture, format=wanted, **self._how)
        return Image.fromarray(plain.to_ndarray(), "RGBA" if wanted == "rgba" else "RGB")
