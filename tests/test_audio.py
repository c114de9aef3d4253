"""Clips as inputs: features or samples, padded to the longest, with their lengths and what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.inputs import prepared
from harness.inputs.audio import make
from harness.inputs.feeds import feeds
from harness.inputs.logmel import LogMel, log_mel
from harness.sources.inspect import inspect
from harness.suites import load

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

CLIPS = {"a.wav": 800, "b.flac": 1600, "deep/c.wav": 400}
HOW = LogMel(8000, 20)
SUITE = """
suite: clips
models:
  - name: echo
    source: echo.onnx
    shapes: [{{n: 2}}]
    inputs:
      {entry}
    accuracy: {{task: {{metric: wer, output: y, tokens: ["", a], stride: 2, max: 0.5}}}}
"""
AUDIO = "x: {audio: clips, rate: 8000, mels: 20, labels: said.csv}"


def clip(name):
    return np.round(np.random.default_rng(CLIPS[name]).uniform(-0.5, 0.5, CLIPS[name]) * 32768) / 32768


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips/deep").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    for name in CLIPS:
        soundfile.write(tmp_path / "clips" / name, clip(name), 8000, subtype="PCM_16")
    (tmp_path / "said.csv").write_text("a.wav,one\ndeep/c.wav,three\nb.flac,two two\n")
    return tmp_path


def echo(path, shape, *, lengths=False):
    """A model that gives its input back, and takes lengths too where they are wanted."""
    taken = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    given = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    if lengths:
        taken.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, ["n"]))
        given.append(helper.make_tensor_value_info("same", TensorProto.INT64, ["n"]))
        nodes.append(helper.make_node("Identity", ["lengths"], ["same"]))
    graph = helper.make_graph(nodes, "echo", taken, given)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def fed(folder, entry=AUDIO, shape=("n", 20, "t"), *, lengths=False):
    echo(folder / "echo.onnx", shape, lengths=lengths)
    (folder / "clips.yaml").write_text(SUITE.format(entry=entry))
    (plan,) = load([folder / "clips.yaml"])
    return feeds(plan, inspect(Path(plan.source.path)), ())


def test_clips_are_padded_to_the_longest_and_bring_their_lengths_and_texts(folder):
    made = fed(folder)

    first, last = (batch["x"] for batch in made.batches)
    assert (first.shape, last.shape) == ((2, 20, 18), (1, 20, 18))
    np.testing.assert_array_equal(first[0, :, :8], log_mel(clip("a.wav"), HOW))
    np.testing.assert_array_equal(first[1], log_mel(clip("b.flac"), HOW))
    np.testing.assert_array_equal(last[0, :, :3], log_mel(clip("deep/c.wav"), HOW))
    assert not first[0, :, 8:].any()
    assert made.lengths.tolist() == [8, 18, 3]
    assert made.labels.tolist() == ["one", "two two", "three"]


def test_a_slice_takes_texts_and_lengths_with_its_clips(folder):
    made = fed(folder, AUDIO.replace("rate:", "slice: [1, 3], rate:"))

    assert made.labels.tolist() == ["two two", "three"]
    assert made.lengths.tolist() == [18, 3]


def test_what_is_not_normalised_is_padded_with_silence(folder):
    (first, _) = fed(folder, AUDIO.replace("rate:", "normalise: none, floor: 0.001, rate:")).batches

    assert np.unique(first["x"][0, :, 8:]).tolist() == [np.float32(np.log(0.001))]


def test_time_may_be_the_first_axis(folder):
    (first, _) = fed(folder, AUDIO.replace("rate:", "time_axis: first, rate:"), ("n", "t", 20)).batches

    np.testing.assert_array_equal(first["x"][1], log_mel(clip("b.flac"), HOW).T)


def test_without_mels_the_samples_are_given(folder):
    made = fed(folder, AUDIO.replace("mels: 20", "normalise: none"), ("n", "t"))

    np.testing.assert_array_equal(made.batches[0]["x"][0, :800], clip("a.wav").astype(np.float32))
    assert made.lengths.tolist() == [800, 1600, 400]


def test_lengths_feed_another_input(folder):
    entry = AUDIO.replace("x: {", "speech: {feeds: {features: x, lengths: lengths}, ")

    first, last = fed(folder, entry, lengths=True).batches

    assert (first["lengths"].tolist(), last["lengths"].tolist()) == ([8, 18], [3])


def test_what_is_kept_depends_on_the_code_that_makes_features(folder, monkeypatch):
    fed(folder)
    (plan,) = load([folder / "clips.yaml"])
    read = []
    monkeypatch.setattr(prepared, "file_digest", lambda file: read.append(Path(file).name))

    prepared._key(plan.inputs["x"].preparation, {}, [], make)

    assert {"audio.py", "logmel.py", "wave.py", "prepared.py"} <= set(read)
