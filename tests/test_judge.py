"""The judge: statuses, headlines and exit statuses from measurements, without any I/O."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders import record
from harness.judge import judge
from harness.judge.gate import gate
from harness.judge.latency import Accepted
from harness.metrics.compare import compare
from harness.metrics.defaults import DEFAULTS
from harness.records import (
    BLOCKING,
    ERROR_KINDS,
    PRECISIONS,
    STATUSES,
    Admission,
    Duel,
    Failure,
    Latency,
    LatencyPlan,
    Launch,
    Measurement,
    Outcome,
    Quantiles,
    Screening,
    Task,
)
from harness.timing.loop import settings
from plans import plan

REFERENCE = np.linspace(-1, 1, 40).reshape(4, 10)


def outcome(asked, candidate, reference=REFERENCE, latency=None):
    return Outcome(measurements=compare(asked, [{"y": reference}], [{"y": candidate}]), latency=latency)


def timed(p50_ms, half_ms=0.001, **changes):
    quantiles = Quantiles(p50_ms, p50_ms * 1.1, p50_ms * 1.2, p50_ms, (p50_ms - half_ms, p50_ms + half_ms), 100)
    return Latency(quantiles, None, "host", {**settings(LatencyPlan()), **changes})


def checks(verdict):
    return {check.name: check for check in verdict.checks}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_has_default_limits(precision):
    assert DEFAULTS[precision]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_default_limits_do_not_depend_on_the_unit_of_the_output(scale):
    asked = plan()
    good = outcome(asked, REFERENCE * scale + 5e-5 * scale, REFERENCE * scale)
    bad = outcome(asked, REFERENCE * scale + 5e-4 * scale, REFERENCE * scale)

    assert judge(asked, good, known=False).status == "new"
    assert judge(asked, bad, known=False).status == "failed"


def test_an_explicit_limit_replaces_the_default_ones_of_its_output():
    asked = plan(limits={"max_abs": 0.1})
    verdict = judge(asked, outcome(asked, REFERENCE + 0.05), known=False)

    assert verdict.status == "new"
    assert [name for name in checks(verdict) if checks(verdict)[name].question == "budget"] == ["y/max_abs"]


def test_an_explicit_limit_never_replaces_the_checks_on_structure():
    asked = plan(limits={"max_abs": 1e9})
    broken = REFERENCE.copy()
    broken[0, 0] = np.nan

    verdict = judge(asked, outcome(asked, broken), known=False)

    assert verdict.headline.startswith("fidelity: y/nonfinite: 1 elements are NaN or infinite")


def test_the_headline_says_how_many_more_checks_failed():
    asked = plan()

    assert judge(asked, outcome(asked, -REFERENCE), known=False).headline.endswith("(also failed: 1 of budget)")


def test_a_share_of_mismatches_may_be_allowed():
    asked = plan(limits={"atol": 1e-6, "mismatch_share_max": 0.1})
    candidate = REFERENCE.copy()
    candidate[0, :4] += 1

    assert judge(asked, outcome(asked, candidate), known=False).status == "new"
    candidate[1, :1] += 1
    assert judge(asked, outcome(asked, candidate), known=False).status == "failed"


def test_integers_must_be_equal_by_default():
    asked = plan("fp16")
    numbers = np.arange(4)

    assert judge(asked, outcome(asked, numbers.copy(), numbers), known=False).status == "new"
    verdict = judge(asked, outcome(asked, numbers + 1, numbers), known=False)
    assert verdict.headline.startswith("budget: y/exact: 4 differ, of 4 elements")


def test_limits_for_all_outputs_do_not_touch_integers():
    asked = plan(limits={"atol": 1e9, "cosine_min": -1.0})
    numbers = np.arange(4)

    assert judge(asked, outcome(asked, numbers.copy(), numbers), known=False).status == "new"
    assert judge(asked, outcome(asked, numbers + 1, numbers), known=False).status == "failed"


@pytest.mark.parametrize(
    ("own", "passes"),
    [
        ({"mismatch_share_max": 0.5}, True),
        ({"mismatch_share_max": 0.2}, False),
        ({"atol": 1}, True),
        ({"atol": 0.5}, False),
    ],
)
def test_limits_that_name_an_integer_output_hold_for_it(own, passes):
    asked = plan(output_limits={"y": own})
    numbers = np.arange(4)
    verdict = judge(asked, outcome(asked, np.array([0, 1, 3, 4]), numbers), known=False)

    assert (verdict.status == "new") == passes, verdict.headline


def test_limits_that_decide_nothing_fail():
    asked = plan(output_limits={"y": {"topk": 3}})

    assert "decide nothing" in judge(asked, outcome(asked, REFERENCE), known=False).headline


def test_an_output_without_a_finite_element_was_not_compared():
    asked = plan()
    nothing = np.full((2, 2), np.nan)

    verdict = judge(asked, outcome(asked, nothing, nothing.copy()), known=False)

    assert verdict.headline.startswith("fidelity: y/nothing_finite: every element is NaN in both")


def test_infinities_that_are_the_same_in_both_are_no_failure():
    asked = plan()
    bottom = np.full((2, 2), -np.inf)

    assert judge(asked, outcome(asked, bottom, bottom.copy()), known=False).status == "new"


def test_large_integers_are_not_rounded_before_they_are_compared():
    asked = plan(output_limits={"y": {"max_abs": 0}})
    large = np.array([2**53], np.int64)

    assert judge(asked, outcome(asked, large + 1, large), known=False).status == "failed"


def test_strings_against_numbers_are_a_difference_of_types():
    asked = plan()

    verdict = judge(asked, outcome(asked, np.array(["a"], object), np.ones(1)), known=False)

    assert verdict.headline.startswith("fidelity: y/dtype_mismatches: dtype: expected float64, found object")


def test_a_top_k_agreement_with_another_k_has_to_be_measured_again():
    measured = outcome(plan(limits={"topk": 2, "topk_agreement_min": 0.9}), REFERENCE)

    verdict = judge(plan(limits={"topk": 3, "topk_agreement_min": 0.9}), measured, known=False)

    assert "topk_agreement could not be measured" in verdict.headline


def test_an_agreement_within_another_margin_has_to_be_measured_again():
    measured = outcome(plan(), REFERENCE)

    verdict = judge(plan(limits={"margin": 0.5, "argmax_agreement_min": 0.9}), measured, known=False)

    assert "argmax_agreement could not be measured" in verdict.headline


def test_a_case_that_is_no_longer_timed_is_inconclusive_where_the_baseline_was():
    asked = plan(latency=LatencyPlan(enabled=False))

    assert judge(asked, outcome(asked, REFERENCE), known=True, timed=Accepted(timed(1.0))).status == "inconclusive"


def test_a_slowdown_within_the_floor_says_so():
    asked = plan()

    verdict = judge(asked, outcome(asked, REFERENCE, latency=timed(0.024)), known=True, timed=Accepted(timed(0.020)))

    assert verdict.headline.endswith("a difference of 4 us is within floor_us 5")


def test_a_metric_that_could_not_be_measured_never_passes():
    asked = plan(limits={"rmse_rel_max": 0.1})

    verdict = judge(asked, outcome(asked, np.ones((2, 2)), np.zeros((2, 2))), known=False)

    assert "could not be measured" in verdict.headline


def test_a_limit_for_an_output_that_does_not_exist_fails():
    asked = plan(output_limits={"z": {"atol": 1.0}})

    assert "'z'" in judge(asked, outcome(asked, REFERENCE), known=False).headline


def test_nothing_compared_is_a_failure():
    assert judge(plan(), Outcome(), known=True).status == "failed"


TASK = Task("top1", "y", "labels.npz", min=0.9, max_drop=0.01)


@pytest.mark.parametrize(
    ("value", "reference", "failed"),
    [(0.95, 0.95, []), (0.94, 0.95, []), (0.93, 0.95, ["task/top1_drop"]), (0.89, 0.89, ["task/top1"])],
)
def test_a_task_metric_has_a_floor_and_a_largest_drop(value, reference, failed):
    asked = plan(task=TASK)
    measured = outcome(asked, REFERENCE)
    scores = (Measurement("y", "top1", value), Measurement("y", "top1_reference", reference))

    verdict = judge(asked, replace(measured, measurements=measured.measurements + scores), known=False)

    assert [name for name, check in checks(verdict).items() if not check.ok] == failed


HEARD = Task("wer", "y", "labels.npz", max=0.1, max_rise=0.01)


@pytest.mark.parametrize(
    ("value", "reference", "failed"),
    [
        (0.05, 0.05, []),
        (0.06, 0.05, []),
        (0.02, 0.09, []),
        (0.07, 0.05, ["task/wer_rise"]),
        (0.11, 0.11, ["task/wer"]),
        (1.5, 0.05, ["task/wer", "task/wer_rise"]),
    ],
)
def test_a_task_metric_that_is_better_when_lower_has_a_ceiling_and_a_largest_rise(value, reference, failed):
    asked = plan(task=HEARD)
    measured = outcome(asked, REFERENCE)
    scores = (Measurement("y", "wer", value), Measurement("y", "wer_reference", reference))

    verdict = judge(asked, replace(measured, measurements=measured.measurements + scores), known=False)

    assert [name for name, check in checks(verdict).items() if not check.ok] == failed
    if failed:
        assert f"{failed[0]}: wer {value:g}" in verdict.headline


@pytest.mark.parametrize("task", [TASK, HEARD])
def test_a_task_that_was_not_measured_fails(task):
    asked = plan(task=task)

    assert judge(asked, outcome(asked, REFERENCE), known=False).status == "failed"


@pytest.mark.parametrize(
    ("now", "then", "status"),
    [
        (timed(1.0), timed(1.0), "passed"),
        (timed(1.04), timed(1.0), "passed"),
        (timed(1.06), timed(1.0), "regressed"),
        (timed(1.06, half_ms=0.05), timed(1.0, half_ms=0.05), "inconclusive"),
        (timed(0.90), timed(1.0), "improved"),
        (timed(0.024), timed(0.020), "passed"),  # 20 %, but only 4 us
        (timed(1.06, cuda_graph=True), timed(1.0), "inconclusive"),  # measured in another way
    ],
)
def test_a_change_of_latency_counts_beyond_limit_floor_and_noise(now, then, status):
    asked = plan()

    thrice = Accepted(then, screening=Screening("p50", (), (), "host", (now, now)))

    assert judge(asked, outcome(asked, REFERENCE, latency=now), known=True, timed=thrice).status == status


@pytest.mark.parametrize("again", [None, 0, 1])
def test_a_slowdown_measured_fewer_than_three_times_decides_nothing(again):
    asked, now = plan(), timed(1.5)
    screening = None if again is None else Screening("p50", (), (), "host", (now,) * again)

    verdict = judge(
        asked, outcome(asked, REFERENCE, latency=now), known=True, timed=Accepted(timed(1.0), screening=screening)
    )

    assert verdict.status == "inconclusive"
    assert f"slower, but measured only {1 + (again or 0)} of 3 times" in verdict.headline
    assert checks(verdict)["latency/regression"].ok


def test_windows_of_other_lengths_are_compared_and_the_headline_names_them():
    asked = plan()
    now = timed(1.0, min_time_s=9.0, warmup_s=0.5, min_count=7)

    verdict = judge(asked, outcome(asked, REFERENCE, latency=now), known=True, timed=Accepted(timed(1.0)))

    assert verdict.status == "passed"
    assert "min_time_s 1.0 then, 9.0 now" in verdict.headline
    assert "warmup_s 0.2 then, 0.5 now" in verdict.headline


def test_launches_in_turns_decide_whatever_the_length_of_the_windows_but_not_on_other_iterations():
    launch = Launch(0.0, 0.0, 1.0, 1.0, 50, 500, "a")
    duel = Duel((launch,) * 5, "host", {}, "accepted artefact 1a2b3c4d")
    asked, admission = plan(), Admission(0.002, 10, 0.01)

    def found(now):
        timed_in_turns = Accepted(timed(1.0), duel, admission)
        return judge(asked, outcome(asked, REFERENCE, latency=now), known=True, timed=timed_in_turns)

    assert found(timed(1.0, min_time_s=9.0)).status == "passed"
    assert "min_time_s" not in found(timed(1.0, min_time_s=9.0)).headline
    assert found(timed(1.0, flush_l2=True)).status == "inconclusive"


def test_a_case_of_which_every_launch_failed_does_not_pass_on_its_stored_window():
    asked, duel = plan(), Duel((), "host", {}, "accepted artefact 1a2b3c4d", ("crash in time: signal 11",))

    verdict = judge(asked, outcome(asked, REFERENCE, latency=timed(1.0)), known=True, timed=Accepted(timed(1.0), duel))

    assert verdict.status == "inconclusive"
    assert "not timed in turns: crash in time: signal 11" in verdict.headline


def test_a_failure_comes_before_a_regression():
    asked = plan()

    verdict = judge(asked, outcome(asked, -REFERENCE, latency=timed(2.0)), known=True, timed=Accepted(timed(1.0)))

    assert verdict.status == "failed"


def test_an_untimed_case_with_a_baseline_passes():
    asked = plan(latency=LatencyPlan(enabled=False))

    assert judge(asked, outcome(asked, REFERENCE), known=True).status == "passed"


def failure(kind):
    return replace(record("s/m/b/p/x", "error"), error=Failure(kind, "infer", "it broke"))


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_errors_of_the_code_exit_1_and_errors_of_the_machine_exit_3(kind):
    expected = 1 if kind in ("build", "unsupported", "input") else 3

    assert gate([failure(kind), record("s/m/b/p/y", "passed")]).exit_status == expected


@pytest.mark.parametrize("status", STATUSES)
def test_only_blocking_statuses_block(status):
    if status == "error":
        return
    decided = gate([record("s/m/b/p/x", status), record("s/m/b/p/y", "passed")])

    assert decided.exit_status == int(status in BLOCKING)
    assert decided.passed == (status not in BLOCKING)


def test_a_failed_case_outweighs_a_machine_that_failed():
    assert gate([failure("crash"), record("s/m/b/p/y", "failed")]).exit_status == 1


def test_a_run_in_which_every_case_was_skipped_fails():
    assert gate([record("s/m/b/p/x", "skipped")]).exit_status == 1


def test_fail_on_names_statuses_that_exit_4_unless_something_worse_happened():
    assert gate([record("s/m/b/p/x", "new")], ["new"]).exit_status == 4
    assert gate([record("s/m/b/p/x", "new"), record("s/m/b/p/y", "failed")], ["new"]).exit_status == 1
