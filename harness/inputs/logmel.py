"""Log-mel features: what speech networks are fed with, computed in float64 so that every machine gets the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError

Samples = NDArray[np.float64]

BLOCK_FRAMES = 4096
"""Frames that are transformed at once: what an hour of speech needs beside its features stays small."""


@dataclass(frozen=True)
class LogMel:
    """How features are made of samples; the defaults are common in speech recognition."""

    rate: int
    """Samples a second."""
    mels: int
    window_ms: float = 25.0
    hop_ms: float = 10.0
    fft: int | None = None
    """Points of the transform; None: the next power of two that holds the window."""
    fmin: float = 0.0
    fmax: float | None = None
    """Hz; None: half the rate."""
    mel_scale: str = "htk"
    """"htk" (triangles of height 1) or "slaney" (triangles of area 1)."""
    floor: float = 1e-10
    """Smaller powers are taken for this one."""
    normalise: str = "utterance"
    """"utterance" or "none"."""

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return round(self.rate * self.hop_ms / 1000)

    @property
    def points(self) -> int:
        """Points of the transform."""
        return self.fft or 1 << max(0, self.window - 1).bit_length()

    @property
    def highest(self) -> float:
        """The upper edge of the last filter, Hz."""
        return self.rate / 2 if self.fmax is None else self.fmax

    def check(self) -> None:
        """InputError where the settings do not fit each other."""
        for name, length in {"window_ms": self.window, "hop_ms": self.hop}.items():
            if length < 1:
                raise InputError(f"{name}: {getattr(self, name):g} ms are less than one sample")
        if self.points < self.window:
            raise InputError(f"fft: {self.points} points do not hold a window of {self.window} samples")
        if not 0 <= self.fmin < self.highest <= self.rate / 2:
            told = f"fmin {self.fmin:g} Hz and fmax {self.highest:g} Hz"
            raise InputError(f"{told}: 0 <= fmin < fmax <= {self.rate / 2:g} Hz")
        mel_filters(self)


def declared(settings: Mapping[str, Any]) -> LogMel | None:
    """How features are made, as a suite says; None where the samples themselves are wanted."""
    given = {field.name: settings[field.name] for field in fields(LogMel) if settings.get(field.name) is not None}
    return LogMel(**given) if "mels" in given else None


def log_mel(samples: Samples, how: LogMel) -> NDArray[np.float32]:
    """Features [mels, frames] of samples in -1..1; InputError for fewer samples than one window has.

    Frame i is samples i*hop to i*hop + window, with nothing added at the ends, so there are 1 + (N - window) // hop. Of
    each the power spectrum |FFT(x * w)|^2 under a periodic Hann window w[n] = 0.5 - 0.5 cos(2 pi n / window), then
    ln(max(filters @ power, floor)); "utterance" normalises each mel over the frames. S. Davis and P. Mermelstein,
    Comparison of parametric representations for monosyllabic word recognition, IEEE Trans. ASSP 28 (1980), without its
    cosine transform.
    """
    if len(samples) < how.window:
        raise InputError(f"{len(samples)} samples are fewer than one window of {how.window}")
    filters = mel_filters(how)
    frames = np.lib.stride_tricks.sliding_window_view(samples, how.window)[:: how.hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(how.window) / how.window)
    blocks = [
        filters @ (np.abs(np.fft.rfft(frames[start : start + BLOCK_FRAMES] * hann, how.points)) ** 2).T
        for start in range(0, len(frames), BLOCK_FRAMES)
    ]
    logs = np.log(np.maximum(np.concatenate(blocks, axis=1), how.floor))
    return (normalised(logs) if how.normalise == "utterance" else logs).astype(np.float32)


def normalised(values: Samples) -> Samples:
    """Along the last axis less their mean, then over sqrt(the mean of their squares + 1e-5)."""
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5))


def mel_filters(how: LogMel) -> Samples:
    """Triangular filters [mels, points // 2 + 1], whose corners are equally far apart in mel between fmin and fmax.

    "htk": mel = 2595 log10(1 + f / 700), height 1 (S. Young et al., The HTK Book, section 5.6). "slaney": linear below
    1000 Hz at 3 / 200 mel a Hz, above 15 + 27 ln(f / 1000) / ln(6.4), area 1 (M. Slaney, Auditory Toolbox, Interval
    Research 1998-010). InputError where a filter lies between two bins of the transform, and would hear nothing.
    """
    to_mel, to_hz = (_htk, _htk_hz) if how.mel_scale == "htk" else (_slaney, _slaney_hz)
    ends = to_mel(np.array([how.fmin, how.highest]))
    corners = to_hz(np.linspace(ends[0], ends[1], how.mels + 2))
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(how.points // 2 + 1) * how.rate / how.points
    filters = np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
    if deaf := np.flatnonzero(filters.sum(axis=1) == 0).tolist():
        raise InputError(
            f"mel filters {deaf} of {how.mels} lie between two of the {len(bins)} frequencies of a transform of "
            f"{how.points} points: use fewer mels or a larger fft"
        )
    if how.mel_scale == "slaney":
        filters = filters * (2 / (high - low))
    return np.asarray(filters)


def _htk(hz: Samples) -> Samples:
    return np.asarray(2595 * np.log10(1 + hz / 700))


def _htk_hz(mel: Samples) -> Samples:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def _slaney(hz: Samples) -> Samples:
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _slaney_hz(mel: Samples) -> Samples:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
