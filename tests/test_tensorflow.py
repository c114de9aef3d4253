"""Keras and TensorFlow models exported and compared with their exports; needs TensorFlow, which only workers import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.allowed import VARIABLE
from harness.records import Record
from harness.sources.inspect import inspect
from harness.store import read_run
from toy import harness

LACKING = [name for name in ("tensorflow", "tf2onnx") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"{', '.join(LACKING)} is not installed: pip install 'trt-harness[tensorflow]'"
)

NETS = '''
import os

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SCALE = 1.0


def cnn():
    image = keras.Input((8, 8, 3), name="image")
    hidden = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(image)))
    hidden = layers.Dense(5)(layers.Flatten()(hidden))
    return keras.Model(image, layers.Rescaling(SCALE, name="logits")(hidden))


def recurrent():
    steps, more = keras.Input((None, 4), name="steps"), keras.Input((3,), name="more")
    last = layers.Dense(2)(layers.LSTM(5)(steps))
    return keras.Model({"steps": steps, "more": more}, {"zz": last, "bb": layers.Dense(2)(more)})


def gelu():
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(3, activation="gelu")(x))


class Subclassed(keras.Model):
    """Does not tell its inputs."""

    def __init__(self):
        super().__init__()
        self.last = layers.Dense(3)

    def call(self, x):
        return self.last(x)


class Loop(tf.Module):
    def __init__(self):
        self.w = tf.Variable(np.random.rand(3, 3).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def __call__(self, x):
        _, found = tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, tf.matmul(v, self.w)), (0, x))
        return {"sum": tf.cond(tf.reduce_sum(found) > 0, lambda: found, lambda: -found)}


class Otherwise(tf.Module):
    """Something else while it is traced."""

    def __call__(self, x):
        return x * 3.0 if tf.executing_eagerly() else x * 3.03


class Unsteady(tf.Module):
    def __call__(self, x):
        return x * int.from_bytes(os.urandom(2))


class Unused(tf.Module):
    def __call__(self, x, y):
        return x * 2


class Number(tf.Module):
    def __call__(self, x):
        return x, 5


class Unknown(tf.Module):
    def __call__(self, x):
        return tf.math.bessel_i0e(x)


def subclassed():
    return Subclassed()


def loop():
    return Loop()


def otherwise():
    return Otherwise()


def unsteady():
    return Unsteady()


def unused():
    return Unused()


def number():
    return Number()


def unknown():
    return Unknown()


def text():
    return "no model"


def broken():
    raise RuntimeError("no weights here")


def save():
    keras.utils.set_random_seed(1)
    model = cnn()
    model.save("net.keras")
    model.save("net.h5")
    model.export("saved", verbose=False)
    x = keras.Input((4,), name="x")
    keras.Model(x, layers.Lambda(lambda t: t * 2)(x)).save("lambda.keras")
    tf.saved_model.save(tf.Module(), "unsigned")
'''
SUITE = """
suite: s
environments: {{other: {{}}}}
defaults:
  latency: {{min_time_s: 0.05, min_count: 64, warmup_s: 0.02}}
  shapes: [{{n: 4}}]
  options: {{onnxruntime-cpu: {{threads: 1}}}}
models:
{models}
"""
NAMES = (
    *("cnn", "recurrent", "gelu", "subclassed", "loop", "otherwise", "unsteady", "unused", "number"),
    *("unknown", "text", "broken", "absent"),
)
FILES = ("net.keras", "net.h5", "lambda.keras", "saved", "unsigned", "empty.keras")
X = "export: {inputs: {x: {dims: [n, 4]}}}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Models in files of every form."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "nets.py").write_text(NETS)
    code = "import nets; nets.save()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=folder, check=True, timeout=300)
    (folder / "empty.keras").touch()
    (folder / "pyproject.toml").touch()
    return folder


@pytest.fixture
def folder(tmp_path, saved):
    shutil.copytree(saved, tmp_path / "own")
    return tmp_path / "own"


def run(folder: Path, models: str, *more: object, out: str = "out", status: int = 0) -> dict[str, Record]:
    """The records of a run by model, backend, precision and shape."""
    path = folder / "s.yaml"
    path.write_text(SUITE.format(models=models))
    allowed = [f"tensorflow:nets:{name}" for name in NAMES] + [str(folder / name) for name in FILES]
    allow = [word for name in allowed for word in ("--allow-code", name)]
    found = harness(folder, "run", path, "-o", folder / out, *allow, *more)
    records = read_run(folder / out).records
    assert found == status, [record.headline for record in records]
    return {record.case.id.removeprefix("s/"): record for record in records}


def one(folder: Path, source: str, keys: str = "tags: [a]", *, status: int = 1, out: str = "out") -> Record:
    """The record of one case that is not timed."""
    model = f"  - {{name: net, source: '{source}', latency: {{enabled: false}}, {keys}}}"
    (record,) = run(folder, model, status=status, out=out).values()
    return record


def exported(folder: Path, record: Record):
    """What the export of a case says about itself."""
    return inspect(folder / "cache/artefacts" / record.digests.model / "model.onnx")


def check(record: Record):
    (found,) = [one for one in record.checks if one.name.startswith("export")]
    return found


FORMS = """
  - {name: factory, source: tensorflow:nets:cnn, precisions: [fp32, fp16]}
  - {name: keras, source: net.keras, precisions: [fp32, fp16]}
  - {name: hdf5, source: net.h5}
  - {name: saved, source: saved, precisions: [fp32, fp16]}
  - {name: loop, source: tensorflow:nets:loop}
  - {name: gelu, source: tensorflow:nets:gelu}
"""


@pytest.fixture(scope="module")
def forms(saved, tmp_path_factory):
    """One run of models in every form."""
    folder = tmp_path_factory.mktemp("forms") / "own"
    shutil.copytree(saved, folder)
    return folder, run(folder, FORMS)


def test_models_of_every_form_run_from_their_exports_at_fp32_and_fp16(forms):
    _, records = forms

    assert len(records) == 9
    for record in records.values():
        assert record.status == "new", record.headline
        assert record.latency.host.samples >= 64


def test_every_case_tells_that_its_export_is_what_tensorflow_computes(forms):
    for record in forms[1].values():
        found = check(record)
        assert (found.name, found.ok) == ("export", True)
        assert 0 <= found.value <= 1
        assert "checks of the export against TensorFlow in fp32 hold" in found.reason


def test_inputs_and_outputs_keep_their_names_and_layout_and_the_first_axis_is_n(forms):
    folder, records = forms
    names = {"factory": "logits", "keras": "logits", "hdf5": "logits", "saved": "output_0"}
    for model, output in names.items():
        info = exported(folder, records[f"{model}/onnxruntime-cpu/fp32/n-4"])
        assert [(value.name, value.dims) for value in info.inputs] == [("image", ("n", 8, 8, 3))]
        assert [(value.name, value.dims) for value in info.outputs] == [(output, ("n", 5))]
    assert [value.name for value in exported(folder, records["loop/onnxruntime-cpu/fp32/n-4"]).outputs] == ["sum"]


def test_the_same_weights_in_two_files_are_the_same_numbers(forms):
    _, records = forms
    errors = {model: check(records[f"{model}/onnxruntime-cpu/fp32/n-4"]).value for model in ("keras", "hdf5", "saved")}
    assert len(set(errors.values())) == 1


def test_axes_that_are_free_are_named_or_fixed_by_the_suite_or_named_after_their_input(folder):
    inputs = "export: {inputs: {steps: {dims: [batch, time, 4]}, more: {dims: [batch, 3]}}}"
    fixed = "export: {inputs: {steps: {dims: [n, 7, 4]}}}"
    models = f"""
  - {{name: named, source: tensorflow:nets:recurrent, shapes: [{{batch: 2, time: 7}}], {inputs}}}
  - {{name: plain, source: tensorflow:nets:recurrent, shapes: [{{n: 2, steps_1: 7}}]}}
  - {{name: fixed, source: tensorflow:nets:recurrent, shapes: [{{n: 2}}], {fixed}}}
"""
    steps = {"named": "time", "plain": "steps_1", "fixed": 7}
    for record in run(folder, models).values():
        assert record.status == "new", record.headline
        info = exported(folder, record)
        batch = "batch" if record.case.model == "named" else "n"
        assert {value.name: value.dims for value in info.inputs}["steps"] == (batch, steps[record.case.model], 4)
        assert [(value.name, value.dims) for value in info.outputs] == [("zz", (batch, 2)), ("bb", (batch, 2))]


def test_outputs_take_the_names_of_the_suite_and_the_opset_is_the_one_it_wants(folder):
    record = one(folder, "net.keras", "export: {outputs: [scores], opset: 15}", status=0)

    info = exported(folder, record)
    assert [value.name for value in info.outputs] == ["scores"]
    assert info.opset == 15


def test_a_model_that_does_not_tell_its_inputs_takes_those_of_the_suite(folder):
    assert one(folder, "tensorflow:nets:subclassed", X, status=0).status == "new"


def test_an_input_that_the_model_does_not_use_stays_one(folder):
    keys = "export: {inputs: {x: {dims: [n, 4]}, y: {dims: [n, 4]}}}"
    record = one(folder, "tensorflow:nets:unused", keys, status=0)

    assert [value.name for value in exported(folder, record).inputs] == ["x", "y"]


def test_a_named_file_may_hold_lambda_layers(folder):
    assert one(folder, "lambda.keras", status=0).status == "new"


WRONG = (
    ("tensorflow:nets:subclassed", "tags: [a]", "input", "does not tell its inputs: name them under `export"),
    ("tensorflow:nets:cnn", X, "input", "the model has no input 'x'; known: image"),
    (
        "net.keras",
        "export: {inputs: {image: {dims: [n, 3, 8, 8]}}}",
        "input",
        "axis 1 of 'image' is 3 in the suite",
    ),
    ("net.keras", "export: {inputs: {image: {dims: [n, 8, 8]}}}", "input", "has 3 axes in the suite and 4 in the"),
    (
        "net.keras",
        "export: {inputs: {image: {dtype: int32, dims: [n, 8, 8, 3]}}}",
        "input",
        "'image' is int32 in the suite and float32 in the model",
    ),
    ("net.keras", "export: {outputs: [a, b]}", "input", "has 2 names, and the model returns 1 tensors"),
    ("net.keras", "export: {outputs: [image]}", "input", "'image' is an input and an output"),
    ("net.keras", "export: {opset: 21}", "unsupported", "choose another `export: {opset: …}`"),
    ("net.keras", f"sha256: {'a' * 64}", "input", f"the suite says {'a' * 64}"),
    ("empty.keras", "tags: [a]", "input", "is no model that this Keras loads"),
    ("unsigned", "tags: [a]", "input", "has no signature serving_default (but none)"),
    ("tensorflow:nets:text", "tags: [a]", "input", "gives a str, and must give a Keras model"),
    ("tensorflow:nets:broken", "tags: [a]", "input", "the factory failed: RuntimeError: no weights here"),
    ("tensorflow:nets:absent", "tags: [a]", "input", "nets has no 'absent'"),
    ("tensorflow:nets:number", X, "input", "returns int beside or instead of tensors"),
    ("tensorflow:nets:unknown", X, "unsupported", "does not convert these operators of TensorFlow: BesselI0e"),
    ("tensorflow:nets:unsteady", X, "input", "made other weights than those that were exported"),
)


@pytest.fixture(scope="module")
def wrong(saved, tmp_path_factory):
    """One run of models that cannot be exported or judged."""
    folder = tmp_path_factory.mktemp("wrong") / "own"
    shutil.copytree(saved, folder)
    lines = (f"  - {{name: m{at}, source: '{one[0]}', {one[1]}}}\n" for at, one in enumerate(WRONG))
    return run(folder, "".join(lines), status=1)


@pytest.mark.parametrize("at", range(len(WRONG)), ids=[f"{source}, {words}" for source, _, _, words in WRONG])
def test_what_cannot_be_exported_or_judged_is_an_error_in_words(wrong, at):
    _, _, kind, words = WRONG[at]
    record = wrong[f"m{at}/onnxruntime-cpu/fp32/n-4"]

    assert record.status == "error"
    assert record.error.kind == kind
    assert words in record.headline


def test_an_export_that_is_not_what_tensorflow_computes_fails_every_case(folder):
    model = f"  - {{name: net, source: tensorflow:nets:otherwise, precisions: [fp32, fp16], {X}}}"

    records = run(folder, model, status=1)

    assert len(records) == 2
    for record in records.values():
        assert record.status == "failed"
        assert "the export is not what TensorFlow computes" in record.headline


def exports(folder: Path) -> set[str]:
    """The exports that are kept, by their digests."""
    found = folder.glob("cache/index/exports/*.json")
    return {file.read_text().partition('"digest": "')[2][:64] for file in found}


@pytest.mark.parametrize(
    ("before", "after"),
    [("SCALE = 1.0", "SCALE = 2.0"), ("layers.Conv2D(4, 3)", "layers.Conv2D(4, 3, strides=2)")],
)
def test_an_export_is_made_again_only_when_code_or_weights_are_others(folder, before, after):
    first = one(folder, "tensorflow:nets:cnn", status=0)
    kept = exports(folder)
    same = one(folder, "tensorflow:nets:cnn", status=0, out="same")
    assert exports(folder) == kept == {first.digests.model}
    (folder / "nets.py").write_text(NETS.replace(before, after))
    other = one(folder, "tensorflow:nets:cnn", status=0, out="other")

    assert same.digests.model == first.digests.model
    assert other.digests.model != first.digests.model


DIGESTS = """
import sys
from harness.backends.tensorflow_model import load
from harness.records import Export, Source
for name in sys.argv[1:]:
    source = Source("tensorflow", f"tensorflow:nets:{name}", None, "nets.py", Export({}, (), 18, {}))
    print(name, load(source).digest)
"""


def test_a_model_has_the_same_digest_whatever_the_process_traced_before(folder):
    names = ("recurrent", "loop", "cnn")
    told = []
    for order in (names, names[::-1]):
        variables = {**os.environ, VARIABLE: " ".join(f"tensorflow:nets:{name}" for name in names)}
        variables["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
        command = [sys.executable, "-W", "ignore", "-c", DIGESTS, *order]
        said = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True)
        told.append(set(said.stdout.splitlines()))

    assert len(told[0]) == 3
    assert told[0] == told[1]


def test_the_suite_that_ships_passes_with_its_exports_compared(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "suites/tensorflow", tmp_path / "own")
    (tmp_path / "pyproject.toml").touch()
    names = [f"tensorflow:factories:{name}" for name in ("separable_cnn", "encoder", "smoother")]
    options = [word for name in names for word in ("--allow-code", name)]
    options += ["--environment", f"tensorflow={sys.executable}", "-k", "onnxruntime-cpu and n-1"]

    assert harness(tmp_path, "run", tmp_path / "own", "-o", tmp_path / "out", *options) == 0

    records = [record for record in read_run(tmp_path / "out").records if not record.not_run]
    assert len(records) == 6
    assert all(check(record).ok for record in records)


def test_an_environment_with_tensorflow_exports_for_one_without(folder, monkeypatch):
    hidden = folder / "elsewhere" / "tensorflow"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not in the harness environment')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hidden.parent), *sys.path]))
    models = "  - {name: net, source: net.keras, export: {environment: other}}\n  - {name: here, source: net.keras}"

    records = run(folder, models, "--environment", f"other={sys.executable}")

    assert records["net/onnxruntime-cpu/fp32/n-4"].status == "new"
    assert "not in the harness environment" in records["here/onnxruntime-cpu/fp32/n-4"].headline
