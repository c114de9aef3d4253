"""Rules of variants that change weights: the pattern they leave, what they touch, what they refuse."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from harness.errors import Unsupported
from harness.variants.pruning import spread, without_smallest
from harness.variants.sparsity import is_sparse, pruned
from harness.variants.weights import weights
from models import attention, conv_net
from test_variants import Shop, small
from test_variants import weights as random_weights

MODELS = {"conv_net": (conv_net, {"n": 4}), "attention": (attention, {"n": 2, "seq": 8})}


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def make(shop, model, *chain, precision="fp32", dimensions=None):
    return shop.make(model, precision, dimensions, chain=chain)


def layers(path):
    return {weight.layer: weight for weight in weights(onnx.load(path))}


# --- prune-2:4 ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(st.integers(1, 9), min_size=2, max_size=4), axis=st.integers(0, 1), seed=st.integers(0, 99))
def test_of_every_four_the_two_largest_are_kept(shape, axis, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    found = np.moveaxis(pruned(values, axis), axis, 0)
    for before, after in zip(
        *(np.moveaxis(one, axis, 0).reshape(shape[axis], -1).T for one in (values, np.moveaxis(found, 0, axis))),
        strict=True,
    ):
        for start in range(0, len(before), 4):
            group, kept = before[start : start + 4], after[start : start + 4]
            largest = np.sort(np.abs(group))[::-1][:2]
            np.testing.assert_array_equal(np.sort(np.abs(kept[kept != 0]))[::-1], largest)
            assert set(kept[kept != 0]) <= set(group)


def test_the_pattern_runs_along_what_is_added_up(shop):
    """Input channels of convolutions, rows of matrices: TensorRT's sparse kernels take no other."""
    for build, _ in MODELS.values():
        found = layers(make(shop, build(), "prune-2:4").path)
        sparse = [name for name, one in found.items() if is_sparse(one.values, one.axis)]
        assert {name for name, one in found.items() if one.values.shape[one.axis] >= 4} <= {*sparse}
    values = layers(make(shop, conv_net(), "prune-2:4").path)
    assert (values["c2"].axis, values["logits"].axis) == (1, 1)  # Gemm's weight lies transposed


def test_layers_with_fewer_than_four_input_channels_stay_dense(shop):
    variant = make(shop, conv_net(), "prune-2:4")
    np.testing.assert_array_equal(layers(variant.path)["c1"].values, layers(shop.folder / "m.onnx")["c1"].values)
    assert "prune-2:4: left dense, with fewer than four input channels: c1" in variant.notes


def test_zeros_and_their_pattern_survive_int8(shop):
    variant = make(shop, conv_net(), "prune-2:4", precision="int8", dimensions={"n": 8})
    stored = {one.name: numpy_helper.to_array(one) for one in onnx.load(variant.path).graph.initializer}
    for name, axis in (("w2", 1), ("w3", 1)):
        scale = stored[f"{name}_scale"].reshape(-1, *[1] * (stored[name].ndim - 1))
        quantised = np.round(stored[name] / scale)
        assert is_sparse(quantised, axis)
    assert any("nodes are int8" in note for note in variant.notes)
    assert any("are sparse" in note for note in variant.notes)


def test_weights_that_another_operator_reads_are_left_alone(shop):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "w"], ["y"])]
    with pytest.raises(Unsupported, match="and that nothing else reads"):
        make(shop, small(nodes, random_weights("w", 4, 4), {"x": [4, 4]}, {"y": [4, 4]}), "prune-2:4")


def test_weights_that_are_an_output_are_left_alone(shop):
    model = small([helper.make_node("MatMul", ["x", "w"], ["y"])], random_weights("w", 4, 4))
    model.graph.output.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 4]))
    with pytest.raises(Unsupported, match="and that nothing else reads"):
        make(shop, model, "prune-2:4")


def test_constants_in_nodes_are_weights_too(shop):
    value = numpy_helper.from_array(np.arange(1, 17, dtype=np.float32).reshape(4, 4))
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("MatMul", ["x", "w"], ["y"])]
    found = layers(make(shop, small(nodes, {}), "prune-2:4").path)["y"].values
    np.testing.assert_array_equal(found[:2], 0)
    np.testing.assert_array_equal(found[2:], np.arange(9, 17).reshape(2, 4))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: small([helper.make_node("Relu", ["x"], ["y"])], {}), "has no Conv, ConvTranspose, Gemm, MatMul"),
        (
            lambda: small([helper.make_node("MatMul", ["x", "w"], ["y"])], random_weights("w", 3, 4), {"x": ["n", 3]}),
            "four input channels or more",
        ),
        (
            lambda: small([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(4, dtype=np.float32)}),
            "have that pattern already",
        ),
    ],
)
def test_a_model_that_nothing_would_change_is_no_variant(shop, model, words):
    with pytest.raises(Unsupported, match=words):
        make(shop, model(), "prune-2:4")


# --- prune-N% -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1, 30, 85, 99])
def test_as_many_weights_are_zero_as_the_name_says(shop, share):
    found = layers(make(shop, conv_net(), f"prune-{share}%", dimensions={"n": 4}).path).values()
    zeros = sum(np.count_nonzero(one.values == 0) for one in found)
    assert zeros / sum(one.values.size for one in found) == pytest.approx(share / 100, abs=1e-3)


def test_layers_whose_loss_shows_keep_their_weights(shop):
    """Of two products that are added up the larger one decides; uniform pruning would cost far more."""
    nodes = [helper.make_node("MatMul", ["x", name], [f"y{name}"]) for name in ("a", "b")]
    nodes.append(helper.make_node("Add", ["ya", "yb"], ["y"]))
    values = {name: np.random.default_rng(seed).normal(0, size, (32, 32)).astype(np.float32)
              for seed, (name, size) in enumerate({"a": 1, "b": 0.01}.items())}  # fmt: skip
    model = small(nodes, values, {"x": ["n", 32]}, {"y": ["n", 32]})
    found = layers(make(shop, model, "prune-45%", dimensions={"n": 16}).path)
    assert (
        np.count_nonzero(found["ya"].values == 0)
        < 0.05 * 32**2
        < 0.8 * 32**2
        < np.count_nonzero(found["yb"].values == 0)
    )


def test_of_a_layer_the_smallest_weights_go_first():
    np.testing.assert_array_equal(without_smallest(np.array([[3.0, -1.0], [0.5, -2.0]]), 0.5), [[3, 0], [0, -2]])


def test_steps_are_taken_where_a_zero_costs_least():
    dear, cheap = {0.5: 1.0, 0.9: 2.0}, {0.5: 0.1, 0.9: 0.2}
    assert spread([dear, cheap], [100, 100], 0.4) == pytest.approx([0, 0.8])
    assert spread([dear, cheap], [100, 300], 0.7) == pytest.approx([0.1, 0.9])


def test_a_model_with_as_many_zeros_is_refused(shop):
    once = make(shop, conv_net(), "prune-2:4").path
    with pytest.raises(Unsupported, match="49% of the weights are zero already"):
        make(shop, onnx.load(once), "prune-40%", dimensions={"n": 2})


def test_a_chain_is_made_step_by_step_and_each_is_kept(shop):
    before = make(shop, conv_net(), "prune-2:4")
    both = make(shop, conv_net(), "prune-2:4", precision="fp16")
    assert before.digest != both.digest
    assert make(shop, conv_net(), "prune-2:4", precision="fp16") == both
