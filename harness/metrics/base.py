"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Tensor = NDArray[np.generic]

OF = ("moments", "pieces", "rows", "values", "tensors")


@dataclass(frozen=True)
class Metric:
    """One number about a candidate and its reference; NaN or infinity means that it does not exist for them.

    `of` says what `measure` takes. The first three never hold a whole output in memory:

    - "moments": the `Moments` of the output, sums and maxima that all metrics share;
    - "pieces": flat pieces of reference and candidate as they are. It returns anything; `fold` makes one of two of
      them, `finish` the number of the last one (of None for an empty output);
    - "rows": matrices [rows, width] of vectors along the last axis, as floats. It returns one number a row; the
      metric is their mean;
    - "values": all elements, as finite float64 vectors of equal length;
    - "tensors": the outputs as they are, equal in shape, batches joined.
    """

    name: str
    unit: str
    better: str
    """"lower" or "higher"."""
    measure: Callable[..., Any]
    of: str = "values"
    applies: Callable[[Tensor], bool] = lambda _: True
    settings: tuple[str, ...] = ()
    """Names of limits that are settings of the metric, passed to `measure` by name."""
    fold: Callable[[Any, Any], Any] | None = None
    finish: Callable[[Any], float] | None = None
    on_request: bool = False
    """Measured only where a limit names it."""

    @property
    def side(self) -> str:
        """What its limit bounds it from: "max" where lower is better, else "min"."""
        return "max" if self.better == "lower" else "min"


@dataclass(frozen=True)
class TaskMetric:
    """One number about all outputs of a task and its labels: `measure(output, labels, **settings)`."""

    name: str
    unit: str
    better: str
    measure: Callable[..., float]
    mistakes: Callable[..., tuple[int, str]] | None = None
    """How many rows are wrong, and how, as JSON: [label, answer, rows], the most frequent first; as `measure`."""
    settings: tuple[str, ...] = ()
    """Names of what `measure` is told beside: keys of the task, and `lengths`, which come with an input."""
