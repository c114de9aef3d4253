"""The worst element and the largest distance in steps are those of all elements, though not all are looked at again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics import arithmetic, extremes, pieces
from harness.metrics.elementwise import Allowance
from harness.metrics.passes import Asked, whole
from harness.metrics.ulp import steps

BLOCK = 8


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Blocks and pieces so small that a test has hundreds, of which only the first is looked at unasked."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, size in (
            *((module, "BLOCK", BLOCK) for module in (arithmetic, extremes)),
            *((module, "PIECE", 5 * BLOCK + 3) for module in (pieces, extremes)),
            (extremes, "FIRST", 1),
        ):
            patch.setattr(module, name, size)
        yield


def outputs(seed, kind, dtype, size=1000):
    """A reference and a candidate that differ as outputs do, of a size that no block divides."""
    rng = np.random.default_rng(seed)
    r, noise = rng.standard_normal((2, size))
    changed = {
        "absolute": (r, r + 1e-2 * noise),
        "relative": (r, r * (1 + 1e-2 * noise)),
        "spiked": (r, r + np.where(rng.random(size) < 0.01, noise, 1e-3 * noise)),
        "cut off": (np.maximum(r, 0), np.maximum(r + 1e-2 * noise, -0.0)),
        "unrelated": (r, noise),
        "equal": (r, r),
        "with holes": (np.where(noise > 2, np.nan, r), np.where(noise > 2.2, np.inf, r + 1e-2 * noise)),
        "small": (r * 2.0**-60, (r + 1e-2 * noise) * 2.0**-60),
    }
    return tuple(one.astype(dtype) for one in changed[kind])


KINDS = ["absolute", "relative", "spiked", "cut off", "unrelated", "equal", "with holes", "small"]


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    rule=st.sampled_from(["sum", "either"]),
    atol=st.sampled_from([0.0, 1e-3, 1e-1]),
    rtol=st.sampled_from([0.0, 1e-3, 1e-1]),
)
@settings(max_examples=300, deadline=None)
def test_the_extremes_are_those_of_all_elements(seed, kind, dtype, rule, atol, rtol):
    reference, candidate = outputs(seed, kind, dtype)
    allowance = Allowance(rule, atol, rtol)
    r, c = (tensor.astype(np.float64) for tensor in (reference, candidate))
    ratios = np.array([allowance.ratio(abs(y - x), x) if np.isfinite(x + y) else -1 for x, y in zip(r, c, strict=True)])

    found, _ = whole([(reference, candidate)], Asked((), {}, allowance))

    rounded = 1024 if dtype is np.float64 else 0  # the plain way takes the difference of 64-bit integers in float64
    assert found.steps == pytest.approx(steps(reference, candidate), rel=0, abs=rounded)
    assert found.worst.ratio == pytest.approx(ratios.max(), rel=1e-6)
    assert ratios[found.worst.index] == pytest.approx(ratios.max(), rel=1e-6)
    assert np.count_nonzero(ratios > 1 + 1e-6) <= found.beyond <= np.count_nonzero(ratios > 1 - 1e-6)


def test_equal_outputs_are_worst_at_their_first_element():
    values = np.ones(200, np.float32)

    assert whole([(values, values)], Asked((), {}, Allowance("sum", 1e-3, 1e-3)))[0].worst.index == 0


def test_an_allowance_may_depend_on_the_output():
    reference = np.full(200, 3.0, np.float32)
    candidate = reference.copy()
    candidate[123] += 0.5

    found, _ = whole([(reference, candidate)], Asked((), {}, lambda of: Allowance("sum", of.reference_rms, 0)))

    assert (found.worst.index, found.worst.ratio) == (123, pytest.approx(0.5 / 3))
