"""How much of its outputs a change of one layer costs a model: measured on calibration data, layer by layer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harness.inputs.feeds import Feeds
from harness.variants.graph import is_large, save

Outputs = list[NDArray[Any]]


class Trial:
    """The first batch of the calibration data, and what the unchanged model answers to it."""

    def __init__(self, data: Feeds, model: Any) -> None:
        self._batch: Mapping[str, NDArray[Any]] = data.batches[0]
        self._expected = self._outputs(model)

    @property
    def rows(self) -> int:
        """Rows that the errors are measured on."""
        return max((len(array) for array in self._batch.values() if array.ndim), default=1)

    def error(self, model: Any) -> float:
        """The error of a changed model, of the output that has the largest.

        Of floats the root mean square of the differences over that of the unchanged output; of others the share that
        differs. Infinite where the model gives NaN, infinities or another shape.
        """
        pairs = zip(self._expected, self._outputs(model), strict=True)
        return max((_error(expected, found) for expected, found in pairs), default=0.0)

    def _outputs(self, model: Any) -> Outputs:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if not is_large(model):
            return self._run(model.SerializeToString(), options)
        with tempfile.TemporaryDirectory() as place:
            save(model, Path(place), "trial")
            return self._run(str(Path(place) / "trial.onnx"), options)

    def _run(self, model: bytes | str, options: Any) -> Outputs:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found: Outputs = session.run(None, dict(self._batch))
        return found


def _error(expected: NDArray[Any], found: NDArray[Any]) -> float:
    if expected.shape != found.shape:
        return math.inf
    if expected.dtype.kind != "f":
        return float(np.mean(expected != found)) if expected.size else 0.0
    finite = np.isfinite(expected)
    wide, other = expected[finite].astype(np.float64), found[finite].astype(np.float64)
    if not np.isfinite(other).all():
        return math.inf
    size, off = float(np.sum(wide**2)), float(np.sum((wide - other) ** 2))
    return math.sqrt(off / size) if size else (math.inf if off else 0.0)
