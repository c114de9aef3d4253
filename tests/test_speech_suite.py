"""The speech suite: from clips to a word error rate, and what a mistake before the network looks like."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.store import read_run
from pages import details
from toy import harness

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
pytest.importorskip("jiwer")

SPEECH = Path(__file__).parents[1] / "suites/speech"
QUICK = "latency: {enabled: false}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    for name in ("digits_ctc.onnx", "speech.yaml"):
        shutil.copy(SPEECH / name, tmp_path)
    for name in ("clips", "calibration"):
        shutil.copytree(SPEECH / name, tmp_path / name)
    change(tmp_path, "latency: {regression: 15%}", QUICK)
    return tmp_path


def change(folder, old, new):
    suite = folder / "speech.yaml"
    text = suite.read_text()
    assert old in text
    suite.write_text(text.replace(old, new))


def ran(folder, cases="fp32/n-8"):
    status = harness(folder, "run", "speech.yaml", "-k", f"onnxruntime-cpu/{cases}", "-o", "out")
    return status, read_run(folder / "out").records


def task(record):
    return {check.metric: check.value for check in record.checks if check.question == "task"}


def test_every_precision_hears_what_is_said(folder):
    status, records = ran(folder, "")

    assert status == 0
    assert {(record.case.precision, record.status) for record in records} == {
        *(("fp32", "new"), ("fp16", "new"), ("int8", "new"))
    }
    assert all(task(record)["wer"] <= 0.05 for record in records)
    told = str(details((folder / "out/report.html").read_text()))
    assert told.count("'task/wer'") == len(records)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fmax: 3800", "fmax: 2000"),
        ("window_ms: 25\n        hop_ms: 10", "window_ms: 25\n        hop_ms: 20"),
        ("normalise: utterance", "normalise: none"),
    ],
    ids=["filters", "hop", "normalisation"],
)
def test_features_that_the_network_does_not_know_are_told_by_the_word_error_rate(folder, old, new):
    change(folder, old, new)

    status, (record,) = ran(folder)

    assert (status, record.status) == (1, "failed")
    assert record.headline.startswith("task/wer: wer ")
    assert " > 0.05, " in record.headline
    assert "of the reference as well: look at inputs, their preparation" in record.headline
    assert all(check.ok for check in record.checks if check.name != "task/wer")  # both sides heard the same


def with_another_rate(folder, rate):
    """The same samples, of which the files say another rate."""
    for file in (folder / "clips").glob("*.flac"):
        soundfile.write(file, soundfile.read(file)[0], rate, subtype="PCM_16")


def test_clips_of_another_rate_are_an_error_that_names_them(folder):
    with_another_rate(folder, 16000)

    status, (record,) = ran(folder)

    assert (status, record.status, record.error.kind) == (1, "error", "input")
    assert "speech.yaml:" in record.error.message
    assert "inputs.features: 00.flac: has 16000 samples a second, not 8000" in record.error.message


def test_clips_whose_rate_is_wrong_are_told_by_the_word_error_rate(folder):
    with_another_rate(folder, 12000)
    change(folder, "rate: 8000", "rate: 8000\n        resampler: soxr")

    status, (record,) = ran(folder)

    assert (status, record.status) == (1, "failed")
    assert record.headline.startswith("task/wer: wer ")


def test_resampled_clips_are_heard_as_well(folder):
    import soxr

    for file in (folder / "clips").glob("*.flac"):
        samples, rate = soundfile.read(file)
        soundfile.write(file, soxr.resample(samples, rate, 16000), 16000, subtype="PCM_16")
    change(folder, "rate: 8000", "rate: 8000\n        resampler: soxr")

    status, (record,) = ran(folder)

    assert (status, record.status) == (0, "new")


SPOILED = {
    "07.wav: holds no samples": lambda file: soundfile.write(file, np.zeros(0), 8000),
    "07.wav: has 2 channels": lambda file: soundfile.write(file, np.zeros((4000, 2)), 8000),
    "07.wav: 100 samples are fewer than one window of 200": lambda file: soundfile.write(file, np.zeros(100), 8000),
    "07.wav: 4000 samples are NaN": lambda file: soundfile.write(file, np.full(4000, np.nan), 8000, subtype="FLOAT"),
}


@pytest.mark.parametrize("words", SPOILED)
def test_a_clip_that_cannot_be_used_is_a_located_error(folder, words):
    (folder / "clips/07.flac").unlink()
    SPOILED[words](folder / "clips/07.wav")
    table = folder / "clips/transcripts.csv"
    table.write_text(table.read_text().replace("07.flac", "07.wav"))

    status, (record,) = ran(folder)

    assert (status, record.status, record.error.kind) == (1, "error", "input")
    assert f"inputs.features: {words}" in record.error.message


def test_a_clip_without_a_byte_is_told_before_anything_runs(folder, capsys):
    (folder / "clips/07.flac").write_bytes(b"")

    assert harness(folder, "check", "speech.yaml") == 2
    assert "models[0].inputs.features.audio: '07.flac' is empty (0 bytes)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fmax: 3800", "fmax: 4100", "fmin 60 Hz and fmax 4100 Hz: 0 <= fmin < fmax <= 4000 Hz"),
        ("mels: 40", "mels: 40\n        fft: 128", "fft: 128 points do not hold a window of 200 samples"),
        ("hop_ms: 10", "hop_ms: 0.01", "hop_ms: 0.01 ms are less than one sample"),
        ("fmax: 3800", "fmax: 3800\n        feature: 1", "unknown key 'feature'"),
        ("max: 0.05", "min: 0.05", "'min' means nothing for wer, of which lower is better: its limits are max or"),
        ("stride: 4", "stride: 0", "stride: must be greater than or equal to 1"),
        ('tokens: ["", ', "tokens: [", "'' once, CTC's blank"),
    ],
)
def test_settings_that_do_not_fit_are_told_before_anything_runs(folder, capsys, old, new, words):
    change(folder, old, new)

    assert harness(folder, "check", "speech.yaml") == 2
    assert words in capsys.readouterr().err


def test_the_clips_are_small_and_every_one_has_a_transcript():
    for folder in ("clips", "calibration"):
        with (SPEECH / folder / "transcripts.csv").open(encoding="utf-8") as stream:
            names = [row["file"] for row in csv.DictReader(stream)]
        assert sorted(names) == sorted(file.name for file in (SPEECH / folder).glob("*.flac"))
    assert sum(file.stat().st_size for file in SPEECH.rglob("*") if file.is_file()) < 2e6
