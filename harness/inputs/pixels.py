"""Pixels: what images and frames of video have in common once they are decoded, as Pillow defines each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.inputs.dtypes import Array

MAX_PIXELS = 100_000_000
"""Of one picture as its header claims: more is refused before it is decoded."""


def item_bytes(settings: Mapping[str, Any]) -> int:
    """What one value of the prepared array takes."""
    return 1 if settings["dtype"] == "uint8" else 4


def rgb(image: Any) -> Any:
    """The picture in RGB: grey is repeated, transparent pixels are laid on black."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")


def fitted(image: Any, settings: Mapping[str, Any]) -> Any:
    """The picture in its final size: stretched to it, or its middle after the shorter side was brought to `resize`."""
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


def normalised(pixels: Array, settings: Mapping[str, Any]) -> Array:
    """Bytes [rows, height, width, 3] as the model takes them."""
    if settings["channels"] == "bgr":
        pixels = pixels[..., ::-1]
    if settings["dtype"] == "float32":
        values = pixels.astype(np.float32) / np.float32(settings["scale"])
        pixels = (values - np.array(settings["mean"], np.float32)) / np.array(settings["std"], np.float32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if settings["layout"] == "nchw" else pixels)
