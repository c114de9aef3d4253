"""TensorFlow and Keras models: made by a factory or loaded from files, traced once, told apart by what was traced."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.backends.exported_file import check_names
from harness.backends.factories import SEED, called, named, refuse, seeded
from harness.backends.tensorflow_graph import graph_digest
from harness.errors import BuildError, InputError, did_you_mean
from harness.records import Export, Source, TensorSpec
from harness.sources.digest import file_digest

EXTRA = "pip install 'trt-harness[tensorflow]'"
SIGNATURE = "serving_default"
"""The signature of a SavedModel that is taken, where it has several."""


@dataclass(frozen=True)
class Called:
    """What is called, and what it says of itself."""

    call: Callable[[Mapping[str, Any]], Any]
    inputs: Sequence[Any] | None
    """A tf.TensorSpec with a name for each, in order; None where it does not tell them."""
    outputs: Sequence[str] = ()
    """Names of its own; empty: those of the mapping that it returns, or none."""
    kept: Any = None
    """What holds the variables, where what is called does not."""


@dataclass(frozen=True)
class Model:
    """A model that is ready to be traced, and to be run as it is."""

    run: Callable[..., dict[str, Any]]
    """Takes tensors in the order of `dims`; gives those of the outputs by name."""
    traced: Any
    """The same as a tf.function."""
    dims: Mapping[str, tuple[int | str, ...]]
    """Of every input in order, with names for the axes that are free."""
    digest: str
    """Of what was traced: code and weights."""

    @property
    def weights(self) -> str:
        """They are part of what was traced."""
        return self.digest


def why_no_tensorflow() -> str | None:
    """Why TensorFlow cannot be used here, or None."""
    try:
        tensorflow()
        import tf2onnx  # noqa: F401
    except Exception as error:  # packages that do not fit each other fail in many ways
        return f"TensorFlow or tf2onnx cannot be imported ({error}): {EXTRA}"
    return None


@lru_cache(maxsize=1)
def tensorflow() -> Any:
    """The package, kept off GPUs: it would take all of their memory."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever Keras would take by its own settings
    import tensorflow as package

    package.config.set_visible_devices([], "GPU")
    return package


def load(source: Source) -> Model:
    """The model of a source that the command line allows; InputError where there is none."""
    refuse(source)
    spec = source.export or Export({}, (), 0, {})
    if source.kind == "tensorflow":
        made = _callable(_made(source.path, source.beside), source.path)
    else:
        made = _saved_model(source.path) if source.kind == "saved-model" else _keras_file(source)
    return _model(made, spec, source.path)


def _model(made: Called, spec: Export, where: str) -> Model:
    tf = tensorflow()
    dims = _dims(made.inputs, spec, where)
    types = {one.name: one.dtype for one in made.inputs or ()} or {name: one.dtype for name, one in spec.inputs.items()}

    def run(*tensors: Any) -> dict[str, Any]:
        return _outputs(made.call(dict(zip(dims, tensors, strict=True))), spec.outputs, made.outputs, dims)

    sizes = {name: [one if isinstance(one, int) else None for one in given] for name, given in dims.items()}
    wanted = [tf.TensorSpec(sizes[name], types[name], name=name) for name in dims]
    traced = tf.function(run, input_signature=wanted, autograph=False)
    try:
        return Model(run, traced, dims, graph_digest(traced))
    except InputError:
        raise
    except Exception as error:
        raise BuildError(f"TensorFlow cannot trace the model: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=1)
def _made(path: str, beside: str | None) -> Any:
    """What a factory makes; a worker calls it once for all cases of a model."""
    tf = tensorflow()
    factory = named(path, beside)
    tf.keras.backend.clear_session()  # names of layers begin at the same number, whatever was made before
    with seeded():
        tf.random.set_seed(SEED)
        return called(factory, path)


def _keras_file(source: Source) -> Called:
    tf = tensorflow()
    digest = file_digest(Path(source.path))
    if source.sha256 is not None and digest != source.sha256:
        raise InputError(f"{source.path}: its SHA-256 is {digest}, the suite says {source.sha256}")
    tf.keras.backend.clear_session()
    try:
        # the command line names the file as code, so its Lambda layers may be made
        model = tf.keras.models.load_model(source.path, compile=False, safe_mode=False)
    except Exception as error:
        raise InputError(f"{source.path}: is no model that this Keras loads: {error}") from error
    return _keras(model)


def _saved_model(path: str) -> Called:
    try:
        loaded = tensorflow().saved_model.load(path)
    except Exception as error:
        raise InputError(f"{path}: is no SavedModel that this TensorFlow loads: {error}") from error
    found = dict(loaded.signatures)
    found.pop("serve", None)  # Keras' own, the same as the other
    name = SIGNATURE if SIGNATURE in found else next(iter(found), "")
    if not found or (name != SIGNATURE and len(found) > 1):
        raise InputError(
            f"{path}: has no signature {SIGNATURE} (but {', '.join(found) or 'none'}): save it with one, or name "
            "tensorflow:package.module:factory of a tf.Module that loads it and calls what is to run"
        )
    return replace(_function(found[name]), kept=loaded)


def _callable(made: Any, where: str) -> Called:
    """What a factory made, as something to call."""
    tf = tensorflow()
    if isinstance(made, tf.keras.Model):
        return _keras(made)
    if isinstance(made, tf.Module) and callable(made):
        inner = type(made).__call__
        return _function(made.__call__) if hasattr(inner, "get_concrete_function") else Called(_by_name(made), None)
    if hasattr(made, "get_concrete_function") or hasattr(made, "structured_input_signature"):
        return _function(made)
    raise InputError(
        f"{where}: gives a {type(made).__name__}, and must give a Keras model, a tf.function, or a tf.Module that can "
        "be called"
    )


def _keras(model: Any) -> Called:
    tf = tensorflow()
    given = getattr(model, "inputs", None)
    if not given:
        return Called(_by_name(model, training=False), None)
    inputs = [tf.TensorSpec(one.shape, one.dtype, name=one.name) for one in given]
    form = given[0] if len(given) == 1 else model.input  # as it was made: a list, or a mapping

    def call(feeds: Mapping[str, Any]) -> Any:
        return model(tf.nest.map_structure(lambda one: feeds[one.name], form), training=False)

    return Called(call, inputs, tuple(getattr(model, "output_names", None) or ()))


def _function(function: Any) -> Called:
    """A tf.function, or one of its traces as signatures of SavedModels are."""
    tf = tensorflow()
    if getattr(function, "structured_input_signature", None) is None:
        if function.input_signature is None:
            return Called(_by_name(function), None)
        signature = function.get_concrete_function().structured_input_signature
    else:
        signature = function.structured_input_signature
    placed, by_name = ([one for one in tf.nest.flatten(part) if isinstance(one, tf.TensorSpec)] for part in signature)

    def call(feeds: Mapping[str, Any]) -> Any:
        return function(*(feeds[one.name] for one in placed), **{one.name: feeds[one.name] for one in by_name})

    return Called(call, [*placed, *by_name])


def _by_name(function: Callable[..., Any], **more: Any) -> Callable[[Mapping[str, Any]], Any]:
    return lambda feeds: function(**feeds, **more)


def _dims(own: Sequence[Any] | None, spec: Export, where: str) -> dict[str, tuple[int | str, ...]]:
    """The axes of every input: what the model says, with the names and sizes of the suite; InputError if unlike."""
    if own is None:
        if not spec.inputs:
            raise InputError(
                f"{where}: does not tell its inputs: name them under `export: {{inputs: {{x: {{dims: [n, 3]}}}}}}`"
            )
        return {name: given.dims for name, given in spec.inputs.items()}
    names = [one.name for one in own]
    for name in spec.inputs:
        if name not in names:
            raise InputError(f"{where}: the model has no input '{name}'{did_you_mean(name, names)}")
    return {one.name: _axes(one, spec.inputs.get(one.name), where) for one in own}


def _axes(own: Any, given: TensorSpec | None, where: str) -> tuple[int | str, ...]:
    if given is not None and given.dtype != own.dtype.name:
        raise InputError(f"{where}: '{own.name}' is {given.dtype} in the suite and {own.dtype.name} in the model")
    if own.shape.rank is None:
        if given is None:
            raise InputError(f"{where}: the model does not say the shape of '{own.name}': name it under `export`")
        return given.dims
    found = tuple(own.shape)
    if given is None:
        return tuple(_free(own.name, axis) if size is None else size for axis, size in enumerate(found))
    if len(given.dims) != len(found):
        raise InputError(f"{where}: '{own.name}' has {len(given.dims)} axes in the suite and {len(found)} in the model")
    for axis, (size, dim) in enumerate(zip(found, given.dims, strict=True)):
        if size not in (None, dim):
            raise InputError(f"{where}: axis {axis} of '{own.name}' is {dim} in the suite and {size} in the model")
    return given.dims


def _free(name: str, axis: int) -> str:
    """What a free axis is called that the suite does not name: the first one of all inputs is the batch."""
    return "n" if axis == 0 else f"{name}_{axis}"


def _outputs(result: Any, wanted: Sequence[str], own: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors that a model returned, by name."""
    tf = tensorflow()
    flat = result if isinstance(result, Mapping) and all(map(tf.is_tensor, result.values())) else None
    found = list(flat.values()) if flat is not None else tf.nest.flatten(result)
    odd = [one for one in found if not tf.is_tensor(one)]
    if odd or not found:
        words = type(odd[0]).__name__ if odd else "nothing"
        raise InputError(f"the model returns {words} beside or instead of tensors, which no ONNX model does")
    names = list(wanted) or (list(flat) if flat is not None else list(own))
    if not wanted and (len(names) != len(found) or len(set(names)) != len(names)):
        names = [f"output_{number}" for number in range(len(found))]
    check_names(names, len(found), inputs)
    return dict(zip(names, found, strict=True))
