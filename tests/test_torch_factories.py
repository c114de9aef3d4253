"""Which module a factory stands for, and what is said of factories and modules that cannot be judged."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import pytest

from harness.records import Record
from harness.store import read_run
from toy import harness

LACKING = [name for name in ("torch", "onnxscript") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"{', '.join(LACKING)} is not installed: pip install 'trt-harness[torch]'"
)

NETS = '''
import sys
import time
from pathlib import Path

import torch
from torch import nn

FACTOR = 1.0
HERE = Path(__file__).parent
CALLS = []


class Net(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.last, self.factor = nn.Linear(4, 3), factor

    def forward(self, x):
        return self.last(x) * self.factor * FACTOR


class Waits(Net):
    """Lets another run go first, when it runs after it was exported."""

    def forward(self, x):
        if not torch.compiler.is_exporting():
            CALLS.append(x)
            if len(CALLS) == 2:
                (HERE / "waiting").touch()
                while not (HERE / "go").exists():
                    time.sleep(0.05)
        return super().forward(x)


class Nothing(Net):
    def forward(self, x):
        return None


class Number(Net):
    def forward(self, x):
        return super().forward(x), 5


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.utils.weight_norm(nn.Linear(4, 3))

    def forward(self, x):
        return self.last(x)


def net():
    return Net()


def same():
    return Net()


def waits():
    return Waits()


def nothing():
    return Nothing()


def number():
    return Number()


def normed():
    return Normed()


def leaves():
    sys.exit(3)


def meta():
    with torch.device("meta"):
        return Net()


def lazy():
    return nn.Sequential(nn.LazyLinear(3))


def tensor():
    return Net(torch.tensor(float((HERE / "factor").read_text())))


def number_of_its_own():
    return Net(float((HERE / "factor").read_text()))
'''
SUITE = """
suite: {suite}
defaults:
  latency: {{enabled: false}}
  precisions: [fp32]
  backends: [pytorch-cpu, onnxruntime-cpu]
  shapes: [{{n: 2}}]
  export: {{inputs: {{x: {{dims: [n, 4]}}}}}}
models:
"""
NAMES = ("net", "same", "waits", "nothing", "number", "normed", "leaves", "meta", "lazy", "tensor", "number_of_its_own")
SOURCES = (*(f"torch:nets:{name}" for name in NAMES), "torch:broken:net", "torch:ends:net")
ALLOW = [word for source in SOURCES for word in ("--allow-code", source)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def suite(folder: Path, *sources: str, name: str = "s", more: str = "") -> Path:
    models = (f"  - {{name: m{number}, source: '{source}'{more}}}\n" for number, source in enumerate(sources))
    path = folder / f"{name}.yaml"
    path.write_text(SUITE.format(suite=name) + "".join(models))
    return path


def run(folder: Path, *suites: Path, out: str = "out", status: int = 0) -> list[Record]:
    found = harness(folder, "run", *suites, "-o", folder / out, *ALLOW)
    records = read_run(folder / out).records
    assert found == status, [record.headline for record in records]
    return list(records)


def two_suites(folder: Path) -> list[Path]:
    """Each with a factory of the same name beside it."""
    paths = []
    for name, factor in (("a", "1.0"), ("b", "7.0")):
        (folder / name).mkdir()
        (folder / name / "nets.py").write_text(NETS.replace("FACTOR = 1.0", f"FACTOR = {factor}"))
        paths.append(suite(folder / name, "torch:nets:net", name=name))
    return paths


def test_factories_of_one_name_beside_two_suites_are_two_models(folder):
    found = run(folder, *two_suites(folder))
    models = {record.case.suite: record.digests.model for record in found}
    assert len(found) == 4
    assert len(set(models.values())) == 2


def test_a_resumed_run_knows_the_models_of_two_suites_apart(folder):
    paths = two_suites(folder)
    run(folder, *paths)
    begin, *lines = (folder / "out/journal.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "onnxruntime-cpu/fp32" not in line[:200] and '"kind":"end"' not in line[:60]]
    assert len(kept) == len(lines) - 5  # what was measured of two cases, their records, and the end
    (folder / "out/journal.jsonl").write_text("".join([begin, *kept]))
    (folder / "out/run.json").unlink()
    assert harness(folder, "run", *paths, "-o", folder / "out", "--resume", *ALLOW) == 0
    assert [record.status for record in read_run(folder / "out").records] == ["new"] * 4


def test_two_factories_with_the_same_export_are_each_run_as_what_they_are(folder):
    found = run(folder, suite(folder, "torch:nets:net", "torch:nets:same"))
    assert [record.status for record in found] == ["new"] * 4
    assert len({record.digests.model for record in found}) == 1


@pytest.mark.parametrize("factory", ["tensor", "number_of_its_own"])
def test_a_value_that_is_no_weight_makes_another_export(folder, factory):
    models = []
    for factor in ("2", "3"):
        (folder / "factor").write_text(factor)
        found = run(folder, suite(folder, f"torch:nets:{factory}"), out=f"out{factor}")
        models.append({record.digests.model for record in found})
    assert models[0].isdisjoint(models[1])


def test_a_run_keeps_to_its_export_whatever_another_exports_meanwhile_from_the_same_name(folder):
    path = suite(folder, "torch:nets:waits")
    command = [sys.executable, "-m", "harness", "run", path, "-o", folder / "first", *ALLOW]
    options = ["--root", folder, "--baselines", folder / "baselines", "--artefacts", folder / "artefacts"]
    with subprocess.Popen([*command, *options], env=os.environ) as first:
        limit = monotonic() + 120
        while not (folder / "waiting").exists() and first.poll() is None and monotonic() < limit:
            sleep(0.05)
        (folder / "nets.py").write_text(NETS.replace("FACTOR = 1.0", "FACTOR = 7.0").replace("== 2", "== -1"))
        again = [*command[:5], "-o", folder / "second", *ALLOW]
        second = subprocess.run([*again, *options], check=False)
        (folder / "go").touch()
    assert (first.returncode, second.returncode) == (0, 0)
    models = [{one.digests.model for one in read_run(folder / out).records} for out in ("first", "second")]
    assert [len(found) for found in models] == [1, 1]
    assert models[0] != models[1]


def test_a_module_with_weight_norm_is_a_model_as_any_other(folder):
    assert {record.status for record in run(folder, suite(folder, "torch:nets:normed"))} == {"new"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("torch:nets:leaves", "the factory failed: SystemExit: 3"),
        ("torch:nets:meta", "'last.weight' has no values"),
        ("torch:nets:lazy", "'0.weight' has no values"),
        ("torch:nets:nothing", "the model returns no tensor"),
        ("torch:nets:number", "the model returns int beside or instead of tensors"),
        ("torch:broken:net", "broken cannot be imported: SyntaxError"),
        ("torch:ends:net", "ends cannot be imported: SystemExit: 2"),
    ],
)
def test_what_cannot_be_judged_is_an_error_of_the_input_in_words(folder, source, words):
    (folder / "broken.py").write_text("def net(:\n")
    (folder / "ends.py").write_text("import sys\nsys.exit(2)\n")
    for record in run(folder, suite(folder, source), status=1):
        assert record.error is not None
        assert record.error.kind == "input"
        assert words in record.error.message


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ("[one, two]", "`export: {outputs}` has 2 names, and the model returns 1 tensors"),
        ("[x]", "'x' is an input and an output"),
    ],
)
def test_names_of_outputs_must_fit_what_the_model_returns(folder, outputs, words):
    more = f", export: {{outputs: {outputs}}}"
    for record in run(folder, suite(folder, "torch:nets:net", more=more), status=1):
        assert record.error is not None
        assert words in record.error.message
