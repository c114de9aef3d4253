"""`harness debug` on a GPU: the layer that overflows in fp16 is named, and the nodes that mend it."""

from __future__ import annotations

import json

import onnx
import pytest

from debugging import overflowing_net
from harness.backends import BACKENDS
from harness.cli import main

pytestmark = pytest.mark.gpu

BACKENDS_HERE = ("tensorrt", "onnxruntime-cuda")
SUITE = """
suite: gpu
models:
  - name: overflowing
    source: overflowing.onnx
    backends: [{backend}]
    precisions: [fp16]
    shapes: [{{n: 8}}]
    inputs: {{image: {{normal: [0, 40], seed: 3}}}}
    latency: {{enabled: false}}
    {options}
"""
OPTIONS = {"tensorrt": "options: {tensorrt: {optimization_level: 0}}"}


@pytest.fixture(params=BACKENDS_HERE)
def found(request, tmp_path, monkeypatch):
    """What the command found, on a backend where the case fails; otherwise the test tells what ran instead.

    The outputs need not show the overflow: a Relu may turn the NaN that comes of it into 0.
    """
    backend = request.param
    if reason := BACKENDS.load(backend)().why_not():
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    onnx.save(overflowing_net(), tmp_path / "overflowing.onnx")
    (tmp_path / "suite.yaml").write_text(SUITE.format(backend=backend, options=OPTIONS.get(backend, "")))
    cache = ["--artefacts", str(tmp_path / "cache")]
    main(["run", "suite.yaml", *cache, "-o", "run"])
    record = json.loads((tmp_path / "run" / "run.json").read_text())["records"][0]
    if record["status"] in ("passed", "new"):
        pytest.skip(f"{backend} did not overflow ({record['status']}: {record['headline']}): {record['attested']}")
    assert main(["debug", record["case"]["id"], "--run", "run", *cache, "-o", "debug"]) == 0
    return json.loads((tmp_path / "debug" / "debug.json").read_text())


def test_the_layer_that_overflows_is_named_with_the_nodes_that_mend_it(found, capsys):
    print(json.dumps({key: found[key] for key in ("cause", "verdict", "first", "mend", "notes", "builds")}, indent=1))
    assert found["first_node"]["name"] == "first"
    assert found["ranking"][0]["added"]["overflowed"] > 0
    assert "first" in [node["name"] for node in found["ranking"][0]["nodes"]]
    # any of the nodes that make or read values beyond fp16 may do: a builder fuses its neighbours with it
    mending = {node["name"] for node in found["mend"]["nodes"]}
    assert mending
    assert mending <= {"first", "relu1", "second"}
    assert found["mend"]["minimal"]


def test_the_slice_overflows_alone(found):
    assert found["slice"]["status"] == "failed"
