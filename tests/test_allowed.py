"""`--allow-code`: what a suite names of programs and libraries runs only where the command line names it too."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from harness.allowed import VARIABLE, allowing, option, permits
from harness.errors import UsageError
from harness.store import read_run
from toy import harness, small_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "pyproject.toml").touch()
    small_model(tmp_path / "m.onnx")
    return tmp_path


def program(folder: Path) -> Path:
    """A program that leaves a trace when it runs, and is an interpreter."""
    path = folder / "evil"
    path.write_text(f'#!/bin/sh\ntouch {folder}/trace\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def suite(folder: Path, python: str = "evil", model: str = "") -> Path:
    path = folder / "s.yaml"
    path.write_text(
        f"suite: s\nenvironments: {{other: {{python: {python}}}}}\nmodels:\n"
        f"  - {{name: m, source: m.onnx, backends: [fake, fake@other], latency: {{enabled: false}}, "
        f"reference: {{backend: fake}}{model}}}\n"
    )
    return path


def test_an_interpreter_that_a_suite_names_runs_only_where_the_command_line_allows_it(folder, capsys):
    program(folder)

    assert harness(folder, "run", suite(folder), "-o", "out") == 2

    told = capsys.readouterr().err
    assert "harness: s.yaml:2:32: environments.other.python: 'evil' is a program, which runs only where" in told
    assert "--allow-code ./evil, or --environment NAME=PYTHON" in told
    assert not (folder / "trace").exists()
    assert harness(folder, "run", suite(folder), "-o", "out", "--allow-code", "./evil") == 0
    assert (folder / "trace").exists()
    assert all("--allow-code ./evil" in record.reproduce for record in read_run(folder / "out").records)


@pytest.mark.parametrize("command", ["check", "list", "run"])
def test_no_command_takes_a_suite_whose_programs_are_not_allowed(folder, command):
    program(folder)

    assert harness(folder, command, suite(folder)) == 2


@pytest.mark.parametrize("allowed", ["evil", "./other", "/evil", "./evil/", "m.onnx"])
def test_another_name_or_path_allows_nothing(folder, monkeypatch, allowed):
    program(folder)
    (folder / "other").symlink_to(folder / "evil")
    monkeypatch.setenv(VARIABLE, allowed)

    assert permits(folder / "evil") is (allowed == "./evil/")  # the same path, written otherwise


def test_a_library_of_operators_is_loaded_only_where_the_command_line_allows_it(folder, capsys):
    (folder / "ops.so").write_bytes(b"no library")
    path = folder / "s.yaml"
    keys = "source: m.onnx, options: {onnxruntime-cpu: {custom_ops: [ops.so]}}"
    path.write_text(f"suite: s\nmodels: [{{name: m, {keys}}}]\n")

    assert harness(folder, "check", path) == 2

    assert "'ops.so' is code, which runs only where the command line allows it: --allow-code ./ops.so" in (
        capsys.readouterr().err
    )
    assert harness(folder, "check", path, "--allow-code", "./ops.so") == 0


def test_what_is_allowed_ends_with_the_command_and_reaches_its_processes(folder, monkeypatch):
    import os

    monkeypatch.setenv(VARIABLE, "first")
    with allowing(["./with space", "second"]):
        assert shlex.split(os.environ[VARIABLE]) == [str(folder / "with space"), "first", "second"]
        assert option("with space") == "--allow-code './with space'"
    assert os.environ[VARIABLE] == "first"


def test_a_variable_that_cannot_be_read_is_told(folder, monkeypatch):
    monkeypatch.setenv(VARIABLE, "'unclosed")

    with pytest.raises(UsageError, match=f"{VARIABLE}: .* is no list of words as in a shell"):
        permits("x")


@pytest.mark.parametrize("how", ["option", "file"])
def test_pytest_allows_by_option_or_by_its_configuration_file(folder, pytester, how):
    program(pytester.path)
    small_model(pytester.path / "m.onnx")
    suite(pytester.path)
    (pytester.path / "pytest.ini").write_text("[pytest]\n")
    denied = pytester.runpytest_inprocess("s.yaml", "--collect-only", "-q")
    if how == "file":
        (pytester.path / "pytest.ini").write_text("[pytest]\nharness_allow_code = ./evil\n")
    given = ["--harness-allow-code", "./evil"] if how == "option" else []
    taken = pytester.runpytest_inprocess("s.yaml", "--collect-only", "-q", *given)

    denied.stdout.fnmatch_lines(["*--harness-allow-code ./evil*"])
    taken.stdout.fnmatch_lines(["*s.yaml::s/m/fake@other/fp32/static"])
