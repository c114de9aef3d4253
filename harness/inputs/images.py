"""Images: decoded, brought to one size and normalised by Pillow.

What happens to every image, in this order, each step as Pillow defines it:

1. the first frame is decoded; the orientation in its EXIF data is applied, so that rows are what a viewer shows;
2. it becomes RGB: a palette is looked up, grey is repeated, transparent pixels are laid on black, CMYK is converted
   without a colour profile. 16-bit images are refused, since Pillow would cut their values;
3. it is resized with an antialiased filter of 8-bit arithmetic (`resample`) and cropped;
4. its 8-bit values are divided by `scale`, then `mean` is taken off and `std` divided by, channel by channel in the
   order of `channels`, in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.inputs.dtypes import Array
from harness.inputs.pixels import MAX_PIXELS, fitted, item_bytes, normalised, rgb
from harness.inputs.prepared import Made, each
from harness.inputs.room import check_room
from harness.inputs.samples import Sample

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
"""No other decoder of Pillow's is ever started."""
DEEP = ("I", "F")
"""How the names of Pillow's modes begin whose values have more than 8 bits."""


def make(found: Sequence[Sample], settings: Mapping[str, Any]) -> Made:
    """One array `image`: [rows, 3, height, width], or [rows, height, width, 3] with `layout: nhwc`."""
    height, width = settings["size"]
    check_room("images", (len(found), 3, height, width), item_bytes(settings))
    pixels = np.stack(each(found, partial(_decoded, settings=settings)))
    return Made({"image": normalised(pixels, settings)})


def _decoded(file: Path, settings: Mapping[str, Any]) -> Array:
    """The image [height, width, 3] of bytes."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as damaged EXIF data, which then count as none
        try:
            with Image.open(file, formats=FORMATS) as image:
                _check(image)
                return np.asarray(fitted(rgb(ImageOps.exif_transpose(image)), settings))
        except InputError:
            raise
        except Exception as error:  # decoders raise what they like for damaged files
            raise InputError(f"cannot be decoded: {str(error).replace(str(file), 'the file')}") from None


def _check(image: Any) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"has {image.width} x {image.height} pixels: {MAX_PIXELS:,} are the most")
    if image.mode.startswith(DEEP):
        raise InputError(f"has mode {image.mode}, of more than 8 bits a channel: convert it to 8 bits")
