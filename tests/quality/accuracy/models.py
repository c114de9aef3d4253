"""The models of the count, each with inputs to judge on and others to calibrate on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from quality.accuracy import sequences, tables, vision

ROWS, CALIBRATION_ROWS = 64, 128
DIGITS = Path(__file__).parents[3] / "suites" / "digits"
Feeds = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Built:
    """A model in fp32 with one symbolic dimension `n`, and its data: one array an input."""

    name: str
    model: ModelProto
    feeds: Feeds
    calibration: Feeds


def _made(make: Callable[[int], ModelProto], replica: int) -> Built:
    name = make.__name__
    model = make(100 * replica)
    rng = np.random.default_rng([sum(name.encode()), replica])
    drawn = {value.name: _drawn(value.type.tensor_type, rng) for value in model.graph.input}
    feeds = {key: values[:ROWS] for key, values in drawn.items()}
    return Built(_named(name, replica), model, feeds, {key: values[ROWS:] for key, values in drawn.items()})


def _named(name: str, replica: int) -> str:
    return f"{name}-{replica}" if replica else name


def _drawn(kind: Any, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    shape = (ROWS + CALIBRATION_ROWS, *(dim.dim_value for dim in kind.shape.dim[1:]))
    if kind.elem_type == onnx.TensorProto.FLOAT:
        return (_images(shape, rng) if len(shape) == 4 else rng.normal(0, 1, shape)).astype(np.float32)
    ids = rng.integers(1, sequences.VOCABULARY, shape)
    lengths = rng.integers(shape[1] // 3, shape[1] + 1, (len(ids), 1))
    return np.where(np.arange(shape[1]) < lengths, ids, 0)  # what follows the text is padding


def _images(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Random images with a colour, coarse structure and noise, so that they differ after pooling as well."""
    patches = rng.normal(0, 0.7, (*shape[:2], 4, 4)).repeat(shape[2] // 4, axis=2).repeat(shape[3] // 4, axis=3)
    return rng.normal(0, 0.7, (*shape[:2], 1, 1)) + patches + rng.normal(0, 0.5, shape)


def _digits(replica: int) -> Built:
    start = ROWS * replica
    with np.load(DIGITS / "digits.npz") as data:
        feeds = {"image": data["images"][start : start + ROWS]}
        calibration = {"image": data["calibration"][:CALIBRATION_ROWS]}
    return Built(_named("digits", replica), onnx.load(str(DIGITS / "digits_cnn.onnx")), feeds, calibration)


_MAKERS = (
    *(vision.residual, vision.separable, vision.detection, vision.segmentation, vision.norms, vision.pooled),
    *(sequences.attention, sequences.encoder, sequences.lstm, sequences.gru, sequences.bag),
    *(tables.mlp, tables.regressor, tables.scales, tables.difference, tables.choice, tables.wide),
)


def models(replica: int = 0) -> dict[str, Callable[[], Built]]:
    """Every model by name; a replica (1 to 6) has other weights and inputs, the digits network only other inputs."""
    found: dict[str, Callable[[], Built]] = {_named("digits", replica): partial(_digits, replica)}
    return found | {_named(make.__name__, replica): partial(_made, make, replica) for make in _MAKERS}


MODELS: Mapping[str, Callable[[], Built]] = models()
