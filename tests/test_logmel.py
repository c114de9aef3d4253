"""Log-mel features are what their formula says, and what an independent implementation makes of the same samples."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

from harness.errors import InputError
from harness.inputs.logmel import LogMel, log_mel, mel_filters

SECONDS = np.arange(1600) / 8000
SWEEP = 0.5 * np.sin(2 * np.pi * (300 * SECONDS + 8000 * SECONDS**2)) + 0.01 * np.cos(2 * np.pi * 3100 * SECONDS)
PLAIN = LogMel(8000, 40, fmin=60.0, fmax=3800.0, normalise="none")

# librosa 0.11.0: ln(max(melspectrogram(n_fft=256, win_length=200, hop_length=80, center=False, n_mels=40, fmin=60,
# fmax=3800), 1e-10)) in float64, of the sweep with 28 zeros on either side (it lays the window in the middle of the
# transform), with htk=True, norm=None and with the defaults; every 13th mel of every 6th frame.
LIBROSA = {
    "htk": [
        [-6.686384, -18.427514, -22.247982],
        [1.770234, -12.259973, -18.139899],
        [-15.63691, -0.772779, -10.543627],
        [-17.443647, -18.146318, -14.366019],
    ],
    "slaney": [
        [-9.586459, -21.38013, -23.025851],
        [-7.610257, -14.952326, -21.904044],
        [-20.15373, -4.799916, -15.520368],
        [-22.198726, -22.780408, -19.358019],
    ],
}


@pytest.mark.parametrize("scale", LIBROSA)
def test_features_are_those_of_librosa(scale):
    features = log_mel(SWEEP, LogMel(8000, 40, fmin=60.0, fmax=3800.0, mel_scale=scale, normalise="none"))

    assert features.shape == (40, 18)
    np.testing.assert_allclose(features[::13, ::6], LIBROSA[scale], atol=2e-5)


def by_definition(samples, how, frame, mel):
    """One feature, term by term as the formulas are printed."""
    cut = samples[frame * how.hop : frame * how.hop + how.window]
    shaped = [x * math.sin(math.pi * n / how.window) ** 2 for n, x in enumerate(cut)]
    ends = [1127.01048 * math.log(1 + hz / 700) for hz in (how.fmin, how.fmax)]
    step = (ends[1] - ends[0]) / (how.mels + 1)
    low, middle, high = (700 * (math.exp((ends[0] + (mel + i) * step) / 1127.01048) - 1) for i in range(3))
    total = 0.0
    for k in range(how.points // 2 + 1):
        hz = k * how.rate / how.points
        weight = (hz - low) / (middle - low) if hz < middle else (high - hz) / (high - middle)
        if weight > 0:
            turn = cmath.exp(-2j * math.pi * k / how.points)
            total += weight * abs(sum(x * turn**n for n, x in enumerate(shaped))) ** 2
    return math.log(max(total, how.floor))


@pytest.mark.parametrize(("frame", "mel"), [(0, 0), (3, 20), (17, 39)])
def test_features_are_those_of_the_definition(frame, mel):
    assert log_mel(SWEEP, PLAIN)[mel, frame] == pytest.approx(by_definition(SWEEP, PLAIN, frame, mel), abs=1e-4)


def test_long_clips_are_transformed_in_blocks_that_do_not_show(monkeypatch):
    whole = log_mel(SWEEP, PLAIN)
    monkeypatch.setattr("harness.inputs.logmel.BLOCK_FRAMES", 5)

    np.testing.assert_array_equal(log_mel(SWEEP, PLAIN), whole)


def test_normalised_mels_have_mean_0_and_deviation_1():
    features = log_mel(SWEEP, LogMel(8000, 40, fmin=60.0))

    np.testing.assert_allclose(features.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(features.std(axis=1), 1, atol=1e-3)


def test_silence_is_the_floor():
    assert np.unique(log_mel(np.zeros(400), PLAIN)).tolist() == [np.float32(math.log(1e-10))]


@pytest.mark.parametrize(("samples", "frames"), [(200, 1), (279, 1), (280, 2), (1600, 18)])
def test_frames_are_the_windows_that_the_samples_fill(samples, frames):
    assert log_mel(SWEEP[:samples], PLAIN).shape == (40, frames)


def test_less_than_a_window_is_an_error():
    with pytest.raises(InputError, match="199 samples are fewer than one window of 200"):
        log_mel(SWEEP[:199], PLAIN)


def test_a_filter_that_hears_nothing_is_an_error():
    with pytest.raises(InputError, match="between two of the 129 frequencies of a transform of 256 points"):
        mel_filters(LogMel(8000, 120))


def test_the_transform_is_the_next_power_of_two_that_holds_the_window():
    assert [LogMel(rate, 40).points for rate in (8000, 10240, 16000)] == [256, 256, 512]
