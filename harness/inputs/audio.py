"""Speech: samples of WAV and FLAC files, or log-mel features of them, padded to the longest of all clips.

What happens to every clip, in this order: it is decoded to samples in -1..1 (`harness.inputs.wave`), brought to `rate`
where a `resampler` is named, made into log-mel features (`harness.inputs.logmel`) unless `mels` is left out, and
normalised. Behind its end stand zeros, or ln(floor), the feature of silence, where nothing was normalised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.inputs.dtypes import Array
from harness.inputs.logmel import LogMel, declared, log_mel, normalised
from harness.inputs.prepared import Made, each
from harness.inputs.room import check_room
from harness.inputs.samples import Sample
from harness.inputs.wave import read_wave


def make(found: Sequence[Sample], settings: Mapping[str, Any]) -> Made:
    """`features` [clips, mels, frames] (`time_axis: first`: [clips, frames, mels]; without `mels`: [clips, samples]).

    And `lengths` int64 [clips]: the frames (samples) that are not padding.
    """
    how = declared(settings)
    rows = each(found, partial(_row, settings=settings, how=how))
    lengths = np.array([row.shape[-1] for row in rows], np.int64)
    shape = (len(rows), *rows[0].shape[:-1], int(lengths.max()))
    check_room("audio", shape, 4)
    silence = math.log(how.floor) if how is not None and how.normalise == "none" else 0.0
    padded = np.full(shape, silence, np.float32)
    for place, row in zip(padded, rows, strict=True):
        place[..., : row.shape[-1]] = row
    if how is not None and settings["time_axis"] == "first":
        padded = np.ascontiguousarray(padded.transpose(0, 2, 1))
    return Made({"features": padded, "lengths": lengths})


def _row(file: Path, settings: Mapping[str, Any], how: LogMel | None) -> Array:
    samples = read_wave(file, settings["rate"], resample=settings["resampler"] is not None)
    if how is not None:
        return log_mel(samples, how)
    return (normalised(samples) if settings["normalise"] == "utterance" else samples).astype(np.float32)
