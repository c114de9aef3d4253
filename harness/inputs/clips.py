"""Clips: the frames of a video file, one after the other, as PyAV (FFmpeg) decodes them.

The first stream of moving pictures counts, all others are left alone. Frames come in the order in which they are
shown, each with the time at which it is; decoding is on one thread and stops at the first damage that the decoder
notices. Containers and codecs that are not named here are never started.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.inputs.pixels import MAX_PIXELS

CONTAINERS = ("avi", "matroska", "mov", "mp4", "webm")
CODECS = ("av1", "ffv1", "h264", "hevc", "libaom-av1", "libdav1d", "mjpeg", "mpeg2video", "mpeg4", "vp8", "vp9")
MOST_FRAMES = 1_000_000
"""Of one file: nine hours at 30 frames a second."""
ROOM = 2.0
"""By how many frames the last one may end before the file says that it does."""
FROM_ZERO = ("avi", "matroska")
"""Files of these containers say when they end, whenever their first frame is shown; others say how long they last."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame."""

    number: int
    """From 0."""
    time_s: float | None
    """When it is shown, from the first one on; None where the file does not tell."""
    lasts_s: float | None
    """Until the next one, where the file tells."""
    picture: Any
    """PyAV's own."""


def frames(file: Path) -> Iterator[Frame]:
    """Every frame of a file, decoded when it is asked for; the file is opened at once.

    InputError says what is wrong with it, at the frame where that shows.
    """
    import av

    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        container = av.open(str(file.resolve()), options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _refused(error, 0) from None
    return _guarded(container)


def _guarded(container: Any) -> Iterator[Frame]:
    import av

    count = 0
    try:
        with container:
            for frame in _shown(container):
                count += 1
                yield frame
    except InputError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _refused(error, count) from None


def _refused(error: Exception, count: int) -> InputError:
    where = f" from frame {count} on" if count else ""
    return InputError(f"cannot be decoded{where}: {getattr(error, 'strerror', None) or error}")


def _shown(container: Any) -> Iterator[Frame]:
    stream = _stream(container)
    codec = stream.codec_context
    codec.thread_count = 1
    codec.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    first_s = last = None
    latest_s, number = 0.0, 0
    for packet in container.demux(stream):
        for picture in packet.decode():
            if picture.is_corrupt or packet.is_corrupt:
                raise InputError(f"frame {number} is damaged")
            if number == MOST_FRAMES:
                raise InputError(f"has more than {MOST_FRAMES:,} frames; cut it")
            first_s = picture.time if first_s is None else first_s
            last = Frame(number, _since(first_s, picture.time), _lasts_s(picture), picture)
            latest_s, number = max(latest_s, last.time_s or 0.0), number + 1
            yield last
    if last is None:
        raise InputError("holds no frames")
    begins_s = (first_s or 0.0) if container.format.name.startswith(FROM_ZERO) else 0.0
    if last.time_s is not None:
        _check_end(_says_s(container, stream), last, begins_s, latest_s)


def _stream(container: Any) -> Any:
    from av.stream import Disposition

    moving = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not moving:
        raise InputError("holds no video stream")
    stream = moving[0]
    codec = stream.codec_context
    if codec is None or codec.name not in CODECS:
        named = codec.name if codec is not None else "an unknown codec"
        raise InputError(f"is encoded as {named}, which is not read: {', '.join(CODECS)} are")
    if codec.width * codec.height > MAX_PIXELS:
        raise InputError(f"has {codec.width} x {codec.height} pixels: {MAX_PIXELS:,} are the most")
    return stream


def _since(first_s: float | None, time_s: float | None) -> float | None:
    return None if first_s is None or time_s is None else time_s - first_s


def _lasts_s(picture: Any) -> float | None:
    return float(picture.duration * picture.time_base) if picture.duration and picture.time_base else None


def _check_end(told: float | None, last: Frame, begins_s: float, latest_s: float) -> None:
    """InputError where the frames end earlier than the file says, which is how one that was cut shows.

    `latest_s`: of all frames, since AVI, which keeps no times of its own, may tell an earlier one of the last.
    """
    each_s = latest_s / last.number if last.number else 0.0
    ends_s = begins_s + latest_s + (last.lasts_s or each_s)
    if told is not None and told - ends_s > ROOM * max(each_s, last.lasts_s or 0.0):
        raise InputError(
            f"is cut, or its header is wrong: it says that it lasts {told:.3f} s, and its {last.number + 1} frames "
            f"end at {ends_s:.3f} s"
        )


def _says_s(container: Any, stream: Any) -> float | None:
    """How long the pictures last by the header: the shorter of what stream and file say, for sound may be longer."""
    own = None if stream.duration is None else float(stream.duration * stream.time_base)
    if own is None:
        own = _tagged_s(stream.metadata.get("DURATION", ""))
    if own is None and len(container.streams) > 1:
        return None
    whole = None if container.duration is None else container.duration / 1e6
    told = [value for value in (own, whole) if value is not None]
    return min(told, default=None)


def _tagged_s(text: str) -> float | None:
    """Matroska's tag, such as 00:00:02.400000000."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = map(float, parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
