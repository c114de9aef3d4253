"""Rules of the feeds: where values come from, how they are cut into batches, what is refused."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import plans
from harness.errors import CaseError, InputError, Unsupported
from harness.inputs import GENERATORS
from harness.inputs.dtypes import numpy_dtype
from harness.inputs.feeds import feeds, feeds_digest
from harness.inputs.files import read_array
from harness.inputs.random import generator
from harness.inputs.stored import stored_outputs
from harness.records import InputSpec, Plan, Source
from harness.sources.inspect import ModelInfo, TensorInfo, inspect
from harness.sources.local import folder

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def plan(inputs=None, **dimensions) -> Plan:
    return plans.plan(inputs=inputs or {}, dimensions=dimensions, shapes=(dimensions,))


def info(*inputs: TensorInfo) -> ModelInfo:
    return ModelInfo(inputs=inputs, outputs=(TensorInfo("y", "float32", ("n",)),), opset=17)


X = TensorInfo("x", "float32", ("n", 2))
IDS = TensorInfo("ids", "int64", ("n", "seq"))


@pytest.fixture
def rows(tmp_path):
    """Writes an array to a file and gives the spec that reads it."""

    def write(array, name="x", **spec):
        np.save(tmp_path / f"{name}.npy", array)
        return InputSpec("file", file=str(tmp_path / f"{name}.npy"), **spec)

    return write


def ramp(count, width=2, dtype=np.float32):
    return np.arange(count * width).reshape(count, width).astype(dtype)


def test_set_dimensions_shape_the_inputs_and_unset_ones_are_one_and_noted():
    made = feeds(plan(n=3), info(X, IDS), ())
    assert {name: array.shape for name, array in made.batches[0].items()} == {"x": (3, 2), "ids": (3, 1)}
    assert "dimension 'seq' is not set: 1" in made.notes


def test_axis_without_a_name_is_one_and_noted():
    made = feeds(plan(), info(TensorInfo("x", "float32", (None, 2))), ())
    assert made.batches[0]["x"].shape == (1, 2)
    assert made.notes == ("axis 0 of input 'x' has no name: 1",)


def test_axis_of_size_zero_stays_zero():
    assert feeds(plan(), info(TensorInfo("x", "float32", (0, 2))), ()).batches[0]["x"].shape == (0, 2)


def test_unknown_dimension_names_the_nearest():
    with pytest.raises(InputError, match="no dimension 'sequ', did you mean 'seq'"):
        feeds(plan(sequ=3), info(IDS), ())


def test_unknown_input_names_the_nearest():
    with pytest.raises(InputError, match="no input 'idz', did you mean 'ids'"):
        feeds(plan({"idz": InputSpec("ones")}), info(IDS), ())


def test_same_plan_gives_same_digest_and_another_seed_another():
    one = feeds(plan({"x": InputSpec("normal")}, n=4), info(X), ())
    assert one.digest == feeds(plan({"x": InputSpec("normal")}, n=4), info(X), ()).digest
    assert one.digest != feeds(plan({"x": InputSpec("normal", seed=1)}, n=4), info(X), ()).digest


def test_values_of_an_input_do_not_depend_on_the_other_inputs():
    alone = feeds(plan(n=2), info(X), ()).batches[0]["x"]
    np.testing.assert_array_equal(alone, feeds(plan(n=2), info(IDS, X), ()).batches[0]["x"])


def test_digest_tells_names_types_shapes_values_and_batches_apart():
    x = np.zeros((2, 2), np.float32)
    others = [
        [{"x": x}],
        [{"y": x}],
        [{"x": x.view(np.int32)}],
        [{"x": x.reshape(4)}],
        [{"x": x + 1}],
        [{"x": x}, {"x": x}],
        [{"x": np.array(["ab", "c"], object)}],
        [{"x": np.array(["a", "bc"], object)}],
        [{"x": x.astype(ml_dtypes.bfloat16)}],
    ]
    assert len({feeds_digest(batches) for batches in others}) == len(others)


def test_more_rows_than_the_batch_are_streamed_in_order_and_the_last_batch_is_smaller(rows):
    made = feeds(plan({"x": rows(ramp(5))}, n=2), info(X, IDS), ())
    assert [len(batch["x"]) for batch in made.batches] == [2, 2, 1]
    assert [len(batch["ids"]) for batch in made.batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in made.batches]), ramp(5))


def test_streamed_batches_are_views(rows):
    made = feeds(plan({"x": rows(ramp(4))}, n=2), info(X), ())
    assert all(not batch["x"].flags.owndata for batch in made.batches)


def test_streaming_without_a_set_batch_goes_row_by_row_and_is_noted(rows):
    made = feeds(plan({"x": rows(ramp(3))}), info(X), ())
    assert len(made.batches) == 3
    assert made.notes == ("dimension 'n' is not set: 1",)


def test_generated_values_differ_from_batch_to_batch(rows):
    other = TensorInfo("z", "float32", ("n",))
    made = feeds(plan({"x": rows(ramp(4))}, n=2), info(X, other), ())
    assert not np.array_equal(made.batches[0]["z"], made.batches[1]["z"])


def test_fixed_batch_that_does_not_divide_the_rows_asks_for_a_slice(rows):
    fixed = info(TensorInfo("x", "float32", (2, 2)))
    with pytest.raises(InputError, match="use `slice` to take 4"):
        feeds(plan({"x": rows(ramp(5))}), fixed, ())
    assert len(feeds(plan({"x": rows(ramp(5), slice=(0, 4))}), fixed, ()).batches) == 2


def test_streamed_inputs_must_have_the_same_number_of_rows(rows):
    files = {"x": rows(ramp(4)), "ids": rows(ramp(6, dtype=np.int64), "ids")}
    with pytest.raises(InputError, match=r"different numbers of rows: 'x' 4 .*'ids' 6"):
        feeds(plan(files, n=2, seq=2), info(X, IDS), ())


def test_a_table_of_fixed_size_is_fed_whole_with_every_batch(rows):
    files = {"x": rows(ramp(4)), "t": rows(ramp(3), "t")}
    made = feeds(plan(files, n=2), info(X, TensorInfo("t", "float32", (3, 2))), ())
    assert [batch["t"].shape for batch in made.batches] == [(3, 2), (3, 2)]


def test_file_data_sets_dimensions_of_other_inputs(rows):
    made = feeds(plan({"ids": rows(ramp(1, 7, np.int64))}), info(IDS, TensorInfo("mask", "bool", ("n", "seq"))), ())
    assert made.batches[0]["mask"].shape == (1, 7)
    assert made.notes == ()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (ramp(2, 3), r"expected \[n=2, 2\], found \[2, 3\]"),
        (ramp(1), r"expected \[n=2, 2\], found \[1, 2\]"),
        (np.zeros(2, np.float32), r"expected 2 axes \[n, 2\], found \[2\]"),
        (ramp(2, dtype=np.int64), "expected float32, found int64"),
        (np.zeros((2, 2), bool), "expected float32, found bool"),
        (np.full((2, 2), "a"), "expected float32, found string"),
    ],
)
def test_data_that_does_not_fit_names_input_expected_and_found(rows, array, says):
    with pytest.raises(InputError, match=rf"input 'x'.*{says}"):
        feeds(plan({"x": rows(array)}, n=2), info(X), ())


def test_floats_of_another_width_are_cast_and_noted(rows):
    made = feeds(plan({"x": rows(ramp(2, dtype=np.float64))}, n=2), info(X), ())
    assert made.batches[0]["x"].dtype == np.float32
    assert "cast from float64 to float32" in made.notes[0]


def test_integers_are_cast_only_where_every_value_fits(rows):
    narrow = info(TensorInfo("x", "uint8", ("n", 2)))
    made = feeds(plan({"x": rows(ramp(2, dtype=np.int64))}, n=2), narrow, ())
    assert made.batches[0]["x"].dtype == np.uint8
    with pytest.raises(InputError, match="values from 0 to 399"):
        feeds(plan({"x": rows(ramp(200, dtype=np.int64))}, n=2), narrow, ())


def test_text_is_fed_as_objects(rows):
    made = feeds(plan({"s": rows(np.array(["a", "bc"]), "s")}, n=2), info(TensorInfo("s", "string", ("n",))), ())
    assert made.batches[0]["s"].tolist() == ["a", "bc"]
    assert made.batches[0]["s"].dtype == object


@pytest.mark.parametrize("kind", ["sequence", "optional", "map"])
def test_inputs_that_are_no_tensors_are_unsupported(kind):
    with pytest.raises(Unsupported, match=f"{kind} inputs are not supported yet"):
        feeds(plan(), info(TensorInfo("x", "float32", None, kind)), ())


# --- generators ---------------------------------------------------------------------------------------------------

NUMBERS = ["float32", "float16", "bfloat16", "float8_e4m3fn", "int8", "uint8", "int64", "uint64", "int4", "bool"]


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_generator_gives_type_and_shape_or_an_input_error(kind, dtype):
    wanted = numpy_dtype(dtype)
    try:
        array = GENERATORS.load(kind)(InputSpec(kind), wanted, (3, 4), generator(0, "x", 0))
    except InputError:
        return
    assert (array.dtype, array.shape) == (wanted, (3, 4))
    assert np.isfinite(array.astype(np.float64)).all()


@pytest.mark.parametrize("kind", GENERATORS)
def test_no_generator_makes_text(kind):
    with pytest.raises(InputError, match="input 's'"):
        feeds(plan({"s": InputSpec(kind)}), info(TensorInfo("s", "string", ())), ())


def test_scalars_are_generated_as_arrays():
    made = feeds(plan(), info(TensorInfo("x", "float32", ())), ())
    assert isinstance(made.batches[0]["x"], np.ndarray)


def test_unnamed_token_ids_are_zero_or_one_and_noted():
    made = feeds(plan(n=8, seq=8), info(IDS), ())
    assert set(np.unique(made.batches[0]["ids"])) == {0, 1}
    assert made.notes == ("input 'ids' is not set: random 0 and 1",)


def test_integers_stay_in_their_range_and_must_fit_the_type():
    spec = InputSpec("integers", range=(5, 8))
    made = feeds(plan({"ids": spec}, n=50, seq=2), info(IDS), ())
    assert set(np.unique(made.batches[0]["ids"])) == {5, 6, 7}
    with pytest.raises(InputError, match="do not fit int8"):
        feeds(plan({"x": InputSpec("integers", range=(0, 300))}), info(TensorInfo("x", "int8", ())), ())


# --- files ---------------------------------------------------------------------------------------------------------


def test_one_array_of_an_npz_needs_no_key(tmp_path):
    np.savez(tmp_path / "a.npz", images=ramp(2))
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz"), ramp(2))


def test_missing_key_lists_the_keys(tmp_path):
    np.savez(tmp_path / "a.npz", images=ramp(2), labels=ramp(2))
    for key in (None, "image"):
        with pytest.raises(InputError, match="holds images, labels"):
            read_array(tmp_path / "a.npz", key)


def test_slice_takes_start_stop_and_step(rows):
    file = Path(rows(ramp(6)).file)
    np.testing.assert_array_equal(read_array(file, None, (1, 5, 2)), ramp(6)[1:5:2])
    np.testing.assert_array_equal(read_array(file, None, (None, 2)), ramp(6)[:2])


def test_tensor_protos_are_read(tmp_path):
    (tmp_path / "x.pb").write_bytes(numpy_helper.from_array(ramp(2)).SerializeToString())
    np.testing.assert_array_equal(read_array(tmp_path / "x.pb"), ramp(2))


def test_tensor_protos_that_point_to_other_files_are_refused(tmp_path):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    (tmp_path / "x.pb").write_bytes(tensor.SerializeToString())
    with pytest.raises(InputError, match="another file"):
        read_array(tmp_path / "x.pb")


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError):
            read_array(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pb", ".csv"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04rubbish", b"\x93NUMPY\x01\x00", b"\xff" * 40])
def test_damaged_files_are_input_errors(tmp_path, suffix, data):
    (tmp_path / f"a{suffix}").write_bytes(data)
    with pytest.raises(InputError):
        read_array(tmp_path / f"a{suffix}")


# --- test data sets ------------------------------------------------------------------------------------------------


def sets(tmp_path, *batches):
    folders = []
    for number, arrays in enumerate(batches):
        folder = tmp_path / f"test_data_set_{number}"
        folder.mkdir()
        for place, array in enumerate(arrays):
            tensor = numpy_helper.from_array(array)
            (folder / f"input_{place}.pb").write_bytes(tensor.SerializeToString())
        folders.append(folder)
    return tuple(folders)


def test_each_test_set_is_one_batch_of_its_own_size(tmp_path):
    made = feeds(plan(), info(X, IDS), sets(tmp_path, (ramp(2), ramp(2, 3, np.int64)), (ramp(4), ramp(4, 5, np.int64))))
    assert [batch["ids"].shape for batch in made.batches] == [(2, 3), (4, 5)]
    assert made.notes == ()


def test_named_inputs_are_made_to_the_size_of_the_test_set(tmp_path):
    made = feeds(plan({"ids": InputSpec("ones")}, seq=4), info(X, IDS), sets(tmp_path, (ramp(3),)))
    assert made.batches[0]["ids"].shape == (3, 4)


def test_test_sets_are_left_out_when_every_input_is_named(tmp_path):
    assert feeds(plan({"x": InputSpec("ones")}, n=5), info(X), sets(tmp_path, (ramp(3),))).batches[0]["x"].shape == (
        5,
        2,
    )


def test_missing_stored_input_names_file_and_input(tmp_path):
    with pytest.raises(InputError, match=r"input_1\.pb for 'ids' is missing"):
        feeds(plan(), info(X, IDS), sets(tmp_path, (ramp(3),)))


def test_stored_output_that_is_missing_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"output_0\.pb for 'y'"):
        stored_outputs(info(X), sets(tmp_path, (ramp(3),)))


ONNX_TESTS = sorted(
    path.parent
    for kind in ("simple", "pytorch-operator", "pytorch-converted")
    for path in DATA.glob(f"{kind}/*/model.onnx")
)


def test_the_tests_of_onnx_itself_load_or_are_refused_in_words():
    loaded = 0
    for path in ONNX_TESTS:
        fetched = folder(Source("folder", str(path)), path)
        try:
            about = inspect(fetched.model)
            made = feeds(plan(), about, fetched.test_sets)
            outputs = stored_outputs(about, fetched.test_sets)
        except CaseError as refusal:
            assert isinstance(refusal, Unsupported), f"{path.name}: {refusal}"  # noqa: PT017
            continue
        assert len(made.batches) == len(outputs) == len(fetched.test_sets)
        loaded += 1
    assert loaded > 100
