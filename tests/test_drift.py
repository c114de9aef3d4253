"""Errors that grow inside their limits: told, and failing where the suite gates on them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from builders import record, run
from harness.judge import judge
from harness.judge.drift import Accuracy, between, judge_drift, values_of
from harness.metrics.compare import compare
from harness.records import Digests, DriftPlan, Measurement, Outcome, Reference
from harness.report import compare as compare_runs
from harness.store import read_run
from harness.suites import load
from plans import plan
from toy import fake_suite, harness

RNG = np.random.default_rng(0)
OUTPUT = RNG.normal(size=(16, 10))
ERROR = RNG.normal(size=OUTPUT.shape)
DIGESTS = Digests(model="m", variant="v", inputs="i")
FP16 = "onnxruntime-cpu fp32"


def outcome(asked, size, spread=1.8, digests=DIGESTS):
    """What is measured of an output with an error of this relative size, `spread` times the noise of its twin.

    1.8 times passes as fidelity, and explains no growth; None: there is no twin.
    """
    measured = compare(asked, [{"y": OUTPUT}], [{"y": OUTPUT + size * ERROR}])
    about = {"members": 8.0, "noise_rms": 1e-4}
    times = {} if spread is None else {"twin_spread": spread, "twin_largest": 1.5 * spread}
    twin = [Measurement("y", name, value, about) for name, value in times.items()]
    return Outcome(measurements=(*measured, *twin), digests=digests)


def accepted(asked, size, spread=1.8, digests=DIGESTS, reference=FP16):
    return Accuracy(values_of(outcome(asked, size, spread).measurements), digests, reference)


def verdict(then, now, asked=None, **about):
    """On an output that is the same in every other way; a distance of the twin that did not grow drifts nowhere."""
    asked = asked or plan("fp16")
    return judge(asked, outcome(asked, now, **about), known=True, accepted=accepted(asked, then))


GATED = plan("fp16", drift=DriftPlan(gate=True))


def test_an_error_that_grew_inside_its_limit_is_told_and_passes():
    found = verdict(1e-4, 3.2e-4)

    assert found.status == "passed"
    assert found.headline.startswith("accuracy drifted: y ")
    assert "(3.2x) and 1 more, inside its limit; " in found.headline


def test_it_fails_where_the_suite_gates_on_it_and_the_headline_names_both_errors():
    found = verdict(1e-4, 3.2e-4, GATED)

    assert found.status == "failed"
    assert found.headline.startswith("budget: y/rmse_rel_drift: rmse_rel ")
    (check,) = [check for check in found.checks if check.name == "y/rmse_rel_drift"]
    assert (check.question, check.ok) == ("budget", False)
    assert check.limit == pytest.approx(2 * check.baseline)
    assert check.value == pytest.approx(3.2 * check.baseline)


@pytest.mark.parametrize("now", [0.0, 0.5e-4, 1e-4, 1.9e-4])
def test_growth_within_the_factor_is_no_drift(now):
    found = verdict(1e-4, now, GATED)

    assert found.status == "passed"
    assert "drifted" not in found.headline


def test_an_error_where_there_was_none_has_drifted():
    assert "was none" in verdict(0.0, 3e-4).headline


def test_errors_of_summing_in_another_order_never_drift():
    assert verdict(1e-8, 8e-7, GATED).status == "passed"


@pytest.mark.parametrize(("spread", "status"), [(1.4, "passed"), (1.6, "failed")])
def test_growth_that_rounding_explains_is_no_drift(spread, status):
    assert verdict(1e-4, 3.2e-4, GATED, spread=spread).status == status


OTHER = replace(DIGESTS, variant="w")


@pytest.mark.parametrize("about", [{"spread": None}, {"spread": 0.9, "digests": OTHER}])
@pytest.mark.parametrize(("now", "status"), [(8e-4, "passed"), (10e-4, "failed")])
def test_without_a_twin_of_the_same_file_twice_the_roundoff_of_the_precision_is_no_drift(about, now, status):
    """fp16 rounds to 2^-11 of a value, which is 4.9e-4; the error here is 1.1 times its size."""
    assert verdict(1e-4, now, GATED, **about).status == status


@pytest.mark.parametrize(("now", "drifted"), [(1.4, False), (2.4, True)])
def test_the_distance_from_the_precision_twin_drifts_above_the_noise(now, drifted):
    asked = plan("fp16")
    measured = outcome(asked, 1e-4, now)

    _, words = judge_drift(asked, measured, accepted(asked, 1e-4, 0.5))

    assert words.startswith("accuracy drifted: y twin_spread") == drifted


@pytest.mark.parametrize(("now", "drifted"), [(13, False), (30, True)])
def test_counts_drift_beyond_chance(now, drifted):
    asked = plan(output_limits={"y": {"mismatch_share_max": 0.9}})
    whole, some = np.zeros(100, np.int64), np.zeros(100, np.int64)
    some[:now] = 1
    measured = Outcome(measurements=compare(asked, [{"y": whole}], [{"y": some}]), digests=DIGESTS)
    before = Accuracy({"y": {"mismatches": 5.0}}, DIGESTS, None)

    assert ("mismatches" in judge_drift(asked, measured, before)[1]) == drifted


@pytest.mark.parametrize(("variation", "drifted"), [(2e-3, False), (1e-4, True)])
def test_an_error_that_grew_by_less_than_builds_of_one_run_differ_has_not_drifted(variation, drifted):
    measured = outcome(GATED, 3.2e-4)
    builds = Measurement("y", "build_variation", variation, {"builds": 3.0})
    measured = replace(measured, measurements=(*measured.measurements, builds))

    checks, _ = judge_drift(GATED, measured, accepted(GATED, 1e-4))

    (largest,) = [check for check in checks if check.metric == "max_abs"]
    assert largest.ok != drifted


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"digests": replace(DIGESTS, model="other")}, "the model changed"),
        ({"digests": replace(DIGESTS, inputs="other")}, "the inputs changed"),
        ({"reference": "onnxruntime-cuda fp32"}, "the reference changed"),
    ],
)
def test_errors_of_something_else_are_not_compared_and_the_check_says_so(changed, words):
    checks, told = judge_drift(GATED, outcome(GATED, 1e-2), accepted(GATED, 1e-4, **changed))

    (check,) = checks
    assert (check.name, check.ok, told) == ("drift", True, "")
    assert words in check.reason


def test_an_error_that_is_not_measured_any_more_fails_where_it_is_gated():
    measured = replace(outcome(GATED, 1e-4), measurements=(Measurement("y", "cosine", 1.0),))

    checks, _ = judge_drift(GATED, measured, accepted(GATED, 1e-4))

    assert {check.name: check.ok for check in checks} == {"y/rmse_rel_drift": False, "y/max_abs_drift": False}


def test_an_output_that_does_not_exist_fails():
    checks, _ = judge_drift(plan(output_drift={"z": DriftPlan(gate=True)}), outcome(plan(), 0), None)

    assert "no such output" in checks[0].reason
    assert not checks[0].ok


def test_the_nearest_setting_wins_key_by_key(tmp_path):
    (tmp_path / "m.onnx").touch()
    (tmp_path / "s.yaml").write_text(
        "suite: s\n"
        "defaults: {precisions: [fp32, fp16, int8], drift: {max_factor: 9, gate: true}}\n"
        "models:\n"
        "  - name: m\n"
        "    source: m.onnx\n"
        "    drift: {max_factor: 8, fp16: {max_factor: 7}, outputs: {y: {max_factor: 6, int8: {gate: false}}}}\n"
        "  - {name: other, source: m.onnx}\n"
    )

    found = {(p.case.model, p.case.precision): (p.drift, p.output_drift) for p in load([tmp_path / "s.yaml"])}

    assert found["other", "fp16"] == (DriftPlan(9.0, True), {})
    assert found["m", "fp32"] == (DriftPlan(8.0, True), {"y": DriftPlan(6.0, True)})
    assert found["m", "fp16"] == (DriftPlan(7.0, True), {"y": DriftPlan(6.0, True)})
    assert found["m", "int8"] == (DriftPlan(8.0, True), {"y": DriftPlan(6.0, False)})


@pytest.mark.parametrize("drift", ["{max_factor: 1}", "{max_factor: x}", "{gates: true}", "{outputs: {y: 3}}"])
def test_mistakes_in_drift_are_found_by_check(tmp_path, drift):
    (tmp_path / "m.onnx").touch()
    (tmp_path / "s.yaml").write_text(f"suite: s\nmodels: [{{name: m, source: m.onnx, drift: {drift}}}]\n")

    assert harness(tmp_path, "check", tmp_path / "s.yaml") == 2


def test_two_runs_tell_errors_that_drifted_between_them():
    before, after = (
        record(measurements=(Measurement("logits", "rmse_rel", value),), digests=DIGESTS) for value in (1e-3, 3e-3)
    )

    (change,) = compare_runs(run(before), run(after)).changes

    assert change.words == ("logits rmse_rel 0.001 -> 0.003 (3x): drifted",)
    assert not compare_runs(run(after), run(before)).changes


def test_a_reference_of_another_kind_is_told_apart():
    asked = plan("fp16", reference=Reference("file", file="/suites/ref.npz"))
    before = accepted(asked, 1e-4)

    assert "reference" in judge_drift(asked, outcome(asked, 1e-3), before)[0][0].reason


# --- through the commands -------------------------------------------------------------------------------------------


@pytest.fixture
def drifting(tmp_path, monkeypatch):
    """A folder with an accepted run and a later one whose error at n-1 is three times as large; gives the suite."""
    monkeypatch.chdir(tmp_path)
    suite = fake_suite(tmp_path, "cases: [{outputs: {y: {add: 1.0e-5}}}]")
    assert harness(tmp_path, "run", suite, "-o", "first") == 0
    assert harness(tmp_path, "accept", "first", "--reason", "a start") == 0
    (tmp_path / "script.yaml").write_text("cases: [{match: '*/n-1', outputs: {y: {add: 3.0e-5}}}]")
    assert harness(tmp_path, "run", suite, "-o", "second") == 0
    return suite


def test_a_run_tells_the_drift_of_its_cases(tmp_path, drifting, capsys):
    one, other = read_run(tmp_path / "second").records

    assert one.status == other.status == "passed"
    assert "accuracy drifted: y rmse_rel" in one.headline
    assert "(3x)" in one.headline
    assert "drifted" not in other.headline
    check = next(check for check in one.checks if check.name == "y/rmse_rel_drift")
    assert check.value == pytest.approx(3 * check.baseline, rel=0.05)
    assert one.reference == "fake fp32"


def test_what_is_read_first_says_how_many_cases_drifted(tmp_path, drifting, capsys):
    harness(tmp_path, "run", drifting, "-o", "third")

    assert "gate passed: 2 passed; accuracy drifted in 1, inside its limits" in capsys.readouterr().out
    assert (
        "Nothing blocks: 2 passed of 2 cases. Inside its limits, accuracy drifted in 1."
        in (tmp_path / "third/report.html").read_text()
    )
    assert "### Passed, accuracy drifted (1)" in (tmp_path / "third/summary.md").read_text()


def test_judge_decides_on_drift_again_from_what_was_stored(tmp_path, drifting):
    drifting.write_text(drifting.read_text().replace("defaults:", "defaults:\n  drift: {gate: true}"))

    assert harness(tmp_path, "judge", "second") == 1

    one, other = read_run(tmp_path / "second-judged").records
    assert (one.status, other.status) == ("failed", "passed")
    assert one.headline.startswith("budget: y/rmse_rel_drift: rmse_rel ")


def test_accepting_a_drifted_error_says_so_and_makes_it_the_measure(tmp_path, drifting, capsys):
    assert harness(tmp_path, "accept", "second", "--reason", "the new kernel rounds more") == 0

    assert "accepted with drifted accuracy: toy/small/fake/fp32/n-1 y rmse_rel" in capsys.readouterr().out
    assert harness(tmp_path, "run", drifting, "-o", "third") == 0
    assert "drifted" not in read_run(tmp_path / "third").records[0].headline


def test_the_change_stands_in_the_comparison_of_both_runs(tmp_path, drifting, capsys):
    assert harness(tmp_path, "compare", "first", "second") == 0

    assert "y rmse_rel" in capsys.readouterr().out


def test_a_baseline_without_the_reference_in_it_is_still_compared(tmp_path, drifting):
    (path,) = (tmp_path / "baselines").glob("*/toy.json")
    stored = json.loads(path.read_text())
    for entry in stored["cases"].values():
        assert entry.pop("reference") == "fake fp32"
    path.write_text(json.dumps(stored))

    harness(tmp_path, "run", drifting, "-o", "third")

    assert "accuracy drifted" in read_run(tmp_path / "third").records[0].headline


def test_nothing_drifts_between_equal_errors():
    asked = plan("fp16")

    assert between(accepted(asked, 1e-4), accepted(asked, 1e-4), "fp16") == []
