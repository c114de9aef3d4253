"""TensorFlow models in suites, as far as that needs no TensorFlow: what is allowed, what is wrong, what is compared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness import suites
from harness.allowed import VARIABLE, allowing
from harness.backends import EXPORTERS
from harness.backends.base import BuildSpec
from harness.backends.pytorch import PyTorchCpu
from harness.errors import Unsupported
from harness.records import Source
from harness.sources import FRAMEWORKS, SOURCES
from harness.store import read_run
from harness.suites.formats import OTHERS
from toy import harness

NAME = "tensorflow:nets:net"
SUITE = """
suite: s
models:
  - name: net
    source: {source}
    latency: {{enabled: false}}
    {keys}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "nets.py").write_text("open('trace', 'a').write('nets')\n")
    for name in ("net.keras", "net.h5", "saved/saved_model.pb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no model")
    return tmp_path


def suite(folder: Path, source: str = NAME, keys: str = "tags: [a]") -> Path:
    path = folder / "s.yaml"
    path.write_text(SUITE.format(source=source, keys=keys))
    return path


@pytest.mark.parametrize(
    ("source", "option"),
    [(NAME, NAME), ("net.keras", "./net.keras"), ("net.h5", "./net.h5"), ("saved", "./saved"), ("saved/", "./saved")],
)
def test_a_model_of_tensorflow_is_code_that_the_command_line_names(folder, capsys, source, option):
    assert harness(folder, "check", suite(folder, source)) == 2

    told = capsys.readouterr().err
    assert f"'{source}' is code, which runs only where the command line allows it: --allow-code {option}" in told
    assert harness(folder, "check", suite(folder, source), "--allow-code", option) == 0


@pytest.mark.parametrize(
    "name", ["torch:nets:net", "tensorflow:nets", "tensorflow:nets:other", "nets:net", "./nets.py"]
)
def test_another_name_allows_no_factory(folder, name):
    assert harness(folder, "check", suite(folder), "--allow-code", name) == 2
    assert not (folder / "trace").exists()


@pytest.mark.parametrize(
    ("source", "keys", "words"),
    [
        (NAME, f"sha256: {'a' * 64}", "cannot hold for what a factory makes"),
        ("saved", f"sha256: {'a' * 64}", "cannot hold for a SavedModel, which is several files"),
        (NAME, "export: {environment: gpu}", "unknown environment 'gpu'"),
        ("tensorflow:nets", "tags: [a]", "must be tensorflow:package.module:factory"),
        ("tensorflow:../nets:net", "tags: [a]", "must be tensorflow:package.module:factory"),
        ("nat.keras", "tags: [a]", "no such file: 'nat.keras', did you mean 'net.keras'?"),
        (".", "tags: [a]", "holds no model.onnx (nor the saved_model.pb of a SavedModel)"),
    ],
)
def test_what_is_wrong_with_a_model_of_tensorflow_is_told_before_anything_runs(folder, capsys, source, keys, words):
    status = harness(folder, "check", suite(folder, source, keys), "--allow-code", NAME, "--allow-code", "./saved")

    assert status == 2
    assert words in capsys.readouterr().err
    assert not (folder / "trace").exists()


@pytest.mark.parametrize("ending", OTHERS)
def test_another_format_is_told_with_its_place_and_the_way_out(folder, capsys, ending):
    source = ending if ending == "saved_model.pb" else f"net{ending}"
    (folder / source).write_bytes(b"of another format")

    assert harness(folder, "check", suite(folder, source)) == 2

    told = capsys.readouterr().err
    what, way = OTHERS[ending]
    assert f"s.yaml:5:13: models[0].source: '{source}' {what}, and no source of a suite: {way}" in told


def test_a_model_of_tensorflow_need_not_tell_its_inputs(folder):
    with allowing([NAME]):
        (plan,) = suites.load([suite(folder)])

    assert plan.source.export.inputs == {}
    assert plan.source.export.opset == 18
    assert plan.source.beside == str(folder / "nets.py")


def test_every_kind_of_source_that_is_exported_has_a_framework_that_exports_it():
    exported = {kind for kind in SOURCES if "exported" in SOURCES[kind]}

    assert exported == set(FRAMEWORKS)
    assert set(FRAMEWORKS.values()) == set(EXPORTERS)


def test_pytorch_runs_no_model_of_tensorflow(tmp_path):
    spec = BuildSpec("c", tmp_path / "m.onnx", "fp32", {}, {}, {}, source=Source("tensorflow", NAME))

    with pytest.raises(Unsupported, match="the model's source must be torch:"):
        PyTorchCpu().build(spec, tmp_path)


STAND_IN = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Model:
    digest: str = "model"
    weights: str = "weights"


class Exporter:
    """y = 3 x; what it writes multiplies by the number in a file."""

    recipe = 1

    def why_not(self):
        return None

    def why_not_run(self):
        return None

    def versions(self):
        return {"tensorflow": "0"}

    def packages(self):
        return {"tensorflow": "0"}

    def load(self, source):
        return Model()

    def write(self, model, source, folder):
        (HERE / "written").open("a").write("once ")
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
        factor = helper.make_tensor("f", TensorProto.FLOAT, [], [float((HERE / "factor").read_text())])
        node = helper.make_node("Mul", ["x", "f"], ["y"], name="only")
        graph = helper.make_graph([node], "g", values[:1], values[1:], [factor])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.save(made, folder / "model.onnx")

    def open(self, spec):
        return self

    def infer(self, feeds):
        return {"y": feeds["x"] * np.float32(3)}

    def close(self):
        pass
'''
PLANTED = "import harness.backends\nharness.backends.EXPORTERS._table['TensorFlow'] = 'stand_in:Exporter'\n"


@pytest.fixture
def stand_in(folder, monkeypatch):
    """A framework that every process of a run takes for TensorFlow."""
    place = folder / "inside"
    place.mkdir()
    (place / "stand_in.py").write_text(STAND_IN)
    (place / "sitecustomize.py").write_text(PLANTED)
    parts = [str(place), os.environ.get("PYTHONPATH"), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, parts)))
    return place


def run(folder: Path, factor: str, out: str = "out") -> tuple[int, list]:
    (folder / "inside/factor").write_text(factor)
    path = suite(folder, keys="precisions: [fp32, fp16]\n    shapes: [{n: 4}]")
    status = harness(folder, "run", path, "-o", folder / out, "--allow-code", NAME)
    return status, list(read_run(folder / out).records)


def test_a_wrong_conversion_fails_every_case_and_comes_first_in_its_headline(folder, stand_in):
    status, records = run(folder, "3.03")

    assert status == 1
    assert len(records) == 2
    for record in records:
        assert record.status == "failed"
        assert "the export is not what TensorFlow computes" in record.headline
        assert record.headline.startswith("fidelity: export/y/")


def test_a_conversion_that_holds_is_a_check_of_every_case(folder, stand_in):
    status, records = run(folder, "3")

    assert status == 0
    for record in records:
        (check,) = [one for one in record.checks if one.name.startswith("export")]
        assert (check.name, check.ok) == ("export", True)
        assert "checks of the export against TensorFlow in fp32 hold" in check.reason


def test_an_export_is_written_once_and_compared_in_every_run(folder, stand_in):
    run(folder, "3.03")
    status, _ = run(folder, "3", out="again")  # what was kept is taken, and is still wrong

    assert (stand_in / "written").read_text() == "once "
    assert status == 1


def test_the_suite_that_ships_is_sound_where_its_factories_are_allowed(capsys):
    path = Path(__file__).parents[1] / "suites/tensorflow"
    names = [f"tensorflow:factories:{name}" for name in ("separable_cnn", "encoder", "smoother")]

    assert harness(path, "check", path, *(word for name in names for word in ("--allow-code", name))) == 0
    assert "36 cases" in capsys.readouterr().out


def test_an_environment_that_only_exports_may_be_named(folder):
    path = suite(folder, keys="export: {environment: other}")
    path.write_text("environments: {other: {}}\n" + path.read_text())

    options = ["--environment", f"other={sys.executable}", "--allow-code", NAME]
    assert harness(folder, "run", path, "-o", folder / "out", *options) != 2


@pytest.mark.parametrize("given", [True, False])
def test_debug_is_told_the_environment_that_exports(folder, capsys, given):
    path = suite(folder, keys="export: {environment: other}")
    path.write_text("environments: {other: {}}\n" + path.read_text())
    options = ["--environment", f"other={sys.executable}"] if given else []
    case = ["debug", "s/net/onnxruntime-cpu/fp32/static", "--suites", path, "--artefacts", folder / "cache"]

    assert harness(folder, *case, "--allow-code", NAME, *options) != 0
    assert ("has no interpreter on this machine" in capsys.readouterr().err) is not given
