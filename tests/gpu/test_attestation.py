"""What engines and sessions on a GPU tell of the precision that ran, and whether a wrong one is caught.

With HARNESS_DUMP set to a folder, the engine inspector's JSON and what was attested are written there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from debugging import overflowing_net
from harness import suites
from harness.backends import BACKENDS, worker_variables
from harness.backends.base import BuildSpec
from harness.backends.tensorrt import TensorRT
from harness.cache import Cache
from harness.errors import CaseError
from harness.judge.attestation import judge_attestation
from harness.records import Outcome
from harness.sources import SOURCES
from harness.sources.inspect import inspect
from harness.variants.graph import save
from harness.variants.keep import keep
from harness.variants.prepare import prepare
from models import attention

ABSENT = TensorRT().why_not()
CUDA_ABSENT = BACKENDS.load("onnxruntime-cuda")().why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]

ROOT = Path(__file__).parents[2]
PRECISIONS = ("fp32", "tf32", "fp16", "int8")
PLANS = {
    (plan.case.backend, plan.case.precision): plan
    for plan in suites.load([ROOT / "suites/digits/digits.yaml"], ROOT)
    if plan.case.shape == "n-64"
}


class Tf32On(TensorRT):
    """A backend whose fp32 engines may use TF32."""

    def _config(self, spec, strong, network):
        return super()._config(spec, strong, network) | {"tf32": True}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def file_of(plan, cache):
    fetched = SOURCES.load(plan.source.kind)(plan.source, cache)
    return prepare(plan, fetched, inspect(fetched.model), Cache(cache)).path


def attest(name, backend, plan, model, folder, typed=False, **options):
    """Checks on a case that was built, fed with ones and asked what it ran; what was attested, beside them."""
    info = inspect(model)
    sizes = {"n": 16, "seq": 32}
    shapes = {t.name: tuple(sizes.get(dim, dim) for dim in t.dims) for t in info.inputs}
    dtypes = {t.name: t.dtype for t in (*info.inputs, *info.outputs)}
    profile = {key: (shape,) * 3 for key, shape in shapes.items()}
    options = {"optimization_level": 1, **options} if isinstance(backend, TensorRT) else {}
    spec = BuildSpec(name, model, plan.case.precision, profile, dtypes, options, typed)
    session = backend.open(backend.build(spec, folder), spec)
    try:
        session.infer({t.name: np.ones(shapes[t.name], t.dtype) for t in info.inputs})
        told = json.loads(json.dumps(dict(session.attested)))
        dump(name, session, told)
    finally:
        session.close()
    checks = {check.name: check for check in judge_attestation(plan, Outcome(attested=told))}
    print("\n", name, *(f"{'ok  ' if check.ok else 'FAIL'} {check.reason}" for check in checks.values()), sep="\n  ")
    return checks, told


def dump(name, session, told):
    if "HARNESS_DUMP" not in os.environ:
        return
    folder = Path(os.environ["HARNESS_DUMP"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.attested.json").write_text(json.dumps(told, indent=1))
    if hasattr(session, "inspect"):
        (folder / f"{name}.inspector.json").write_text(session.inspect())


def wide(path):
    """A convolution large enough that TF32 pays: 128 to 128 channels, 3x3, on images of 28x28."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(0, 0.03, (128, 128, 3, 3)).astype(np.float32), "w")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 128, 28, 28]) for name in ("x", "y")]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def failed(checks):
    return {name for name, check in checks.items() if not check.ok}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_healthy_engines_of_the_digits_suite_pass(precision, cache, tmp_path):
    plan = PLANS["tensorrt", precision]

    checks, told = attest(f"tensorrt-{precision}", TensorRT(), plan, file_of(plan, cache), tmp_path, **plan.options)

    assert failed(checks) == set()
    assert "untold" not in told
    assert told["rows"]


@pytest.mark.parametrize("constraints", ["prefer", "obey"])
def test_all_layers_of_an_fp16_file_run_in_it_where_its_types_are_kept(constraints, cache, tmp_path):
    plan = PLANS["tensorrt", "fp16"]
    plan = replace(plan, attestation=replace(plan.attestation, min_share=1.0))
    name, model = f"tensorrt-fp16-{constraints}", file_of(plan, cache)

    checks, told = attest(name, TensorRT(), plan, model, tmp_path, precision_constraints=constraints)

    assert failed(checks) == set()
    assert told["typing"] == "strong" or told["precision_constraints"] == constraints


@pytest.mark.parametrize("options", [{}, {"precision_constraints": "obey"}], ids=["typed", "typed-obey"])
def test_nodes_that_a_file_keeps_in_fp32_run_in_it(options, tmp_path, request):
    onnx.save(overflowing_net(), tmp_path / "net.onnx")
    kept = keep("fp16", tmp_path / "net.onnx", tmp_path / "net.onnx", ["c1", "r1", "c2"])
    save(kept, tmp_path, "kept")
    name = f"tensorrt-kept-{request.node.callspec.id}"

    _, told = attest(
        name, TensorRT(), PLANS["tensorrt", "fp16"], tmp_path / "kept.onnx", tmp_path, typed=True, **options
    )

    ran = Counter()
    for group in told["layers"]:
        ran[group["storage"] if group["compute"] == "unknown" else group["compute"]] += group["count"]
    assert ran["fp32"] >= 2
    assert not options or ran == {"fp32": 2, "fp16": 2}  # without the option the builder chooses for the others


@pytest.mark.skipif(CUDA_ABSENT is not None, reason=str(CUDA_ABSENT))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_healthy_sessions_of_the_cuda_provider_pass(precision, cache, tmp_path):
    plan = PLANS["onnxruntime-cuda", precision]
    backend = BACKENDS.load("onnxruntime-cuda")()

    checks, told = attest(f"onnxruntime-cuda-{precision}", backend, plan, file_of(plan, cache), tmp_path)

    assert failed(checks) == set()
    assert told["tf32"] is (precision == "tf32")
    assert sum(group["count"] for group in told["layers"]) == 5


def test_an_engine_that_was_asked_for_fp16_and_is_fp32_is_caught(cache, tmp_path, monkeypatch):
    plan = PLANS["tensorrt", "fp16"]
    monkeypatch.setattr("harness.backends.tensorrt.WEAK_FLAGS", {})  # the flag is forgotten, the file is fp32

    checks, told = attest("wrong-fp16-is-fp32", TensorRT(), plan, file_of(PLANS["tensorrt", "fp32"], cache), tmp_path)

    assert "attestation/layers" in failed(checks)
    assert told["typing"] == "strong" or "attestation/settings" in failed(checks)


def test_an_fp16_file_without_the_flag_is_refused_or_caught(cache, tmp_path, monkeypatch):
    plan = PLANS["tensorrt", "fp16"]
    monkeypatch.setattr("harness.backends.tensorrt.WEAK_FLAGS", {})
    try:
        checks, told = attest("wrong-fp16-no-flag", TensorRT(), plan, file_of(plan, cache), tmp_path)
    except CaseError as refusal:
        print("\nrefused:", refusal)
        return

    assert told["typing"] == "strong" or "attestation/settings" in failed(checks)


def test_an_fp32_engine_that_may_use_tf32_is_caught(tmp_path):
    plan, model = PLANS["tensorrt", "fp32"], wide(tmp_path / "wide.onnx")

    off, _ = attest("wide-fp32", TensorRT(), plan, model, tmp_path)
    on, told = attest("wrong-wide-fp32-is-tf32", Tf32On(), plan, model, tmp_path)

    assert failed(off) == set()
    assert "attestation/settings" in failed(on)
    seen = {group["compute"] for group in told["layers"]}
    assert "tf32" not in seen or "attestation/layers" in failed(on)


def test_tf32_by_a_kernels_name_alone_is_caught(tmp_path):
    """The setting is hidden from the judge: what is left is the name of the kernel, where TF32 was chosen."""
    plan, model = PLANS["tensorrt", "fp32"], wide(tmp_path / "wide.onnx")
    _, told = attest("wide-tf32", Tf32On(), plan, model, tmp_path)
    if not any(group["compute"] == "tf32" for group in told["layers"]):
        pytest.skip(f"the builder chose no kernel that names TF32: {told['rows']}")

    hidden = {key: value for key, value in told.items() if key != "tf32"}
    checks = {check.name: check for check in judge_attestation(plan, Outcome(attested=hidden))}

    assert "attestation/layers" in failed(checks)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_layers_of_a_block_of_attention_are_read(precision, cache, tmp_path):
    onnx.save(attention(), tmp_path / "attention.onnx")
    plan = PLANS["tensorrt", precision]
    source = replace(plan.source, path=str(tmp_path / "attention.onnx"))

    _, told = attest(f"attention-{precision}", TensorRT(), plan, file_of(replace(plan, source=source), cache), tmp_path)

    assert "untold" not in told
    assert told["layers"]


def test_the_tensorrt_provider_is_told_apart_by_its_settings(cache, tmp_path, monkeypatch):
    backend = BACKENDS.load("onnxruntime-tensorrt")()
    if reason := backend.why_not():
        pytest.skip(reason)
    plan = PLANS["tensorrt", "fp16"]
    plan = replace(plan, case=replace(plan.case, backend="onnxruntime-tensorrt"))
    for name, value in worker_variables("onnxruntime-tensorrt", "fp16").items():
        monkeypatch.setenv(name, value)

    checks, told = attest("onnxruntime-tensorrt-fp16", backend, plan, file_of(plan, cache), tmp_path)

    assert (told["allowed"], told["tf32"]) == (["fp16"], False)
    assert failed(checks) == {"attestation/layers"}  # it does not tell what its engines run
