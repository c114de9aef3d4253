"""Signal-to-noise ratios in decibels."""

import math

import numpy as np

from harness.metrics.base import Metric, Values

RESOLUTION_DB = -20 * math.log10(np.finfo(np.float64).eps)
"""What float64 can resolve, 313 dB: identical outputs are reported as this, an all-wrong one as its negative."""


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return RESOLUTION_DB
    if signal == 0:
        return -RESOLUTION_DB
    return max(-RESOLUTION_DB, min(RESOLUTION_DB, 10 * math.log10(signal / noise)))


def sqnr_db(reference: Values, candidate: Values) -> float:
    """10 log10(sum r^2 / sum (c - r)^2), as onnxruntime's qdq_loss_debug has it."""
    return _decibels(float(np.sum(np.square(reference))), float(np.sum(np.square(candidate - reference))))


def psnr_db(reference: Values, candidate: Values) -> float:
    """10 log10(max r^2 / mean (c - r)^2)."""
    if not reference.size:
        return RESOLUTION_DB
    peak = float(np.max(np.square(reference)))
    return _decibels(peak, float(np.mean(np.square(candidate - reference))))


SQNR_DB = Metric("sqnr_db", "dB", "higher", sqnr_db)
PSNR_DB = Metric("psnr_db", "dB", "higher", psnr_db)
