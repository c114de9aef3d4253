"""WAV and FLAC files: what is read, and what is refused with the reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from harness.errors import InputError
from harness.inputs.wave import read_wave

soundfile = pytest.importorskip("soundfile")

TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)


def written(folder, name="a.wav", samples=TONE, rate=8000, **how):
    soundfile.write(folder / name, samples, rate, **how)
    return folder / name


def damaged(folder, place, data, **how):
    file = written(folder, **how)
    content = bytearray(file.read_bytes())
    content[place : place + len(data)] = data
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_16", 4e-5),
        ("a.wav", "PCM_24", 2e-7),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "DOUBLE", 0),
        ("a.wav", "ULAW", 0.02),
        ("a.flac", "PCM_16", 4e-5),
        ("a.flac", "PCM_24", 2e-7),
    ],
)
def test_samples_are_read_in_minus_1_to_1(tmp_path, name, subtype, error):
    found = read_wave(written(tmp_path, name, subtype=subtype), 8000, resample=False)

    assert found.dtype == np.float64
    np.testing.assert_allclose(found, TONE, atol=error)


def test_another_rate_is_an_error_unless_resampling_is_allowed(tmp_path):
    file = written(tmp_path, samples=0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000), rate=16000)

    with pytest.raises(InputError, match="has 16000 samples a second, not 8000: set `resampler: soxr`"):
        read_wave(file, 8000, resample=False)
    found = read_wave(file, 8000, resample=True)
    np.testing.assert_allclose(found[200:-200], TONE[200:-200], atol=1e-3)


def without_data(folder):
    file = folder / "a.wav"
    file.write_bytes(b"RIFF" + struct.pack("<I", 4) + b"WAVE")
    return file


def as_text(folder):
    file = folder / "a.wav"
    file.write_text("file,label\n")
    return file


def cut(folder, name):
    file = written(folder, name)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


HOSTILE = {
    "no samples": (lambda at: written(at, samples=np.zeros(0)), "holds no samples"),
    "stereo": (lambda at: written(at, samples=np.zeros((9, 2))), "has 2 channels"),
    "NaN": (
        lambda at: written(at, samples=np.array([0, np.nan, 0, np.inf]), subtype="FLOAT"),
        "2 samples are NaN or infinite, the first is sample 1",
    ),
    "a compressed kind": (lambda at: written(at, subtype="MS_ADPCM"), "stores its samples as MS_ADPCM"),
    "another format": (lambda at: written(at, "b.wav", format="AIFF"), "is neither a WAV nor a FLAC file"),
    "text": (as_text, "is neither a WAV nor a FLAC file"),
    "no data": (without_data, "cannot be decoded"),
    "data as long as can be": (
        lambda at: damaged(at, 40, b"\xff" * 4),
        "chunk 'data' claims 4294967295 bytes and 8000 are there",
    ),
    "a format as long as can be": (lambda at: damaged(at, 16, b"\xff" * 4), "chunk 'fmt ' claims 4294967295 bytes"),
    "a rate of 4 GHz": (lambda at: damaged(at, 24, b"\xff\xff\xff\xef"), "samples a second|cannot be decoded"),
    "a WAV file that is cut": (lambda at: cut(at, "a.wav"), "is cut, or its header is wrong: chunk 'data'"),
    "a FLAC file that is cut": (lambda at: cut(at, "a.flac"), "is cut|cannot be decoded"),
    "a FLAC file that was streamed": (
        lambda at: damaged(at, 22, b"\0\0\0\0", name="a.flac"),
        "does not say how many samples it has, .* such as by `ffmpeg -i",
    ),
    "a FLAC file of 2^36 samples": (
        lambda at: damaged(at, 21, b"\xff\xff\xff\xff\xff", name="a.flac"),
        "is cut|cannot be decoded",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_plain_speech_is_an_error_that_says_why(tmp_path, name):
    make, words = HOSTILE[name]

    with pytest.raises(InputError, match=words):
        read_wave(make(tmp_path), 8000, resample=True)


def test_no_more_than_the_longest_clip_is_ever_read(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.inputs.wave.MAX_SAMPLES", 1000)
    monkeypatch.setattr("harness.inputs.wave.BLOCK_SAMPLES", 400)

    with pytest.raises(InputError, match="has more than 1,000 samples"):
        read_wave(written(tmp_path), 8000, resample=False)
