"""Rules of the count's parts: defects change outputs, healthy runs agree, other tools' rules say what theirs say."""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from quality.accuracy import measure, table
from quality.accuracy.count import DEFECTIVE
from quality.accuracy.defects import DEFECTS, Defect
from quality.accuracy.edits import Graph, output_axis, values
from quality.accuracy.emulate import explicit, split, wide
from quality.accuracy.models import MODELS, models
from quality.accuracy.paths import CPU, Outputs, Route, execute, in_double
from quality.accuracy.rules import allclose, dynamo, openvino, polygraphy
from quality.accuracy.variants import variant

SMALL = ("attention", "detection", "segmentation", "choice", "gru", "scales", "residual", "norms", "mlp")
"""Together they have everything that a defect needs."""
NEAR = {"fp32": 1e-5, "tf32": 5e-3, "fp16": 5e-3, "bf16": 5e-2, "int8": 2e-1}
"""RMS error over RMS of the fp32 output."""
RULES = {"polygraphy": polygraphy, "numpy": allclose, "openvino": openvino, "dynamo": dynamo}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("quality")


def route(precision: str) -> Route:
    """The one on which the reduced count runs defects."""
    return next(one for one in CPU[precision] if one.name == DEFECTIVE[precision][0])


@lru_cache
def healthy(name: str, precision: str, folder: Path) -> tuple[onnx.ModelProto, Outputs]:
    built = MODELS[name]()
    made = variant(built, precision, folder)
    assert made is not None
    return made.model, execute(route(precision), made.model, precision, built.feeds)


@pytest.mark.parametrize("name", MODELS)
def test_models_are_valid_small_and_differ_between_replicas(name):
    built, other = MODELS[name](), models(1)[f"{name}-1"]()
    onnx.checker.check_model(built.model, full_check=True)
    assert built.model.ByteSize() < 300_000
    for key, rows in built.feeds.items():
        assert len(rows) == 64
        assert not np.array_equal(rows, built.calibration[key][:64])
        assert not np.array_equal(rows, other.feeds[key])


@pytest.mark.parametrize("precision", CPU)
def test_every_way_to_execute_gives_nearly_the_fp32_outputs(precision, folder):
    for name in ("attention", "choice", "segmentation"):
        built = MODELS[name]()
        reference = in_double(built.model, built.feeds)
        model, _ = healthy(name, precision, folder)
        for one in CPU[precision]:
            outputs = execute(one, model, precision, built.feeds)
            for key, array in reference.items():
                scale = float(np.sqrt(np.mean(np.square(array))))
                assert measure.distance(outputs[key], array) <= NEAR[precision] * max(scale, 1e-300), one.name


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.family} {defect.strength}")
def test_every_defect_changes_the_outputs_of_some_model(defect: Defect, folder):
    changed = (_changed(defect, name, precision, folder) for precision in defect.precisions for name in SMALL)
    assert any(changed)


def _changed(defect: Defect, name: str, precision: str, folder: Path) -> bool:
    rng = np.random.default_rng(zlib.crc32(f"{name} {defect.family} 0".encode()))
    model, right = healthy(name, precision, folder)
    if defect.instead is not None:
        found = healthy(name, defect.instead, folder)[1]
    elif defect.outputs is not None:
        found = defect.outputs(right, rng)
    else:
        assert defect.apply is not None
        made = defect.apply(model, rng)
        found = None if made is None else execute(route(precision), made, precision, MODELS[name]().feeds)
    return found is not None and any(measure.effects(found, right, dict.fromkeys(right, 1.0)).values())


def test_a_graph_of_explicit_rounding_has_no_half_arithmetic_and_keeps_weights(folder):
    model, _ = healthy("attention", "bf16", folder)
    for made in (explicit(model), wide(model), split(explicit(model), 16)):
        onnx.checker.check_model(made)
        assert not [t for t in made.graph.initializer if t.data_type in (onnx.TensorProto.FLOAT16, 16)]
    casts = [sum(node.op_type == "Cast" for node in made.graph.node) for made in (explicit(model), wide(model))]
    assert casts[0] > casts[1]


def test_distances_see_nan_shapes_and_changed_integers():
    ones = np.ones((4, 2), np.float32)
    spoilt = ones.copy()
    spoilt[0, 0] = np.nan
    assert measure.distance(spoilt, ones) == float("inf")
    assert measure.distance(spoilt, spoilt) == 0
    assert measure.distance(ones[:3], ones) == float("inf")
    assert measure.distance(np.array([1, 2, 3, 5]), np.array([1, 2, 3, 4])) == 0.5


@pytest.mark.parametrize("rule", RULES)
def test_other_rules_pass_equal_outputs_and_fail_spoilt_ones(rule):
    right = {"y": np.linspace(-3, 3, 64, dtype=np.float32).reshape(8, 8)}
    spoilt = {"y": right["y"].copy()}
    spoilt["y"][2, 2] = np.nan
    double = {"y": right["y"].astype(np.float64)}
    assert RULES[rule]("fp32", right, right, double)
    assert not RULES[rule]("fp32", right, spoilt, double)
    assert not RULES[rule]("fp32", right, {}, double)


def test_polygraphy_passes_an_element_within_either_tolerance():
    right = {"y": np.array([1e-3, 1000.0], np.float32)}
    small = {"y": np.array([1e-3 + 9e-6, 1000.005], np.float32)}  # 0.9 % of the first, 5e-3 of the second
    assert polygraphy("fp32", right, small, None)
    assert not polygraphy("fp32", right, {"y": np.array([1e-3 + 2e-5, 1000.0], np.float32)}, None)


def test_dynamo_passes_what_is_as_near_to_double_as_the_eager_run():
    double = {"y": np.full((100, 100), 5.0)}
    eager, near, far = ({"y": (double["y"] + error).astype(np.float32)} for error in (0.01, 0.03, 0.04))
    assert dynamo("fp16", eager, near, double)
    assert not dynamo("fp16", eager, far, double)


def test_the_table_counts_failed_healthy_runs_and_caught_defects():
    def row(family, effect, passes):
        verdicts = {"rule": passes}
        effects = {"effect": effect, "cost_times": effect, "identical": effect == 0}
        about = {"model": "m", "precision": "fp16", "path": "all", "strength": "", "failed": [], "unfit": False}
        return {**about, **effects, "family": family, "verdicts": verdicts}

    rows = [row("healthy", 1, True), row("healthy", 1, False), row("bias", 5, False), row("bias", 1, True)]
    found = table.summary([*rows, row("bias", 0, True), {"family": "bias", "error": "no kernel"}])
    counts = found["rules"]["rule"]["fp16"]
    assert (counts["healthy"], counts["above 2"], counts["below 2"]) == ([1, 2], [1, 1], [0, 1])
    assert (found["without effect"], found["not run"]) == (1, 1)
    assert "| rule | 1/2 | - | 1/1 | 1/1 | 0/1 |" in table.markdown(found)


@pytest.mark.parametrize("name", ["attention", "digits"])
def test_quantised_weights_that_are_replaced_keep_a_scale_that_fits_their_channel(name, folder):
    made = Graph(healthy(name, "int8", folder)[0])
    weights = list(made.weights("MatMul", "Conv", "Gemm"))
    for weight in weights:
        new = values(weight.tensor) * 3
        weight.replace(new)
        for scale in weight.scales:
            axes = tuple(axis for axis in range(new.ndim) if axis != output_axis(weight))
            assert np.allclose(values(scale) * 127, np.abs(new).max(axis=axes), rtol=1e-5)
    assert len(weights) > 3
