"""Signal-to-noise ratios in decibels."""

import math
from typing import Any

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.moments import Moments

RESOLUTION_DB = -20 * math.log10(np.finfo(np.float64).eps)
"""What float64 can resolve, 313 dB: identical outputs are reported as this, an all-wrong one as its negative."""


def _decibels(signal: Any, noise: Any) -> float:
    if noise == 0:
        return RESOLUTION_DB
    if signal == 0:
        return -RESOLUTION_DB
    return max(-RESOLUTION_DB, min(RESOLUTION_DB, float(10 * np.log10(signal / noise))))


def sqnr_db(moments: Moments) -> float:
    """10 log10(sum r^2 / sum (c - r)^2), as onnxruntime's qdq_loss_debug has it."""
    return _decibels(moments.signal, moments.noise)


def psnr_db(moments: Moments) -> float:
    """10 log10(max r^2 / mean (c - r)^2)."""
    if not moments.finite:
        return RESOLUTION_DB
    return _decibels(np.longdouble(moments.peak) ** 2, moments.noise / moments.finite)


SQNR_DB = Metric("sqnr_db", "dB", "higher", sqnr_db, of="moments")
PSNR_DB = Metric("psnr_db", "dB", "higher", psnr_db, of="moments")
