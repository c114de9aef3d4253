"""TensorRT-RTX parses and builds without a GPU, strongly typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.backends.base import BuildSpec
from harness.backends.tensorrt import TensorRTRTX
from harness.store import read_run
from toy import harness

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

DIGITS = Path(__file__).parents[1] / "suites/digits"
SUITE = f"""
suite: rtx
models:
  - name: digits-cnn
    source: {DIGITS}/digits_cnn.onnx
    backends: [tensorrt-rtx]
    precisions: [fp32, tf32, fp16, bf16, int8]
    shapes: [{{n: 1}}, {{n: 64}}]
    inputs: {{image: {{file: {DIGITS}/digits.npz, key: images}}}}
    int8: {{calibration: {{file: {DIGITS}/digits.npz, key: calibration}}}}
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtx")
    (folder / "rtx.yaml").write_text(SUITE)
    harness(folder, "run", folder / "rtx.yaml", "--root", "/", "-o", folder / "out")
    return read_run(folder / "out").records


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
def test_every_precision_of_the_digits_model_is_built_strongly_typed(records, precision):
    built = [record for record in records if record.case.precision == precision]

    assert len(built) == 2
    for record in built:
        assert record.attested["typing"] == "strong"
        assert record.attested["requested"] == precision
        assert record.measures["engine_bytes"] > 100_000
        assert record.digests.engine
        assert record.status in ("skipped", "new")


def test_the_precisions_are_different_engines(records):
    engines = {record.case.precision: record.digests.engine for record in records}

    assert len({engines[precision] for precision in ("fp32", "fp16", "bf16", "int8")}) == 4


def test_shapes_of_one_model_share_an_engine(records):
    engines = {record.digests.engine for record in records if record.case.precision == "fp16"}

    assert len(engines) == 1


def test_variants_are_built_and_what_its_parser_refuses_is_skipped(tmp_path):
    text = SUITE.replace(
        "precisions: [fp32, tf32, fp16, bf16, int8]", "variants: [dynamic-int8, [prune-2:4, weights-int4]]"
    )
    (tmp_path / "rtx.yaml").write_text(text.replace("[{n: 1}, {n: 64}]", "[{n: 1}]"))
    harness(tmp_path, "run", tmp_path / "rtx.yaml", "--root", "/", "-o", tmp_path / "out")
    found = {record.case.built_as: record for record in read_run(tmp_path / "out").records}
    assert found["as-is+dynamic-int8"].status == "skipped"
    assert "checkMatMulInteger" in found["as-is+dynamic-int8"].headline
    assert found["as-is+prune-2-4+weights-int4"].measures["engine_bytes"] > 100_000


@pytest.mark.parametrize("asked", [True, False])
def test_sparse_kernels_are_allowed_where_the_suite_asks_for_them(asked):
    spec = BuildSpec("c", Path("m.onnx"), "fp16", {}, {}, {"sparse_weights": asked})
    assert TensorRTRTX()._config(spec, True, None).get("sparse_weights", False) is asked
