"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Tensor = NDArray[np.generic]


@dataclass(frozen=True)
class Metric:
    """One number about a candidate and its reference.

    `measure(reference, candidate)` takes finite float64 vectors of equal length (`of` "values") or the tensors as
    they are, equal in shape (`of` "tensors"); NaN or infinity means that the number does not exist for them.
    """

    name: str
    unit: str
    better: str
    """"lower" or "higher"."""
    measure: Callable[..., float]
    of: str = "values"
    applies: Callable[[Tensor], bool] = lambda _: True
    settings: tuple[str, ...] = ()
    """Names of limits that are settings of the metric, passed to `measure` by name."""


@dataclass(frozen=True)
class TaskMetric:
    """One number about all outputs of a task and its labels: `measure(output, labels)`."""

    name: str
    unit: str
    better: str
    measure: Callable[[Tensor, Tensor], float]
