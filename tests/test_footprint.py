"""What only some models need is imported only where one of those is run: base start-up and memory do not pay for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from harness.variants.int8 import hidden
from models import conv_net

NEVER = (
    *("torch", "sklearn", "tensorflow", "tf2onnx", "PIL", "av", "tokenizers", "jiwer", "soundfile", "soxr"),
    *("pycocotools", "ray", "sqlalchemy", "ruptures"),
)
"""Packages of extras."""
CODE = """\
import os
with open(os.environ["TOLD"], "a") as told:
    told.write(f"{__name__} {os.getpid()}\\n")
raise ImportError("a decoy")
"""
SUITE = """\
suite: s
models:
  - name: m
    source: m.onnx
    shapes: [{n: 2}]
    precisions: [fp32, fp16, bf16, int8]
    variants: [fold-bn, clean, dynamic-int8, weights-int8]
    accuracy: {max_abs: 1}
    latency: {min_time_s: 0.01, min_count: 8, warmup_s: 0}
"""


class Decoys:
    """Packages of those names that cannot be imported and tell who tried, whether the real ones are here or not."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._told = folder, folder / "told"
        for name in NEVER:
            (folder / "packages" / name).mkdir(parents=True)
            (folder / "packages" / name / "__init__.py").write_text(CODE)

    def imported(self, *arguments: str | Path, status: int = 0) -> tuple[set[str], set[str]]:
        """What the command imports of them, and what its workers do."""
        self._told.write_text("")
        paths = os.pathsep.join([str(self._folder / "packages"), str(Path(__file__).parents[1])])
        command = [sys.executable, *map(str, arguments)]
        own = {**os.environ, "PYTHONPATH": paths, "TOLD": str(self._told)}
        with subprocess.Popen(command, cwd=self._folder, env=own, stdout=subprocess.DEVNULL) as process:
            assert process.wait(300) == status
        told = [line.split() for line in self._told.read_text().splitlines()]
        parent = {name for name, pid in told if int(pid) == process.pid}
        return parent, {name for name, pid in told if int(pid) != process.pid}


@pytest.fixture
def decoys(tmp_path):
    onnx.save(conv_net(), tmp_path / "m.onnx")
    (tmp_path / "suite.yaml").write_text(SUITE)
    return Decoys(tmp_path)


def test_a_decoy_tells_who_imports_it(decoys):
    assert decoys.imported("-c", "import PIL.Image", status=1) == ({"PIL"}, set())
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import av'], stderr=subprocess.DEVNULL)"
    assert decoys.imported("-c", child) == (set(), {"av"})


@pytest.mark.parametrize("command", [["--help"], ["check", "suite.yaml"], ["list", "suite.yaml"], ["schema"]])
def test_commands_that_run_nothing_import_no_package_of_an_extra(decoys, command):
    assert decoys.imported("-m", "harness", *command) == (set(), set())


def test_doctor_imports_only_pytorch_and_only_where_it_asks_whether_it_works(decoys):
    assert decoys.imported("-m", "harness", "doctor") == (set(), {"torch"})


def test_a_run_of_a_base_suite_imports_no_package_of_an_extra_in_any_process(decoys):
    run = ["run", "suite.yaml", "-o", "out", "--artefacts", "cache"]

    assert decoys.imported("-m", "harness", *run) == (set(), set())
    assert (decoys._folder / "out" / "run.json").exists()


def test_a_hidden_package_can_be_imported_afterwards_and_one_that_is_there_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)  # other tests' packages import it
    with hidden("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    with hidden("colorsys"):
        assert sys.modules["colorsys"] is colorsys
    assert sys.modules["colorsys"] is colorsys
