"""Cases of other interpreters: workers of their own, one variant for all, and what is told where there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import onnx
import pytest

from harness.records import Failure, Interpreter, Record
from harness.runner.start import variables_for
from harness.store import read_run
from models import conv_net
from toy import fake_suite, harness

SUITE = """
suite: versions
environments:
{environments}
models:
  - name: net
    source: net.onnx
    backends: [{backends}]
    precisions: [{precisions}]
    shapes: [{{n: 4}}]
    latency: {{min_time_s: 0.05}}
"""


def suite(folder: Path, backends: str, environments: str = "  other: {}", precisions: str = "fp32") -> Path:
    (folder / "pyproject.toml").touch()
    onnx.save(conv_net(), folder / "net.onnx")
    path = folder / "versions.yaml"
    path.write_text(SUITE.format(environments=environments, backends=backends, precisions=precisions))
    return path


def program(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def records(folder: Path) -> dict[str, Record]:
    return {record.case.runs_on: record for record in read_run(folder).records}


def failure(record: Record) -> Failure:
    assert record.error is not None
    return record.error


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_environment_builds_the_file_that_the_harness_made_and_tells_its_versions(folder):
    path = suite(folder, "onnxruntime-cpu, onnxruntime-cpu@other", precisions="fp16")

    assert harness(folder, "run", path, "-o", "out", "--environment", f"other={sys.executable}") == 0

    run, found = read_run(folder / "out"), records(folder / "out")
    here, there = found["onnxruntime-cpu"], found["onnxruntime-cpu@other"]
    assert (here.environment, there.environment) == ("default", "other")
    assert here.digests == there.digests
    assert len(list((folder / "cache/index/variants").iterdir())) == 1
    assert run.environments["other"].versions["onnxruntime"] == run.environments["default"].versions["onnxruntime"]
    assert f"--environment other={sys.executable}" in there.reproduce
    assert "onnxruntime-cpu@other" in (folder / "out/report.html").read_text()


def test_a_variant_that_cannot_be_made_is_told_in_the_same_words_in_every_environment(folder):
    path = suite(folder, "onnxruntime-cpu, onnxruntime-cpu@other", precisions="fp8")

    harness(folder, "run", path, "-o", "out", "--environment", f"other={sys.executable}")

    found = records(folder / "out")
    here, there = found["onnxruntime-cpu"], found["onnxruntime-cpu@other"]
    assert (here.status, here.headline) == (there.status, there.headline)
    assert "name a file of your own" in there.headline


def test_an_environment_without_an_interpreter_is_skipped_and_says_how_to_name_one(folder):
    path = suite(folder, "onnxruntime-cpu, onnxruntime-cpu@other")

    assert harness(folder, "run", path, "-o", "out") == 0

    record = records(folder / "out")["onnxruntime-cpu@other"]
    assert record.status == "skipped"
    assert record.headline.endswith("has no interpreter on this machine: name it with --environment other=PYTHON")


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("echo 'No such thing' >&2; exit 3", "crash", "exit status 3: No such thing; a worker needs Python"),
        ("exec sleep 100", "timeout", "start took longer than 1 s"),
        ("echo hello; exec sleep 100", "harness", "the worker's answer is not JSON"),
        (f"exec {sys.executable} -S -P -m harness.runner.worker $4 $5", "harness", "pip install numpy onnx polygraphy"),
    ],
)  # fmt: skip
def test_an_interpreter_that_runs_no_worker_is_one_clear_error_for_each_of_its_cases(folder, script, kind, words):
    other = program(folder, script)
    path = suite(folder, "onnxruntime-cpu@other, fake@other")

    options = ("--environment", f"other={other}", "--timeout", 1 if kind == "timeout" else 60)
    assert harness(folder, "run", path, "-o", "out", *options) == 3

    found = records(folder / "out")
    for record in found.values():
        assert failure(record).kind == kind
        assert failure(record).message.startswith(f"environment 'other' ({other}) runs no worker: ")
        assert words in failure(record).message
    assert read_run(folder / "out").environments["other"].versions == {}


def test_another_interpreter_is_not_shown_what_lies_beside_the_harness(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PYTHONHOME", "/somewhere")

    other = variables_for(Interpreter("other", "/usr/bin/python"), tmp_path)
    own = variables_for(Interpreter(), tmp_path)

    assert [entry.name for entry in Path(other["PYTHONPATH"]).iterdir()] == ["harness"]
    assert "PYTHONHOME" not in other
    assert own["PYTHONPATH"].split(os.pathsep)[1:] == ["/somewhere"]


def test_a_case_that_its_suite_no_longer_makes_is_missing_with_its_environment(folder):
    path = fake_suite(folder)
    path.write_text(path.read_text().replace("suite: toy", "suite: toy\nenvironments: {other: {}}"))
    both = path.read_text()
    path.write_text(both.replace("backends: [fake]", "backends: [fake, fake@other]"))
    option = ("--environment", f"other={sys.executable}")
    assert harness(folder, "run", path, "-o", "first", *option) == 0
    assert harness(folder, "accept", "first", "--reason", "a start", *option) == 0
    assert harness(folder, "run", path, "-o", "same", *option) == 0

    path.write_text(both)
    assert harness(folder, "run", path, "-o", "less") == 1

    gone = [record for record in read_run(folder / "less").records if record.status == "missing"]
    assert [record.case.runs_on for record in gone] == ["fake@other", "fake@other"]
    assert harness(folder, "judge", "less") == 1
