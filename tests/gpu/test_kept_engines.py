"""On a GPU: an engine that was found runs, a changed one is built afresh, and kernel times are used again."""

from __future__ import annotations

import ctypes
from pathlib import Path

import onnx
import pytest

from harness.backends.tensorrt import TensorRT
from harness.records import Record
from harness.store import read_run
from models import conv_net
from test_cache import flip
from toy import harness

ABSENT = TensorRT().why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]

SUITE = """
suite: kept
models:
  - name: net
    source: net.onnx
    backends: [tensorrt]
    precisions: [fp16]
    shapes: [{n: 2}]
    attestation: {min_share: 0}
"""


def run(folder: Path, name: str, *options: object, more: str = "") -> Record:
    (folder / "pyproject.toml").touch()
    onnx.save(conv_net(), folder / "net.onnx")
    (folder / "net.yaml").write_text(SUITE + more)
    harness(folder, "run", folder / "net.yaml", "-o", folder / name, *options)
    (record,) = read_run(folder / name).records
    return record


def test_an_unchanged_case_is_the_accepted_artefact_and_passes_for_that_reason(tmp_path):
    first = run(tmp_path, "first")
    assert harness(tmp_path, "accept", tmp_path / "first", "--reason", "a start", "--launches", 2) == 0
    again = run(tmp_path, "again")
    assert again.digests.engine == first.digests.engine
    assert again.status == "passed"
    assert again.duel is None
    assert {**again.attested, "cache": ""} == {**first.attested, "cache": ""}

    flip(tmp_path / "cache" / "artefacts" / str(first.digests.engine) / "model.engine")
    afresh = run(tmp_path, "afresh")
    assert "cache" not in afresh.attested
    assert len([note for note in afresh.notes if note.startswith("cache: ")]) == 1
    assert afresh.error is None


def test_kernel_times_of_an_earlier_build_make_the_next_one_faster(tmp_path):
    if TensorRT().versions()["tensorrt"].startswith("8."):
        try:
            ctypes.CDLL("libcudnn_ops_infer.so.8")
        except OSError as error:
            pytest.skip(f"TensorRT 8 asks cuDNN for its version when it writes a timing cache, and aborts: {error}")
    timed = "    options: {tensorrt: {timing_cache: true}}\n"
    first = run(tmp_path, "first", more=timed)
    assert len(list((tmp_path / "cache" / "index" / "timing").iterdir())) == 1
    second = run(tmp_path, "second", more=timed + "    builds: 2\n")
    assert second.measures["build_s"] < first.measures["build_s"]
