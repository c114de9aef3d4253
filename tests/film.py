"""Small video files, for tests of inputs and streams that are made from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


def film(
    file: Path,
    pictures: Iterable[Any],
    *,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    rate: int = 25,
    times_ms: Sequence[int] | None = None,
    turned: int = 0,
    options: dict[str, str] | None = None,
    first: int = 0,
) -> Path:
    """Encode pictures [height, width, 3] of bytes; ffv1 keeps them as they are.

    `times_ms`: when each is shown; else at `rate`, from frame `first` on.
    """
    import av

    shown = [np.asarray(picture, np.uint8) for picture in pictures]
    with av.open(str(file), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = shown[0].shape[:2] if shown else (16, 16)
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if turned:
            stream.set_display_rotation(turned)
        for number, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            elif first:
                frame.pts, frame.time_base = first + number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def noise(count: int, height: int = 24, width: int = 32) -> list[Any]:
    """Pictures that differ from each other everywhere, and do not compress."""
    return list(np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8))


def cut(file: Path, share: float = 0.6) -> Path:
    """The same file without its end."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file
