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
from harness.inputs.prepared import Made, each
from harness.inputs.room import check_room
from harness.inputs.samples import Sample

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
"""No other decoder of Pillow's is ever started."""
MAX_PIXELS = 100_000_000
"""Of one image as its header claims: more is refused before it is decoded."""
DEEP = ("I", "F")
"""How the names of Pillow's modes begin whose values have more than 8 bits."""


def make(found: Sequence[Sample], settings: Mapping[str, Any]) -> Made:
    """One array `image`: [rows, 3, height, width], or [rows, height, width, 3] with `layout: nhwc`."""
    height, width = settings["size"]
    check_room("images", (len(found), 3, height, width), 1 if settings["dtype"] == "uint8" else 4)
    pixels = np.stack(each(found, partial(_decoded, settings=settings)))
    return Made({"image": _normalised(pixels, settings)})


def _decoded(file: Path, settings: Mapping[str, Any]) -> Array:
    """The image [height, width, 3] of bytes."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as damaged EXIF data, which then count as none
        try:
            with Image.open(file, formats=FORMATS) as image:
                _check(image)
                return np.asarray(_fitted(_rgb(ImageOps.exif_transpose(image)), settings))
        except InputError:
            raise
        except Exception as error:  # decoders raise what they like for damaged files
            raise InputError(f"cannot be decoded: {str(error).replace(str(file), 'the file')}") from None


def _check(image: Any) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"has {image.width} x {image.height} pixels: {MAX_PIXELS:,} are the most")
    if image.mode.startswith(DEEP):
        raise InputError(f"has mode {image.mode}, of more than 8 bits a channel: convert it to 8 bits")


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")


def _fitted(image: Any, settings: Mapping[str, Any]) -> Any:
    """The image in its final size: stretched to it, or its middle after the shorter side was brought to `resize`."""
    from PIL import Image

    height, width = settings["size"]
    resample = Image.Resampling[settings["resample"].upper()]
    if settings["crop"] == "none":
        return image.resize((width, height), resample)
    short = settings.get("resize")
    factor = short / min(image.size) if short else max(width / image.width, height / image.height)
    large = [max(least, round(side * factor)) for side, least in zip(image.size, (width, height), strict=True)]
    left, top = (large[0] - width) // 2, (large[1] - height) // 2
    return image.resize(tuple(large), resample).crop((left, top, left + width, top + height))


def _normalised(pixels: Array, settings: Mapping[str, Any]) -> Array:
    if settings["channels"] == "bgr":
        pixels = pixels[..., ::-1]
    if settings["dtype"] == "float32":
        values = pixels.astype(np.float32) / np.float32(settings["scale"])
        pixels = (values - np.array(settings["mean"], np.float32)) / np.array(settings["std"], np.float32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if settings["layout"] == "nchw" else pixels)
