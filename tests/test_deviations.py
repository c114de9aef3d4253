"""What a reader sees of the errors of an output: how they are distributed, and the elements that are off by most."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from builders import record, run
from harness import store
from harness.errors import UsageError
from harness.metrics.deviations import MOST, deviations, worst
from harness.metrics.pieces import PIECE
from harness.records import Deviations


def of(reference: list, candidate: list) -> Deviations:
    (found,) = deviations([{"y": np.asarray(one)} for one in reference], [{"y": np.asarray(one)} for one in candidate])
    return found


def test_every_element_is_equal_or_counted_by_its_power_of_two() -> None:
    reference = np.zeros(6)
    found = of([reference], [[0, 1, 1.99, 2, -0.25, 0]])
    assert (found.size, found.equal) == (6, 2)
    assert found.counts == {"-2": 1, "0": 2, "1": 1}


def test_the_largest_errors_are_found_wherever_they_are() -> None:
    reference = np.zeros((3, PIECE), np.float32)
    candidate = np.full_like(reference, 1e-6)
    places = {(2, PIECE - 1): 5.0, (0, 0): 4.0, (1, 77): -3.0}
    for place, value in places.items():
        candidate[place] = value
    found = of([reference], [candidate])
    assert [(one.place, float(one.found)) for one in found.worst[:3]] == list(places.items())
    assert len(found.worst) == MOST
    assert sum(found.counts.values()) == reference.size


def test_of_equal_errors_the_first_are_told() -> None:
    candidate = np.full(3 * PIECE, np.nan, np.float32)
    candidate[:5] = 0
    assert [one.place for one in of([np.zeros_like(candidate)], [candidate]).worst] == [(5 + n,) for n in range(MOST)]


def test_places_are_told_within_their_batch() -> None:
    found = of([np.zeros((2, 3)), np.zeros((1, 3))], [np.zeros((2, 3)), [[0, 0, 7.0]]])
    assert [(one.batch, one.place, one.error) for one in found.worst] == [(1, (0, 2), 7.0)]


@pytest.mark.parametrize(
    ("reference", "candidate", "told"),
    [
        ([1.0, np.nan], [1.0, np.nan], []),
        ([1.0, 2.0], [1.0, np.nan], [("2", "nan", None)]),
        ([np.inf, 2.0], [-np.inf, 2.5], [("inf", "-inf", None), ("2", "2.5", 0.5)]),
        ([2**60, 1], [2**60 + 1, 1], [(str(2**60), str(2**60 + 1), 1.0)]),
        ([True, False], [True, True], [("False", "True", None)]),
        (["a", "b"], ["a", "<b>"], [("b", "<b>", None)]),
        ([1 + 1j], [1 + 4j], [("1+1j", "1+4j", 3.0)]),
        ([1.0], [1 + 2**-40], [("1", "1.0000000000009095", 2**-40)]),
        (["a" * 90], ["a" * 90 + "b"], [("a" * 79 + "…", "a" * 79 + "…", None)]),
    ],
)
def test_what_is_no_plain_number_is_told_as_text(reference: list, candidate: list, told: list) -> None:
    assert [(one.expected, one.found, one.error) for one in of([reference], [candidate]).worst] == told


def test_narrow_types_are_compared_as_they_are() -> None:
    r, c = (np.array(values, ml_dtypes.bfloat16) for values in ([1.0, 2.0], [1.0, 2.5]))
    assert of([r], [c]).counts == {"-1": 1}


def test_outputs_that_cannot_be_compared_element_by_element_have_none() -> None:
    assert deviations([{"y": np.zeros(3)}], [{"y": np.zeros(4)}]) == ()
    assert deviations([{"y": np.zeros(3)}], [{"y": np.array(["a", "b", "c"])}]) == ()
    assert deviations([{"y": np.zeros(3)}], [{}]) == ()
    assert of([np.zeros((0, 3))], [np.zeros((0, 3))]).worst == ()


@pytest.mark.parametrize("counts", [{"x": 1}, {"-2000000000": 1}, {"1e9": 1}, {"0": 0}, {"0": -1}, {"0": 3}])
def test_a_run_whose_counts_are_none_is_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    found = Deviations("y", 3, 1, {"-1": 1, "63": 1}, ())
    store.write_run(run(record(deviations=(found,))), tmp_path)
    assert store.read_run(tmp_path).records[0].deviations == (found,)
    store.write_run(run(record(deviations=(replace(found, counts=counts),))), tmp_path)
    with pytest.raises(UsageError, match="deviations hold what is no count of errors"):
        store.read_run(tmp_path)


def test_of_several_builds_the_one_with_the_largest_error_is_shown() -> None:
    near, far, broken = (of([[0.0, 0.0]], [[0.0, value]]) for value in (0.5, 2.0, np.nan))
    assert worst([(near,), (far,)]) == (far,)
    assert worst([(far,), (broken,), (near,)]) == (broken,)
    more = of([[0.0, 0.0]], [[np.nan, np.nan]])
    assert worst([(broken,), (more,), (broken,)]) == (more,)
