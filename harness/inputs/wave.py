"""Samples of WAV and FLAC files, as soundfile (libsndfile) decodes them.

What a header claims is checked against the file, or read up to a limit, before memory is taken for it.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from harness.errors import InputError
from harness.inputs.logmel import Samples
from harness.inputs.room import check_room

SUBTYPES = frozenset({"PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"})
"""Ways to store samples that are read; the others lose more than they are worth, or are no speech."""
RATES = (1_000, 384_000)
"""The lowest and the highest rate that a file may say it has, in samples a second."""
MAX_SAMPLES = 100_000_000
"""Of one file: 100 minutes at 16 kHz."""
BLOCK_SAMPLES = 1 << 20


def read_wave(file: Path, rate: int, *, resample: bool) -> Samples:
    """The samples of one channel, in -1..1 at `rate`; InputError says what is wrong with the file.

    Another rate is an error unless `resample`, which is soxr's "HQ" (20 bits) then.
    """
    samples, found = _decoded(file)
    if found == rate:
        return samples
    if not resample:
        raise InputError(f"has {found} samples a second, not {rate}: set `resampler: soxr`, or the `rate` of the model")
    import soxr

    check_room("resampled", (math.ceil(len(samples) * rate / found),), 8)
    return np.asarray(soxr.resample(samples, found, rate, quality="HQ"), np.float64)


def _decoded(file: Path) -> tuple[Samples, int]:
    import soundfile

    try:
        with file.open("rb") as stream:
            _check_container(stream, file.stat().st_size)
        with soundfile.SoundFile(file) as sound:
            _check_header(sound)
            samples = _samples(sound)
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # soundfile's own are RuntimeErrors
        raise InputError(f"cannot be decoded: {str(error).replace(str(file), 'the file')}") from None
    if not len(samples):
        raise InputError("holds no samples")
    if odd := np.flatnonzero(~np.isfinite(samples)).tolist():
        raise InputError(f"{len(odd)} samples are NaN or infinite, the first is sample {odd[0]}")
    return samples, int(sound.samplerate)


def _check_container(stream: BinaryIO, size: int) -> None:
    """InputError unless it begins as WAV or FLAC and, for WAV, every chunk is as long as it says."""
    start = stream.read(12)
    if start[:4] == b"fLaC":
        _check_count(start + stream.read(26 - 12))
        return
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise InputError("is neither a WAV nor a FLAC file")
    place, name = 12, b""
    while name != b"data" and len(head := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        place += 8
        if length > size - place:
            shown = name.decode("ascii", "replace")
            raise InputError(
                f"is cut, or its header is wrong: chunk '{shown}' claims {length} bytes and {size - place} are there"
            )
        place += length + length % 2
        stream.seek(place)


def _check_count(start: bytes) -> None:
    """InputError where STREAMINFO (RFC 9639, section 8.2), the first block, leaves the number of samples open."""
    if len(start) == 26 and not int.from_bytes(start[21:26]) & (1 << 36) - 1:
        raise InputError(
            "does not say how many samples it has, as FLAC that was streamed: nobody could tell that it is cut. "
            "Write it to a file anew, such as by `ffmpeg -i streamed.flac whole.flac`"
        )


def _check_header(sound: Any) -> None:
    if sound.subtype not in SUBTYPES:
        raise InputError(f"stores its samples as {sound.subtype}, which is not read; store them as PCM_16")
    if sound.channels != 1:
        raise InputError(f"has {sound.channels} channels: make one of them, for how they are mixed changes accuracy")
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise InputError(f"says it has {sound.samplerate} samples a second: {RATES[0]} to {RATES[1]} are read")


def _samples(sound: Any) -> Samples:
    """All samples, read block by block: never more than MAX_SAMPLES, whatever the header says."""
    blocks: list[Samples] = []
    count = 0
    while len(block := sound.read(BLOCK_SAMPLES, dtype="float64")):
        blocks.append(block)
        count += len(block)
        if count > MAX_SAMPLES:
            raise InputError(f"has more than {MAX_SAMPLES:,} samples; cut it")
    if count < sound.frames:
        raise InputError(f"is cut, or its header is wrong: {sound.frames} samples are declared and {count} are there")
    return np.concatenate(blocks) if blocks else np.zeros(0)
