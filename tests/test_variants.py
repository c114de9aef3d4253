"""Rules of the precision variants: what they keep, what they change, what they tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import plans
from harness.cache import Cache
from harness.errors import BuildError, InputError, Unsupported
from harness.inputs.feeds import feeds
from harness.records import Calibration, InputSpec, Plan, Source
from harness.sources.digest import model_digest
from harness.sources.inspect import inspect
from harness.sources.local import file
from harness.variants import VARIANTS, graph, store
from harness.variants import float16 as fp16_module
from harness.variants.prepare import prepare
from models import attention, conv_net

MODELS = {"conv_net": (conv_net, {"n": 4}), "attention": (attention, {"n": 2, "seq": 8})}
CONVERTED = ("fp16", "bf16", "int8")
UNCHANGED = ("fp32", "tf32", "as-is")
LARGEST_ERROR = {"fp16": 2e-3, "bf16": 2e-2, "int8": 5e-2}
"""RMS of the error over RMS of the fp32 output; the models measure about a third of it."""


def plan(precision: str, dimensions=None, **changes) -> Plan:
    dimensions = dimensions or {}
    return plans.plan(precision, dimensions=dimensions, **{"shapes": (dimensions,), **changes})


class Shop:
    """A folder with models and a cache; makes variants of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, Cache(folder / "cache")

    def store(self, model, name="m") -> Path:
        path = self.folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    def make(self, model, precision, dimensions=None, **changes):
        path = self.store(model)
        wanted = plan(precision, dimensions, **changes)
        return prepare(wanted, file(Source("file", str(path)), self.folder), inspect(path), self.cache)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def small(nodes, weights, inputs=None, outputs=None, opset=17, **options):
    """A model of x [n, 4] -> y [n, 4] in fp32, unless told otherwise."""
    inner = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in (inputs or {"x": ["n", 4]}).items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in (outputs or {"y": ["n", 4]}).items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), *options.pop("imports", ())]
    return helper.make_model(inner, opset_imports=imports, **{"ir_version": 8, **options})


def weights(name, *shape):
    return {name: np.random.default_rng(3).normal(0, 0.5, shape).astype(np.float32)}


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def error(found, reference) -> float:
    return float(np.sqrt(np.mean((found - reference) ** 2) / np.mean(reference**2)))


def signature(path):
    info = inspect(path)
    return [(tensor.name, tensor.dtype, tensor.dims) for tensor in (*info.inputs, *info.outputs)]


# --- all of them --------------------------------------------------------------------------------------------------


def test_every_precision_has_a_rule():
    assert sorted(VARIANTS) == sorted((*CONVERTED, *UNCHANGED, "fp8"))


@pytest.mark.parametrize("precision", UNCHANGED)
def test_model_itself_is_built_where_settings_make_the_precision(shop, precision):
    variant = shop.make(conv_net(), precision)
    assert (variant.path, variant.notes) == (shop.folder / "m.onnx", ())
    assert variant.digest == model_digest(variant.path)


@pytest.mark.parametrize("precision", [*CONVERTED, "fp8"])
def test_own_file_is_used_unchanged(shop, precision):
    own = shop.store(conv_net(), "own")
    assert shop.make(conv_net(), precision, files={precision: str(own)}).path == own


def test_own_file_with_other_inputs_is_refused(shop):
    own = shop.store(attention(), "own")
    with pytest.raises(InputError) as told:
        shop.make(conv_net(), "fp16", files={"fp16": str(own)})
    assert "it has no input 'image' float32 [n, 1, 8, 8]" in str(told.value)
    assert "input 'tokens' float32 [n, seq, 32] is none of the model's" in str(told.value)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({"x": ["n", 4, 1]}, {}, "input 'x' float32 [n, 4, 1] is 'x' float32 [n, 4] in the model"),
        ({"x": [8, 5]}, {}, "input 'x' float32 [8, 5] is 'x' float32 [n, 4] in the model"),
        ({}, {"y": [4]}, "output 'y' float32 [4] is 'y' float32 [n, 4] in the model"),
        ({"x": [8, 4]}, {"y": [8, 4]}, None),
        ({"x": ["m", "k"]}, {"y": ["m", "k"]}, None),
    ],
)
def test_own_file_keeps_the_rank_and_the_fixed_sizes_of_the_model(shop, inputs, outputs, words):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    own = shop.store(small(relu, {}, inputs or None, outputs or None), "own")
    if words is None:
        assert shop.make(small(relu, {}), "fp16", files={"fp16": str(own)}).path == own
        return
    with pytest.raises(InputError) as told:
        shop.make(small(relu, {}), "fp16", files={"fp16": str(own)})
    assert words in str(told.value)


def test_fp8_without_a_file_says_how_to_give_one(shop):
    with pytest.raises(InputError, match=r"files: \{fp8"):
        shop.make(conv_net(), "fp8")


@pytest.mark.parametrize("precision", CONVERTED)
@pytest.mark.parametrize("name", MODELS)
class TestConverted:
    """What holds for every conversion of every model."""

    @pytest.fixture
    def variant(self, shop, precision, name):
        build, dimensions = MODELS[name]
        return shop.make(build(), precision, dimensions)

    def test_is_a_valid_model_with_the_same_inputs_and_outputs(self, shop, variant):
        onnx.checker.check_model(str(variant.path), full_check=True)
        assert signature(variant.path) == signature(shop.folder / "m.onnx")

    def test_every_node_has_a_name_of_its_own(self, variant):
        names = [node.name for node in onnx.load(variant.path).graph.node]
        assert all(names)
        assert len(set(names)) == len(names)

    def test_comes_near_to_fp32(self, shop, variant, precision, name):
        dimensions = MODELS[name][1]
        batch = feeds(plan("fp32", dimensions), inspect(variant.path), ()).batches[0]
        reference = session(shop.folder / "m.onnx").run(None, batch)[0]
        # ONNX Runtime's CPU has no bf16 kernels
        run = ReferenceEvaluator(str(variant.path)).run if precision == "bf16" else session(variant.path).run
        found = error(run(None, batch)[0], reference)
        assert LARGEST_ERROR[precision] / 100 < found < LARGEST_ERROR[precision]

    def test_is_made_once(self, shop, variant, precision, name, monkeypatch):
        monkeypatch.setattr(store, "save", None)
        before = variant.path.stat().st_mtime_ns
        assert shop.make(MODELS[name][0](), precision, MODELS[name][1]) == variant
        assert variant.path.stat().st_mtime_ns == before

    def test_nothing_else_is_left_behind(self, shop, variant):
        left = [path.name for path in shop.cache.folder.rglob("*") if path.is_file()]
        assert len(left) == 2
        assert variant.path.name in left

    def test_tensorrt_for_rtx_builds_it_strongly_typed(self, variant):
        trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
        assert build_engine(trt, variant.path) is not None


def build_engine(trt, path):
    """The engine of a model whose free dimensions go from 1 to 8; AssertionError with the parser's words."""
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    parsed = parser.parse_from_file(str(path))
    assert parsed, [parser.get_error(number).desc() for number in range(parser.num_errors)]
    profile, config = builder.create_optimization_profile(), builder.create_builder_config()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        least, most = ([size if size > 0 else free for size in tensor.shape] for free in (1, 8))
        profile.set_shape(tensor.name, least, most, most)
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


@pytest.mark.parametrize("precision", CONVERTED)
def test_model_above_the_limit_of_one_file_gets_its_weights_beside_it(shop, precision, monkeypatch):
    monkeypatch.setattr(graph, "INLINE_BYTES", 1000)
    variant = shop.make(conv_net(), precision, {"n": 2})
    assert variant.path.with_suffix(".data").is_file()
    assert variant.digest == model_digest(variant.path)
    assert precision == "bf16" or session(variant.path)


@pytest.mark.parametrize("precision", CONVERTED)
def test_weights_beside_the_model_are_converted_too(shop, precision):
    onnx.save(conv_net(), shop.folder / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    fetched = file(Source("file", str(shop.folder / "big.onnx")), shop.folder)
    variant = prepare(plan(precision, {"n": 2}), fetched, inspect(fetched.model), shop.cache)
    assert variant.path.stat().st_size > 2 * 10 * 256  # the fully connected layer alone, in half precision


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_initializers_listed_as_inputs_are_converted_without_casts(shop, precision):
    shapes = {"w": [4, 4], "x": ["n", 4]}
    old = small([helper.make_node("MatMul", ["x", "w"], ["y"])], weights("w", 4, 4), shapes, opset=9, ir_version=3)
    model = onnx.load(shop.make(old, precision).path)
    assert [value.name for value in model.graph.input] == ["x"]
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul", "Cast"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_functions_of_the_model_are_converted(shop, precision):
    body = [helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("Mul", ["a", "s"], ["b"])]
    silu = helper.make_function("own", "silu", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("silu", ["x"], ["y"], domain="own")]
    model = small(nodes, {}, functions=[silu], imports=[helper.make_opsetid("own", 1)])
    made = onnx.load(shop.make(model, precision).path)
    assert [node.op_type for node in made.graph.node] == ["Cast", "Sigmoid", "Mul", "Cast"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_nodes_that_stay_in_fp32_are_noted_and_cast_once(shop, precision):
    nodes = [helper.make_node("Max", ["x", "x"], ["a"]), helper.make_node("Min", ["x", "a"], ["y"])]
    variant = shop.make(small(nodes, {}), precision)
    assert "kept in fp32: Max, Min" in variant.notes
    names = [name for node in onnx.load(variant.path).graph.node for name in node.output]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_short_hand_constants_are_converted(shop, precision):
    nodes = [helper.make_node("Constant", [], ["c"], value_float=2.5), helper.make_node("Mul", ["x", "c"], ["y"])]
    path = shop.make(small(nodes, {}), precision).path
    batch = {"x": np.ones((1, 4), np.float32)}
    np.testing.assert_array_equal(ReferenceEvaluator(str(path)).run(None, batch)[0], 2.5 * batch["x"])


@pytest.mark.parametrize("precision", CONVERTED)
def test_sequences_are_unsupported(shop, precision):
    model = small([helper.make_node("SequenceConstruct", ["x"], ["y"])], {})
    model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["n", 4]))
    with pytest.raises(Unsupported, match="not tensors"):
        shop.make(model, precision)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(RuntimeError("lost a node"), BuildError), (RuntimeError("Foo is not supported"), Unsupported)],
)
def test_failed_conversion_is_told_in_the_converters_words_and_leaves_nothing(shop, monkeypatch, failure, kind):
    def fail(*arguments, **options):
        raise failure

    monkeypatch.setattr(fp16_module, "convert_float_to_float16", fail)
    with pytest.raises(kind, match=f"cannot make the fp16 variant: {failure}"):
        shop.make(conv_net(), "fp16")
    assert [path for path in shop.cache.folder.rglob("*") if path.is_file()] == []


# --- fp16 and bf16 ------------------------------------------------------------------------------------------------


def test_fp16_notes_weights_beyond_its_range(shop):
    mask = np.array([0, -3.4e38, 1e5, -np.inf], np.float32)
    variant = shop.make(small([helper.make_node("Add", ["x", "m"], ["y"])], {"m": mask}), "fp16")
    assert variant.notes == ("2 weights beyond fp16's ±65504 were clipped",)


def test_bf16_weights_are_rounded_from_fp32_to_nearest_even(shop):
    # 1 + 2^-8 lies half-way between two bf16 numbers, the next just above; fp16 could hold neither 1e-30 nor 1e30
    values = np.array([1 + 2**-8, 1 + 2**-8 + 2**-20, 1e-30, 1e30], np.float32)
    variant = shop.make(small([helper.make_node("Add", ["x", "w"], ["y"])], {"w": values}), "bf16")
    stored = onnx.load(variant.path).graph.initializer[0]
    assert stored.data_type == TensorProto.BFLOAT16
    bits = np.frombuffer(stored.raw_data, np.uint16).astype(np.uint32) << 16
    np.testing.assert_array_equal(bits.view(np.float32)[:2], [1, 1 + 2**-7])
    np.testing.assert_allclose(bits.view(np.float32)[2:], values[2:], rtol=2**-8)


def test_bf16_raises_the_opset_only_where_an_operator_needs_it(shop):
    assert inspect(shop.make(attention(), "bf16").path).opset == 17
    variant = shop.make(conv_net(), "bf16")
    assert inspect(variant.path).opset == 22
    assert variant.notes == ("opset raised from 17 to 22, which the conversion needs",)


def test_bf16_leaves_no_half_precision_behind(shop):
    model = onnx.load(shop.make(conv_net(), "bf16").path)
    assert not any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    assert not any(attribute.i == TensorProto.FLOAT16 for node in model.graph.node for attribute in node.attribute)


def test_bf16_of_a_half_precision_model_is_unsupported(shop):
    half = {"w": np.ones(4, np.float16)}
    nodes = [helper.make_node("Cast", ["w"], ["v"], to=1), helper.make_node("Add", ["x", "v"], ["y"])]
    with pytest.raises(Unsupported, match="already has float16"):
        shop.make(small(nodes, half), "bf16")


# --- int8 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_int8_is_symmetric_with_float_biases(shop, name):
    model = onnx.load(shop.make(MODELS[name][0](), "int8", MODELS[name][1]).path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = stored[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    assert not any(tensor.data_type == TensorProto.INT32 for tensor in model.graph.initializer)


def test_int8_weights_have_a_scale_per_channel(shop):
    model = onnx.load(shop.make(conv_net(), "int8", {"n": 2}).path)
    scales = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer if tensor.name.endswith("_scale")}
    assert (scales["w1_scale"], scales["w2_scale"], scales["w3_scale"]) == ([8], [16], [10])


def test_int8_leaves_outputs_of_products_alone_so_that_activations_fuse(shop):
    nodes = onnx.load(shop.make(conv_net(), "int8", {"n": 2}).path).graph.node
    quantised = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert quantised.isdisjoint({"c1", "c2", "logits"})


def test_int8_keeps_the_factors_of_gemm(shop):
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)]
    model = small(nodes, {**weights("w", 4, 4), **weights("b", 4)})
    variant = shop.make(model, "int8", {"n": 16})
    batch = feeds(plan("fp32", {"n": 16}), inspect(variant.path), ()).batches[0]
    reference = session(shop.folder / "m.onnx").run(None, batch)[0]
    assert error(session(variant.path).run(None, batch)[0], reference) < LARGEST_ERROR["int8"]


def test_int8_scales_constants_with_batch_axes_as_a_whole(shop):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    shapes = {"x": ["n", 3, 4]}, {"y": ["n", 3, 4]}
    model = onnx.load(shop.make(small(nodes, weights("w", 1, 4, 4), *shapes), "int8", {"n": 2}).path)
    scales = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    assert scales["w_scale"] == []


def calibration(shop, count=40, **options) -> Calibration:
    images = np.random.default_rng(5).normal(0, 1, (count, 1, 8, 8)).astype(np.float32)
    np.savez(shop.folder / "images.npz", images=images)
    return Calibration(str(shop.folder / "images.npz"), "images", **options)


def test_int8_is_the_same_file_for_every_shape(shop):
    for data in (None, calibration(shop)):
        shapes = ({"n": 1}, {"n": 8})
        made = {shop.make(conv_net(), "int8", one, shapes=shapes, calibration=data).digest for one in shapes}
        assert len(made) == 1


def test_int8_tells_what_it_was_calibrated_on(shop):
    data = calibration(shop, samples=20)
    assert "calibrated on 20 rows of images.npz" in shop.make(conv_net(), "int8", calibration=data).notes
    notes = shop.make(conv_net(), "int8").notes
    assert any(note.startswith("no calibration data") for note in notes)
    assert "3 of 3 Conv, Gemm nodes are int8" in notes


def test_int8_depends_on_the_calibration_data(shop):
    few, many = (shop.make(conv_net(), "int8", calibration=calibration(shop, samples=rows)) for rows in (1, 40))
    assert few.digest != many.digest


def test_int8_calibrates_a_fixed_batch_on_whole_batches(shop):
    model = conv_net()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 16
    assert "calibrated on 32 rows of images.npz" in shop.make(model, "int8", calibration=calibration(shop)).notes
    with pytest.raises(InputError, match="fewer rows than a batch of 16"):
        shop.make(model, "int8", calibration=calibration(shop, samples=8))


def test_int8_calibration_of_several_inputs_must_name_one(shop):
    nodes = [helper.make_node("MatMul", ["x", "z"], ["y"])]
    model = small(nodes, {}, {"x": ["n", 4], "z": [4, 4]})
    np.save(shop.folder / "x.npy", np.ones((3, 4), np.float32))
    data = Calibration(str(shop.folder / "x.npy"))
    with pytest.raises(InputError, match="`input` must say which of x, z"):
        shop.make(model, "int8", calibration=data)
    with pytest.raises(InputError, match="no input 'xx'"):
        shop.make(model, "int8", calibration=replace(data, input="xx"))
    assert shop.make(model, "int8", calibration=replace(data, input="x"), inputs={"z": InputSpec("normal")})


@pytest.mark.parametrize("op", ["Relu", "Softmax"])
def test_int8_of_a_model_without_products_is_unsupported(shop, op):
    with pytest.raises(Unsupported, match="has none of Conv"):
        shop.make(small([helper.make_node(op, ["x"], ["y"])], {}), "int8")


def test_int8_of_a_quantised_model_is_unsupported(shop):
    quantised = shop.make(conv_net(), "int8")
    with pytest.raises(Unsupported, match="quantised already"):
        shop.make(onnx.load(quantised.path), "int8")


def test_int8_raises_an_old_opset_for_scales_per_channel(shop):
    variant = shop.make(conv_net(11), "int8")
    assert inspect(variant.path).opset == 13
    assert "opset raised from 11 to 13, which the conversion needs" in variant.notes


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: data[:-1] + b"\0", lambda _: b""])
def test_a_kept_variant_that_was_spoilt_is_made_again(shop, spoil):
    first = shop.make(conv_net(), "fp16", {"n": 4})
    first.path.write_bytes(spoil(first.path.read_bytes()))

    again = shop.make(conv_net(), "fp16", {"n": 4})

    assert again == first
    onnx.checker.check_model(str(again.path))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_model_in_half_precision_is_refused_by_name(shop, precision):
    half = onnx.load(shop.make(conv_net(), "fp16", {"n": 4}).path)

    with pytest.raises(
        Unsupported, match=f"cannot make the {precision} variant: the model already has float16 tensors"
    ):
        shop.make(half, precision, {"n": 4})


def _adder(dtype: int):
    values = [helper.make_tensor_value_info(name, dtype, ["n", 4]) for name in ("x", "y")]
    made = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "adder", values[:1], values[1:])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.INT64])
def test_a_model_without_a_float32_tensor_has_nothing_to_convert(shop, precision, dtype):
    with pytest.raises(Unsupported, match=f"cannot make the {precision} variant: .* no float32 .* use precision as-is"):
        shop.make(_adder(dtype), precision)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_half_precision_in_the_file_is_told_where_fp32_is_asked_for(shop, precision):
    note = "the file holds float16 tensors: they stay"

    assert shop.make(_adder(TensorProto.FLOAT16), precision).notes == (note,)
    assert shop.make(_adder(TensorProto.FLOAT), precision).notes == ()
    assert shop.make(_adder(TensorProto.FLOAT16), "as-is").notes == ()


def test_a_file_in_half_precision_is_its_own_fp16_variant(shop):
    made = shop.make(_adder(TensorProto.FLOAT16), "fp16")

    assert inspect(made.path).inputs[0].dtype == "float16"
