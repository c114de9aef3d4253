"""Rules of every variant for optimisation, and of those that store weights in fewer bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import Unsupported
from harness.inputs.feeds import feeds
from harness.records import PRECISIONS
from harness.sources.inspect import inspect
from harness.variants.chains import MAKES, spelt, step_of
from harness.variants.sizes import model_bytes, sizes
from models import attention, conv_net
from test_variants import Shop, build_engine, error, plan, session, signature, small
from test_variants import weights as random_weights


def normalised() -> onnx.ModelProto:
    """image [n, 4, 8, 8] -> logits [n, 5]: normalised convolutions, with bias and without, and idle nodes."""
    rng = np.random.default_rng(7)
    values = {
        "w1": rng.normal(0, 0.3, (8, 4, 3, 3)),
        "b1": rng.normal(0, 0.5, 8),
        "w2": rng.normal(0, 0.2, (8, 4, 3, 3)),  # two groups
        "w3": rng.normal(0, 0.2, (8, 6, 2, 2)),
        "w4": rng.normal(0, 0.3, (5, 6)),
        "one": np.array([1.0]),
        "two": np.array([2.0]),
    }
    for name, size in (("n1", 8), ("n2", 8), ("n3", 6)):
        values |= {f"{name}{part}": rng.uniform(0.5, 2, size) for part in ("scale", "var")}
        values |= {f"{name}{part}": rng.normal(0, 1, size) for part in ("shift", "mean")}
    node = helper.make_node
    parts = ("scale", "shift", "mean", "var")
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", *(f"n1{part}" for part in parts)], ["h1"], epsilon=0.01),
        node("Relu", ["h1"], ["r1"]),
        node("Identity", ["r1"], ["i1"]),
        node("Conv", ["i1", "w2"], ["c2"], group=2),
        node("BatchNormalization", ["c2", *(f"n2{part}" for part in parts)], ["h2"]),
        node("ConvTranspose", ["h2", "w3"], ["c3"]),
        node("BatchNormalization", ["c3", *(f"n3{part}" for part in parts)], ["h3"]),
        node("Add", ["one", "two"], ["three"]),
        node("Mul", ["h3", "three"], ["m"]),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w4"], ["logits"], transB=1),
    ]
    weights = {name: value.astype(np.float32) for name, value in values.items()}
    return small(nodes, weights, {"image": ["n", 4, 8, 8]}, {"logits": ["n", 5]})


MODELS = {
    "conv_net": (conv_net, {"n": 4}),
    "attention": (attention, {"n": 2, "seq": 8}),
    "normalised": (normalised, {"n": 4}),
}
TEXTS = [text.replace("N%", "30%").replace("-N", "-1") for text in spelt() if not text.endswith("db")]
"""Every step; limits in decibels depend on the model, and are the same functions."""
LARGEST_ERROR = {
    "fold-bn": 1e-5,
    "clean": 1e-5,
    "weights-int8": 2e-2,
    "weights-int4": 0.3,
    "dynamic-int8": 5e-2,
    "mixed-int8-1": 5e-2,
    "mixed-fp16-1": 1e-3,
}
"""RMS of the error over RMS of the fp32 output, where there is one that holds for any model."""
REFUSED = {"dynamic-int8"}
"""By TensorRT for RTX, which has no integer products with ranges of their own."""

NOTHING_TO_DO = {(step, name) for step in ("fold-bn", "clean") for name in ("conv_net", "attention")}


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def batch(path, dimensions):
    return feeds(plan("fp32", dimensions), inspect(path), ()).batches[0]


def outputs(path, dimensions):
    return session(path).run(None, batch(path, dimensions))[0]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", MODELS)
class TestEveryStep:
    """What holds for every step on every model."""

    @pytest.fixture
    def variant(self, shop, text, name):
        build, dimensions = MODELS[name]
        precision = MAKES.get(step_of(text).name, "fp32")
        if (text, name) in NOTHING_TO_DO:
            pytest.skip("nothing to do, and refused (see below)")
        return shop.make(build(), precision, dimensions, chain=(text,))

    def test_is_a_valid_model_with_the_same_inputs_and_outputs(self, shop, variant):
        onnx.checker.check_model(str(variant.path), full_check=True)
        assert signature(variant.path) == signature(shop.folder / "m.onnx")

    def test_reads_back_equal_and_gives_the_same(self, shop, variant, name):
        again = shop.folder / "again.onnx"
        onnx.save(onnx.load(variant.path), again)
        assert onnx.load(again) == onnx.load(variant.path)
        np.testing.assert_array_equal(outputs(again, MODELS[name][1]), outputs(variant.path, MODELS[name][1]))

    def test_is_not_the_model_and_says_what_it_did(self, shop, variant, text):
        assert variant.path.read_bytes() != (shop.folder / "m.onnx").read_bytes()
        assert any(note.startswith(f"{text}: ") for note in variant.notes)

    def test_is_made_once_and_alike(self, shop, variant, text, name):
        build, dimensions = MODELS[name]
        other = Shop(shop.folder / "other")
        other.folder.mkdir()
        precision = MAKES.get(step_of(text).name, "fp32")
        assert shop.make(build(), precision, dimensions, chain=(text,)) == variant
        assert other.make(build(), precision, dimensions, chain=(text,)).digest == variant.digest

    def test_every_node_has_a_name_of_its_own(self, variant):
        names = [node.name for node in onnx.load(variant.path).graph.node]
        assert all(names)
        assert len(set(names)) == len(names)

    def test_comes_near_to_the_model(self, shop, variant, text, name):
        reference, found = (outputs(path, MODELS[name][1]) for path in (shop.folder / "m.onnx", variant.path))
        assert error(found, reference) < LARGEST_ERROR.get(text, 1.0)

    def test_tensorrt_for_rtx_builds_it(self, variant, text):
        trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
        if text in REFUSED:
            with pytest.raises(AssertionError):
                build_engine(trt, variant.path)
        else:
            assert build_engine(trt, variant.path) is not None


def test_every_precision_that_a_step_makes_is_one():
    assert {*MAKES.values()} <= {*PRECISIONS}


@pytest.mark.parametrize("text", TEXTS)
def test_a_model_without_layers_is_refused_not_passed_on(shop, text):
    """What changes nothing is no variant: a case that claims to be optimised is."""
    precision = MAKES.get(step_of(text).name, "fp32")
    with pytest.raises(Unsupported, match=f"cannot make the ({text}|{precision}) variant: "):
        shop.make(small([helper.make_node("Relu", ["x"], ["y"])], {}), precision, chain=(text,))


# --- weights alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "share"), [("weights-int8", 0.3), ("weights-int4", 0.22)])
def test_the_file_is_as_much_smaller_as_its_weights(shop, text, share):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = small(nodes, random_weights("w", 256, 128), {"x": ["n", 256]}, {"y": ["n", 128]})
    variant = shop.make(model, "as-is", chain=(text,))
    assert model_bytes(variant.path) < share * model_bytes(shop.folder / "m.onnx")


@pytest.mark.parametrize(("text", "bits"), [("weights-int8", 8), ("weights-int4", 4)])
@pytest.mark.parametrize("size", [3, 32, 45])
def test_weights_are_off_by_half_a_step_at_most(shop, text, bits, size):
    """Also where the last block of 32 is incomplete, and where the number of weights is odd."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    values = random_weights("w", size, 3)
    shapes = {"x": ["n", size]}, {"y": ["n", 3]}
    variant = shop.make(small(nodes, values, *shapes), "as-is", chain=(text,))
    found = session(variant.path).run(None, {"x": np.eye(size, dtype=np.float32)})[0]
    step = np.abs(values["w"]).max() / (2 ** (bits - 1) - 1)
    assert np.abs(found - values["w"]).max() <= step / 2 * 1.001


def test_gemm_with_transposed_weights_has_a_scale_for_each_output(shop):
    model = onnx.load(shop.make(conv_net(), "as-is", chain=("weights-int8",)).path)
    scales = {one.name: list(one.dims) for one in model.graph.initializer if one.name.endswith("/scales")}
    assert scales == {"w1/scales": [8], "w2/scales": [16], "w3/scales": [10]}


def test_zeros_stay_zeros_when_weights_are_stored_in_few_bits(shop):
    variant = shop.make(conv_net(), "as-is", chain=("prune-2:4", "weights-int8"))
    stored = {one.name: numpy_helper.to_array(one) for one in onnx.load(variant.path).graph.initializer}
    assert stored["w2/quantised"].dtype == np.int8
    assert np.count_nonzero(stored["w2/quantised"]) <= stored["w2/quantised"].size / 2


def test_dynamic_int8_keeps_convolutions_in_float(shop):
    variant = shop.make(conv_net(), "as-is", chain=("dynamic-int8",))
    ops = [node.op_type for node in onnx.load(variant.path).graph.node]
    assert (ops.count("Conv"), ops.count("MatMulInteger"), ops.count("Gemm")) == (2, 1, 0)
    assert "dynamic-int8: 1 matrix products are in integers, 0 in float" in variant.notes


# --- what a file weighs -------------------------------------------------------------------------------------------


def test_the_size_counts_weights_beside_the_file(tmp_path):
    onnx.save(conv_net(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert model_bytes(tmp_path / "m.onnx") > 4 * 2560
    assert model_bytes(tmp_path / "m.onnx") == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_zeros_count_in_the_share_and_in_what_compression_wins(shop):
    half = random_weights("w", 64, 64)
    half["w"][:32] = 0
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = shop.store(small(nodes, half, {"x": ["n", 64]}, {"y": ["n", 64]}))
    found = sizes(path)
    assert found["weights_zero_share"] == 0.5
    assert 0.4 < found["model_compressed_bytes"] / model_bytes(path) < 0.6


def test_int4_is_stored_two_a_byte(shop):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    variant = shop.make(small(nodes, random_weights("w", 4, 4)), "as-is", chain=("weights-int4",))
    stored = {one.name: one for one in onnx.load(variant.path).graph.initializer}
    assert stored["w/quantised"].data_type == TensorProto.INT4
    assert len(stored["w/quantised"].raw_data) == 8


# --- layers by their sensitivity ----------------------------------------------------------------------------------


def lopsided() -> onnx.ModelProto:
    """x [n, 16] -> y [n, 16] through two products; one of the 16 numbers between them is a thousand times larger."""
    first, second = (random_weights("w", 16, 16)["w"].copy() for _ in range(2))
    first[:, 0] *= 1000
    second[0] /= 1000
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["h"]), helper.make_node("MatMul", ["h", "w2"], ["y"])]
    return small(nodes, {"w1": first, "w2": second}, {"x": ["n", 16]}, {"y": ["n", 16]})


def quantised_layers(path):
    nodes = onnx.load(path).graph.node
    given = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.output[0] for node in nodes if node.op_type in ("MatMul", "Conv", "Gemm") and given & {*node.input}}


def test_the_layer_that_costs_most_stays_in_fp32(shop):
    variant, whole = (shop.make(lopsided(), "int8", {"n": 64}, chain=chain) for chain in (("mixed-int8-1",), ()))
    assert quantised_layers(variant.path) == {"h"}
    reference = outputs(shop.folder / "m.onnx", {"n": 64})
    mixed, plain = (error(outputs(one.path, {"n": 64}), reference) for one in (variant, whole))
    assert mixed < plain / 5


def test_layers_stay_in_fp32_until_the_limit_holds_and_no_longer(shop):
    reference = outputs(shop.store(conv_net()), {"n": 8})
    counts = []
    for db in (36, 39):
        path = shop.make(conv_net(), "int8", {"n": 8}, chain=(f"mixed-int8-{db}db",)).path
        assert error(outputs(path, {"n": 8}), reference) <= 10 ** (-db / 20) * 1.001
        counts.append(len(quantised_layers(path)))
    assert counts == [2, 1]


def test_a_limit_that_holds_anyway_or_never_is_refused(shop):
    for db, words in ((5, "holds already"), (300, "with no layer in the precision")):
        with pytest.raises(Unsupported, match=words):
            shop.make(conv_net(), "int8", {"n": 8}, chain=(f"mixed-int8-{db}db",))


def test_more_layers_than_there_are_cannot_stay(shop):
    with pytest.raises(Unsupported, match="some must be left in it"):
        shop.make(conv_net(), "int8", {"n": 8}, chain=("mixed-int8-3",))


# --- folding and cleaning -----------------------------------------------------------------------------------------


def test_normalisations_behind_layers_are_gone(shop):
    variant = shop.make(normalised(), "fp32", {"n": 2}, chain=("fold-bn",))
    assert not [node for node in onnx.load(variant.path).graph.node if node.op_type == "BatchNormalization"]
    assert "fold-bn: 3 of 3 batch normalisations are folded" in variant.notes


def hindered(case: str) -> onnx.ModelProto:
    """The normalised model, whose last normalisation cannot be folded."""
    model = normalised()
    nodes = {node.output[0]: node for node in model.graph.node}
    if case == "two readers":
        nodes["m"].input[1] = "extra"
        model.graph.node.insert(8, helper.make_node("ReduceMax", ["c3"], ["extra"]))
    elif case == "shared weights":
        nodes["m"].input[1] = "extra"
        model.graph.node.insert(8, helper.make_node("ConvTranspose", ["h2", "w3"], ["extra"]))
    elif case == "no layer in front":
        nodes["h3"].input[0] = "extra"
        model.graph.node.insert(7, helper.make_node("Relu", ["c3"], ["extra"]))
    else:
        nodes["c3"].input.append("extra")
        model.graph.node.insert(6, helper.make_node("Mul", ["n3mean", "n3var"], ["extra"]))
    return model


@pytest.mark.parametrize("case", ["two readers", "shared weights", "no layer in front", "computed bias"])
def test_a_normalisation_that_cannot_be_folded_is_left(shop, case):
    variant = shop.make(hindered(case), "fp32", {"n": 2}, chain=("fold-bn",))
    assert "fold-bn: 2 of 3 batch normalisations are folded; left: h3" in variant.notes
    assert error(outputs(variant.path, {"n": 2}), outputs(shop.folder / "m.onnx", {"n": 2})) < 1e-5


def test_cleaning_folds_constants_and_drops_what_does_nothing(shop):
    nodes = [helper.make_node("Identity", ["x"], ["i"]), helper.make_node("Add", ["one", "two"], ["three"])]
    nodes += [helper.make_node("Mul", ["i", "three"], ["y"])]
    model = small(nodes, {name: np.ones(1, np.float32) for name in ("one", "two")})
    variant = shop.make(model, "fp32", chain=("clean",))
    made = onnx.load(variant.path)
    assert [node.op_type for node in made.graph.node] == ["Mul"]
    assert [entry.domain for entry in made.opset_import] == [""]
    assert variant.notes == ("clean: 3 nodes became 1: without 1 Add, 1 Identity, with none more",)


@pytest.mark.parametrize("text", ["fold-bn", "clean"])
def test_what_was_done_is_not_done_again(shop, text):
    """A second pass finds nothing, and says so."""
    once = shop.make(normalised(), "fp32", {"n": 2}, chain=(text,))
    with pytest.raises(Unsupported, match=f"cannot make the {text} variant"):
        shop.make(onnx.load(once.path), "fp32", {"n": 2}, chain=(text,))
