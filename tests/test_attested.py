"""What is read of the precision that ran: the engine inspector's JSON, kernel names, ONNX Runtime's optimised model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from debugging import overflowing_net
from harness.backends import BACKENDS, inspector
from harness.backends.base import BuildSpec
from harness.backends.kernels import compute_of, storage_of
from harness.backends.layers import MOST_ROWS, Layer, record
from harness.backends.tensorrt import kept_of
from harness.backends.tensorrt_network import constrain, told
from harness.backends.tensorrt_session import TensorRTSession
from harness.store import read_run
from harness.variants.graph import save as save_model
from harness.variants.keep import keep
from models import attention, conv_net
from toy import harness

INSPECTOR = Path(__file__).parent / "inspector"
DIGITS = Path(__file__).parents[1] / "suites/digits"


def told_by(name: str) -> list[tuple[str, str, str]]:
    """Kind, storage and compute of the layers of a fixture."""
    return [(layer.kind, layer.storage, layer.compute) for layer in inspector.layers((INSPECTOR / name).read_text())]


# --- the engine inspector -----------------------------------------------------------------------------------------


def test_storage_and_compute_are_told_apart_in_the_older_dialect():
    assert told_by("v8_mixed.json") == [
        ("conv", "fp16", "fp16"),
        ("conv", "fp32", "tf32"),
        ("conv", "fp16", "unknown"),  # no kernel is named: what it multiplies in is not told
        ("matmul", "fp32", "fp32"),
        ("fused", "unknown", "unknown"),  # half in, float out: what it does between is not told
    ]


def test_weights_tell_the_storage_where_formats_depend_on_shapes():
    assert told_by("v8_int8.json") == [
        ("other", "fp32", "unknown"),
        ("conv", "int8", "int8"),
        ("conv", "int8", "int8"),
        ("other", "fp32", "unknown"),
    ]


def test_layers_that_are_bare_names_hide_what_they_do():
    assert told_by("v8_names.json") == [
        ("other", "unknown", "unknown"),
        ("fused", "unknown", "unknown"),
        ("fused", "unknown", "unknown"),
    ]


def test_products_are_found_among_compiled_layers_in_the_newer_dialect():
    assert told_by("v11_compiled.json") == [
        ("other", "fp32", "unknown"),
        ("matmul", "fp16", "fp16"),
        ("matmul", "fp16", "unknown"),
        ("matmul", "bf16", "bf16"),
        ("other", "fp16", "unknown"),
    ]


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("h200_v8_int8.json", [("conv", "int8", "int8")] * 5),  # products ran as convolutions of 1x1
        ("h200_v8_fp16_chose_fp32.json", [("conv", "fp32", "fp32")] * 5),  # Winograd and cuBLAS kernels among them
        ("h200_v8_obey.json", [("conv", "fp16", "fp16")] * 5),  # beside a cast that the compiler of fused regions made
        ("h200_v8_tf32.json", [("conv", "fp32", "tf32")]),  # between layers that only move values
        ("h200_v8_myelin_fp16.json", [("fused", "fp32", "unknown")]),  # a block of attention: only its ends are told
    ],
)
def test_layers_that_tensorrt_8_told_on_a_gpu_are_read(name, heavy):
    assert [layer for layer in told_by(name) if layer[0] != "other"] == heavy


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"Bindings": []}', '{"Layers": {}}'])
def test_what_is_no_inspector_output_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        inspector.layers(text)


def test_a_bare_control_character_in_metadata_is_taken():
    text = '{"Layers": [{"Name": "c", "LayerType": "gemm", "Metadata": "[ONNX Layer: a]\x1e[ONNX Layer: b]"}]}'

    assert inspector.layers(text)[0].kind == "matmul"


@pytest.mark.parametrize(
    ("kernel", "precision"),
    [
        ("sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc", "tf32"),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize64x64x8", "fp32"),
        ("sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8f32_i8i32_f32_nchw_vect_c_32kcrs", "int8"),
        ("sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n", "fp8"),
        ("sm50_xmma_cublas_gemvx_f16f16_f32_f32_tn_n", "fp16"),  # halves are multiplied, the sum is wider
        ("cutlass_tensorop_s1688fprop_optimized_tf32_64x64_16x10_nhwc_align4", "tf32"),
        ("cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3", "bf16"),
        ("ampere_h16816cudnn_128x128_ldg8_relu_exp_stages_64x3_large_nhwc_tn_v1", "fp16"),
        ("volta_h884cudnn_256x64_ldg8_relu_exp_small_nhwc_tn_v1", "fp16"),
        ("trt_turing_cutlass_image_network_first_layer_hmma_fprop_f16f16f32_nhwc", "fp16"),
        ("volta_int8_i8816cudnn_int8_256x64_ldg16_relu", "int8"),
        ("cutlass_tensorop_s8_i16832gemm_s8_256x128", "int8"),
        ("turing_fp32_icudnn_int8x4_128x64_relu", "int8"),
        ("ampere_scudnn_128x64_relu_xregs_large_nn_v1", "fp32"),
        ("ampere_sgemm_64x32_sliced1x4_tn", "fp32"),
        ("ampere_s1688gemm_128x128_nn_v1", "unknown"),  # tf32 or fp16
        ("_gemm_mha_v2_0x6ec0", "unknown"),
        ("__myl_MulAdd_0x11ab", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_kernel_multiplies_in_what_its_name_says_and_else_in_what_is_unknown(kernel, precision):
    assert compute_of(kernel) == precision


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Row major linear BFloat16 format", "bf16"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("FP8", "fp8"),
        ("Row major linear Int32", "unknown"),
        ("N/A due to dynamic shapes", "unknown"),
        ("Unknown format", "unknown"),
    ],
)
def test_a_format_is_a_precision_or_unknown(words, precision):
    assert storage_of(words) == precision


def test_a_record_counts_all_layers_and_lists_some():
    layers = [Layer(f"c{number}", "conv", "fp16", "fp16") for number in range(MOST_ROWS + 50)]

    kept = record([*layers, Layer("pool", "other", "fp16")])

    assert kept["layers"] == [{"kind": "conv", "storage": "fp16", "compute": "fp16", "count": MOST_ROWS + 50}]
    assert len(kept["rows"]) == MOST_ROWS


def test_an_inspector_that_cannot_be_read_leaves_the_reason():
    session = TensorRTSession.__new__(TensorRTSession)
    session._told, session._engine = {"tf32": False}, None

    assert session.attested == {"tf32": False, "untold": session.attested["untold"]}
    assert session.attested["untold"].startswith("the engine inspector cannot be read: ")


# --- what TensorRT's builder was told -----------------------------------------------------------------------------


def flagged(names: set[str], on: set[str]) -> tuple[SimpleNamespace, SimpleNamespace]:
    """A TensorRT that knows some builder flags, and a configuration in which some are on."""
    trt = SimpleNamespace(
        BuilderFlag=SimpleNamespace(**{name: name for name in names}),
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
    )
    return trt, SimpleNamespace(get_flag=lambda flag: flag in on)


def test_settings_are_what_the_configuration_holds_not_what_was_asked(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    trt, config = flagged({"FP16", "INT8", "TF32"}, {"INT8", "TF32"})

    assert told(trt, SimpleNamespace(), config) == {"typing": "weak", "allowed": ["int8"], "tf32": True}


def test_tf32_is_off_where_the_environment_says_so(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    trt, config = flagged({"FP16", "TF32"}, {"TF32"})

    assert told(trt, SimpleNamespace(), config)["tf32"] is False


def test_constraints_are_read_back_too():
    trt, config = flagged({"FP16", "PREFER_PRECISION_CONSTRAINTS"}, {"FP16", "PREFER_PRECISION_CONSTRAINTS"})

    assert told(trt, SimpleNamespace(), config)["precision_constraints"] == "prefer"


class AskedLayer:
    """A layer of a weakly typed TensorRT network, whose tensors are floats until it is told otherwise."""

    def __init__(self, kind, name, reads, makes, dtype="FLOAT", metadata=""):
        self.type, self.name, self.metadata = SimpleNamespace(name=kind), name, metadata
        self.num_inputs, self.num_outputs, self.asked = 1, 1, {}
        self._read, self._made = SimpleNamespace(name=reads), SimpleNamespace(name=makes, dtype=trt_type(dtype))

    def get_input(self, _):
        return self._read

    def get_output(self, _):
        return self._made

    def set_output_type(self, _, dtype):
        self.asked["output"] = dtype

    @property
    def precision(self):
        raise AssertionError("a precision is asked for, never read")

    @precision.setter
    def precision(self, dtype):
        self.asked["precision"] = dtype


def trt_type(name):
    return SimpleNamespace(name=name)


@pytest.fixture
def kept_file(tmp_path):
    """overflowing_net in fp16, with its first convolution kept in fp32."""
    onnx.save(overflowing_net(), tmp_path / "net.onnx")
    save_model(keep("fp16", tmp_path / "net.onnx", tmp_path / "net.onnx", ["c1"]), tmp_path, "kept")
    return tmp_path / "kept.onnx"


@pytest.mark.parametrize(
    ("layer", "both", "fp32_only"),
    [
        (AskedLayer("CONVOLUTION", "first", "image", "c1/kept"), "fp32", "fp32"),  # named as its node
        (AskedLayer("CONVOLUTION", "third_2", "r2", "x", metadata="[ONNX Layer: third]"), "fp16", None),
        (AskedLayer("SHUFFLE", "(Unnamed Layer* 7) [Shuffle]", "w4", "(Unnamed Layer* 7)_out"), "fp16", None),
        (AskedLayer("ELEMENTWISE", "(Unnamed Layer* 9)", "unheard of", "logits"), "fp32", "fp32"),  # an output's type
        (AskedLayer("ELEMENTWISE", "nobody's", "unheard of", "unheard of as well"), None, None),
        (AskedLayer("NORMALIZATION", "third", "r2", "n"), None, None),  # sums in fp32
        (AskedLayer("CONSTANT", "w4", "", "w4"), None, None),
        (AskedLayer("CONVOLUTION", "third", "r2", "indices", dtype="INT32"), None, None),
    ],
    ids=lambda value: f"{value.type.name} {value.name}" if isinstance(value, AskedLayer) else str(value),
)
def test_each_layer_is_asked_for_the_precision_that_its_node_has_in_the_file(kept_file, layer, both, fp32_only):
    trt = SimpleNamespace(float32="fp32", float16="fp16")
    network = SimpleNamespace(num_layers=1, get_layer=lambda _: layer)

    for held, wanted in ((("fp32",), fp32_only), (("fp32", "fp16"), both)):
        layer.asked.clear()
        constrain(trt, network, kept_file, held)
        assert layer.asked == ({"precision": wanted, "output": wanted} if wanted else {})


@pytest.mark.parametrize(
    ("precision", "typed", "option", "held", "constraints"),
    [
        ("fp16", False, None, (), None),
        ("fp16", False, "prefer", ("fp32", "fp16"), "prefer"),
        ("bf16", False, "obey", ("fp32", "bf16"), "obey"),
        ("fp16", True, None, ("fp32",), "obey"),
        ("fp16", True, "prefer", ("fp32", "fp16"), "obey"),
        *[(precision, False, "obey", (), None) for precision in ("fp32", "tf32", "int8", "fp8", "as-is")],
    ],
)
def test_constraints_are_for_precisions_that_the_types_of_the_file_decide(precision, typed, option, held, constraints):
    options = {"precision_constraints": option} if option else {}
    spec = BuildSpec("case", Path("m.onnx"), precision, {}, {}, options, typed)

    assert kept_of(spec) == (held, constraints)


@pytest.mark.parametrize(
    ("precision", "types"),
    [("fp32", {"fp32"}), ("tf32", {"fp32"}), ("fp16", {"fp16"}), ("bf16", {"bf16"}), ("int8", {"int8"})],
)
def test_a_strongly_typed_network_tells_its_types_before_the_engine_runs(rtx_records, precision, types):
    attested = next(r.attested for r in rtx_records if r.case.precision == precision)

    assert (attested["typing"], attested["allowed"], attested["tf32"]) == ("strong", [], precision == "tf32")
    assert {group["storage"] for group in attested["network"]} == types
    assert {group["kind"]: group["count"] for group in attested["network"]} == {"conv": 3, "matmul": 2}


@pytest.fixture(scope="module")
def rtx_records(tmp_path_factory):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    folder = tmp_path_factory.mktemp("rtx")
    (folder / "rtx.yaml").write_text(
        f"suite: rtx\nmodels:\n  - name: digits\n    source: {DIGITS}/digits_cnn.onnx\n    backends: [tensorrt-rtx]\n"
        f"    precisions: [fp32, tf32, fp16, bf16, int8]\n    shapes: [{{n: 4}}]\n"
    )
    harness(folder, "run", folder / "rtx.yaml", "--root", "/", "-o", folder / "out")
    return read_run(folder / "out").records


# --- ONNX Runtime's optimised model -------------------------------------------------------------------------------


def attested(path: Path, precision: str = "fp32", **options: object) -> dict:
    backend = BACKENDS.load("onnxruntime-cpu")()
    spec = BuildSpec("case", path, precision, {}, {}, options)
    session = backend.open(backend.build(spec, path.parent), spec)
    try:
        return dict(session.attested)
    finally:
        session.close()


def groups(told: dict) -> set[tuple[str, str, str, int]]:
    return {(g["kind"], g["storage"], g["compute"], g["count"]) for g in told["layers"]}


def test_the_cpu_provider_stores_fp16_and_computes_in_fp32(tmp_path):
    from harness.variants.float16 import convert

    onnx.save(convert(onnx.shape_inference.infer_shapes(conv_net()), []), tmp_path / "half.onnx")

    assert groups(attested(tmp_path / "half.onnx", "fp16")) == {
        ("conv", "fp16", "fp32", 2),
        ("matmul", "fp16", "fp32", 1),
    }


@pytest.mark.parametrize("level", ["disable", "basic", "extended", "all"])
def test_products_keep_their_types_through_fusion(tmp_path, level):
    onnx.save(attention(), tmp_path / "attention.onnx")

    found = groups(attested(tmp_path / "attention.onnx", graph_optimization=level))

    assert {(kind, storage, compute) for kind, storage, compute, _ in found} == {("matmul", "fp32", "fp32")}
    assert sum(count for *_, count in found) == 8


def test_types_pass_through_operators_of_onnxruntime_s_own(tmp_path):
    nodes = [
        helper.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"),
        helper.make_node("MatMul", ["g", "g"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in ("x", "y")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "m", ends[:1], ends[1:]), opset_imports=opsets, ir_version=8),
        tmp_path / "m.onnx",
    )

    assert groups(attested(tmp_path / "m.onnx")) == {("matmul", "fp32", "fp32", 1)}


def test_quantised_operators_compute_in_int8(tmp_path):
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["y"]),
    ]
    save(tmp_path / "m.onnx", nodes, TensorProto.INT32)

    assert groups(attested(tmp_path / "m.onnx")) == {("matmul", "int8", "int8", 1)}


def test_pairs_around_a_product_in_floats_store_int8_and_compute_in_fp32(tmp_path):
    scale = ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *scale], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *scale], ["d"]),
        helper.make_node("DequantizeLinear", ["w", *scale], ["e"]),
        helper.make_node("MatMul", ["d", "e"], ["y"]),
    ]
    save(tmp_path / "m.onnx", nodes, TensorProto.FLOAT)

    assert groups(attested(tmp_path / "m.onnx", graph_optimization="disable")) == {("matmul", "int8", "fp32", 1)}


def save(path: Path, nodes: list, made: int) -> None:
    """A model of these nodes from x [2, 4] to y, with the weights that they read and nobody makes."""
    weights = [
        helper.make_tensor("w", TensorProto.INT8, [4, 4], [1] * 16),
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    ]
    taken = {name for node in nodes for name in node.input} - {name for node in nodes for name in node.output}
    ends = [helper.make_tensor_value_info(n, t, [2, 4]) for n, t in (("x", TensorProto.FLOAT), ("y", made))]
    graph = helper.make_graph(nodes, "m", ends[:1], ends[1:], [weight for weight in weights if weight.name in taken])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_nothing_is_left_on_disk_and_the_null_device_stays(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    onnx.save(conv_net(), tmp_path / "m.onnx")

    assert attested(tmp_path / "m.onnx")["rows"]
    assert list((tmp_path / "place").iterdir()) == []
    assert Path("/dev/null").is_char_device()


def test_the_tensorrt_provider_tells_settings_and_that_it_tells_no_more(monkeypatch):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    backend = BACKENDS.load("onnxruntime-tensorrt")()
    options = {"TensorrtExecutionProvider": {"trt_fp16_enable": "1", "trt_int8_enable": "0"}}
    session = SimpleNamespace(get_provider_options=lambda: options)
    seen = {"nodes": {"TensorrtExecutionProvider": {"Conv": 2, "Relu": 2, "Gemm": 1}}}

    assert backend._settings(session) == {"typing": "weak", "allowed": ["fp16"], "tf32": True}
    assert json.loads(json.dumps(backend._ran(session, None, None, seen)["layers"])) == [
        {"kind": "conv", "storage": "unknown", "compute": "unknown", "count": 2},
        {"kind": "matmul", "storage": "unknown", "compute": "unknown", "count": 1},
    ]


@pytest.mark.parametrize(("given", "tf32"), [("1", True), ("0", False)])
def test_the_cuda_provider_tells_the_tf32_that_it_uses(monkeypatch, given, tf32):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    session = SimpleNamespace(get_provider_options=lambda: {"CUDAExecutionProvider": {"use_tf32": given}})

    assert BACKENDS.load("onnxruntime-cuda")()._settings(session) == {"tf32": tf32}
