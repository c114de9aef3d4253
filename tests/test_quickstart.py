"""The quickstart, the first suite and recipes, typed as they stand in the documents, in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from documents import ROOT, blocks, lines
from harness.store import read_run

README, RECIPES = ROOT / "README.md", ROOT / "docs" / "recipes.md"
DEMO, *_ = lines(blocks(README, "bash", "Try it")[0])
OWN = "A first suite for your own model"
INIT = "harness init my_model.onnx"
# Statuses do not hang on how long and how often cases are timed, nor on their number; a test's time does.
QUICK = "latency: {min_time_s: 0.01, min_count: 6, warmup_s: 0"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A checkout with an environment in which this Python's harness is installed, and the README's model."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "suites" / "digits", tmp_path / "suites" / "digits")
    onnx.save(model(), tmp_path / "my_model.onnx")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, words in {"python": "", "harness": " -m harness"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (programs / name).chmod(0o755)
    (programs.parent / ".demo").touch()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of the make that runs these tests
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model() -> onnx.ModelProto:
    """`image` [batch, 8] to `y` [batch, 4]."""
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def typed(line: str) -> tuple[int, list[str]]:
    """Exit status of a command line of the page, and the lines that it printed. RUN is the newest run."""
    newest = max(Path("reports").glob("*"), key=lambda one: one.stat().st_mtime, default=Path("none")).name
    done = subprocess.run(
        ["bash", "-c", re.sub(r"(reports/)?\bRUN\b", f"reports/{newest}", line)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def report_in(said: list[str]) -> Path:
    """The page that the last line names, which must be there."""
    words, _, path = said[-1].partition(": ")
    assert words == "report"
    assert Path(path).is_file()
    return Path(path).parent


def statuses(folder: Path) -> list[str]:
    return [one.status for one in read_run(folder).records if "onnxruntime-cpu" in one.case.id]


def test_the_demo_passes_and_says_where_its_report_is(folder) -> None:
    suite = folder / "suites" / "digits" / "digits.yaml"
    text = suite.read_text().replace("latency: {regression: 15%", f"{QUICK}, regression: 15%")
    suite.write_text(text.replace("[fp32, tf32, fp16, bf16, int8]", "[fp32, bf16, int8]"))
    status, said = typed(DEMO)
    assert DEMO.startswith("make demo ")
    assert status == 0, said
    assert set(statuses(report_in(said))) == {"new", "skipped"}  # bf16 is refused on a CPU


def test_a_suite_that_init_writes_checks_and_passes(folder) -> None:
    assert f"`{INIT}` writes one beside the model" in README.read_text()
    status, said = typed(INIT)
    assert status == 0, said
    written = (folder / "my_model.yaml").read_text()
    assert "# measured " in written
    assert typed("harness check my_model.yaml")[0] == 0


def test_the_first_suite_is_new_then_accepted_then_compared_and_a_lost_case_fails(folder) -> None:
    (text,) = blocks(README, "yaml", OWN)
    suite = folder / "suite.yaml"
    suite.write_text(text.replace(", fp16]", "]") + f"    {QUICK}}}\n")
    check, first, accept, second = lines(blocks(README, "bash", OWN)[0])
    assert first.partition("#")[0] == second.partition("#")[0]

    assert typed(check)[0] == 0
    status, said = typed(first)
    assert (status, statuses(report_in(said))) == (0, ["new"] * 2)
    status, said = typed(f"{accept} --launches 0")
    assert (status, len(list(folder.glob("baselines/*/mine.json")))) == (0, 1), said
    status, said = typed(second)
    assert status == 0, said
    assert statuses(report_in(said)) == ["passed"] * 2  # as the accepted artefact, whatever else runs here

    suite.write_text(suite.read_text().replace("{batch: 1}, ", ""))
    status, said = typed(second)
    assert (status, statuses(report_in(said)).count("missing")) == (1, 1)


def test_every_mistake_is_told_at_once_with_its_place(folder) -> None:
    (text,) = blocks(README, "yaml", OWN)
    (folder / "suite.yaml").write_text(text.replace("fp32", "fp33").replace("shapes", "shades"))
    status, said = typed(lines(blocks(README, "bash", OWN)[0])[0])
    assert status == 2
    assert [line.removeprefix("harness: ").split(" ")[0] for line in said] == ["suite.yaml:6:18:", "suite.yaml:7:5:"]


@pytest.fixture
def small(folder) -> Path:
    """Another folder `suites/`, of one suite of one case."""
    shutil.rmtree(folder / "suites")
    (folder / "suites").mkdir()
    suite = folder / "suites" / "small.yaml"
    text = "suite: small\ntags: [smoke]\nmodels:\n  - name: net\n    source: ../my_model.onnx\n"
    suite.write_text(f"{text}    {QUICK}}}\n")
    return suite


def test_the_gate_of_the_recipes_blocks_until_the_failure_is_acknowledged(small) -> None:
    gate, acknowledge, judge = [line for block in blocks(RECIPES, "bash", "Gate a merge") for line in lines(block)]
    assert typed(gate)[0] == 0
    small.write_text(small.read_text() + "    resources: {host_mib: 0.001}\n")
    status, said = typed(gate)
    assert (status, statuses(report_in(said))) == (1, ["failed"])
    until = (datetime.now(UTC) + timedelta(days=30)).date()
    filled = {"CASE": "small/net/onnxruntime-cpu/fp32/static", "URL": "https://tracker.example/1", "DATE": f"{until}"}
    for word, own in filled.items():
        acknowledge = acknowledge.replace(word, own)
    status, said = typed(acknowledge)
    assert status == 0, said
    status, said = typed(judge)
    assert (status, statuses(report_in(said))) == (0, ["acknowledged"])


def test_a_release_is_signed_and_verified_as_the_recipes_say(small, monkeypatch) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen here")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"], check=True)
    Path("signers.txt").write_text(f"ann {Path('key.pub').read_text()}")
    for line in lines(blocks(RECIPES, "bash", "Sign a release")[0]):
        status, said = typed(line.replace("~/.ssh/id_ed25519", "key"))
        assert status == 0, said
    assert said[-1].startswith("verified by a key of yours: evidence.zip ")
    run = Path("reports/release/run.json")
    run.write_text(run.read_text() + " ")
    assert typed("harness verify reports/release --allowed-signers signers.txt")[0] == 1
