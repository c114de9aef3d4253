"""`builds: N`: fresh builds of a case, the worst of which decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from harness.allowed import allowing
from harness.backends.base import Artefact
from harness.backends.onnxruntime import Cpu
from harness.backends.onnxruntime_session import HostSession
from harness.judge import judge
from harness.records import LatencyPlan, Measurement, Source
from harness.runner.builds import variation, worst
from harness.runner.steps import Steps
from harness.store import read_run
from models import conv_net
from plans import plan
from test_metric_plugins import GOOD, distribution
from toy import harness

SUITE = """
suite: s
models:
  - {name: m, source: m.onnx, shapes: [{n: 4}], builds: 2, latency: {enabled: false}{more}}
"""


class Bench:
    """Measures a net on onnxruntime-cpu in this process, its sessions numbered in their order."""

    def __init__(self, folder, monkeypatch, precision="fp32", **changes):
        onnx.save(conv_net(), folder / "m.onnx")
        made = plan(precision, source=Source("file", str(folder / "m.onnx")), dimensions={"n": 4}, **changes)
        self.plan = replace(
            made, case=replace(made.case, backend="onnxruntime-cpu"), latency=LatencyPlan(enabled=False)
        )
        self.steps, self._folder = Steps(folder / "cache", folder, lambda _: None), folder
        self._patch, self.sessions = monkeypatch, []

    def outcome(self, change=None):
        self.steps.reference(self.plan, self._folder / "reference")
        self.steps.twin(self.plan, self._folder / "twin")
        healthy = HostSession.infer

        def infer(session, feeds):
            if session not in self.sessions:
                self.sessions.append(session)
            found = healthy(session, feeds)
            return change(self.sessions.index(session) + 1, found) if change else found

        self._patch.setattr(HostSession, "infer", infer)
        return self.steps.measure(self.plan, self._folder / "reference", self._folder / "twin", None)


def test_every_build_is_a_session_of_its_own_and_healthy_ones_pass(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, builds=3)

    outcome = bench.outcome()

    assert len(bench.sessions) == 3
    assert judge(bench.plan, outcome, known=True).status == "passed"
    (varied,) = [m for m in outcome.measurements if m.metric == "build_variation"]
    assert (varied.output, varied.value, varied.settings) == ("logits", 0.0, {"builds": 3.0, "times_noise": 0.0})
    assert "3 builds gave the same outputs" in outcome.notes


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_one_wrong_build_fails_the_case_and_is_named(tmp_path, monkeypatch, bad):
    bench = Bench(tmp_path, monkeypatch, builds=3)

    outcome = bench.outcome(lambda number, out: {"logits": out["logits"] * (1.1 if number == bad else 1)})

    verdict = judge(bench.plan, outcome, known=True)
    assert verdict.status == "failed"
    assert f"(the worst of 3 builds, number {bad})" in verdict.headline
    failing = [check for check in verdict.checks if not check.ok]
    assert {check.question for check in failing} == {"budget", "fidelity"}
    assert all(f"number {bad})" in check.reason for check in failing)


def test_the_variation_between_builds_is_told_in_the_outputs_unit_and_in_units_of_rounding(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, "fp16", builds=2)

    outcome = bench.outcome(lambda number, out: {"logits": out["logits"] + np.float32(1e-3) * (number - 1)})

    (varied,) = [m for m in outcome.measurements if m.metric == "build_variation"]
    assert varied.value == pytest.approx(1e-3, rel=1e-3)
    assert 0.5 < varied.settings["times_noise"] < 10
    assert any(note.startswith("2 builds differ most in 'logits': by up to 0.001, RMS ") for note in outcome.notes)


def test_builds_are_made_once_for_all_shapes_and_never_served_for_each_other(tmp_path, monkeypatch):
    made = []

    def build(self, spec, folder):
        made.append(folder)
        return Artefact(spec.model, digest=str(len(made)))

    monkeypatch.setattr(Cpu, "build", build)
    bench = Bench(tmp_path, monkeypatch, builds=3)

    bench.outcome()
    of_the_case = len(made) - 1  # the reference is built too
    bench.outcome()

    assert of_the_case == 3
    assert len(made) == len(set(made)) == 4


def test_the_worst_number_is_the_largest_error_the_lowest_agreement_and_what_is_absent():
    def build(error, cosine, ulp):
        return [Measurement("y", "max_abs", error), Measurement("y", "cosine", cosine), Measurement("y", "ulp", ulp)]

    found = {m.metric: m for m in worst([build(0.1, 0.9, 3.0), build(0.3, 0.99, None), build(0.2, 0.8, 4.0)])}

    assert {name: (m.value, m.settings["build"]) for name, m in found.items()} == {
        "max_abs": (0.3, 2.0), "cosine": (0.8, 3.0), "ulp": (None, 2.0),
    }  # fmt: skip


def test_the_worst_of_a_metric_of_ones_own_is_the_lowest_where_higher_is_better(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path, GOOD, evenness="EVEN"))

    with allowing(["evenness"]):
        (found,) = worst([[Measurement("y", "evenness", value)] for value in (0.9, 0.2, 0.5)])

    assert (found.value, found.settings["build"]) == (0.2, 2.0)


def test_builds_that_agree_are_not_told_apart():
    assert worst([[Measurement("y", "max_abs", 0.1)]] * 3) == (Measurement("y", "max_abs", 0.1),)


def test_the_largest_difference_is_that_of_any_two_builds():
    builds = [[{"y": np.array([value])}] for value in (0.0, 1.0, -1.0)]

    assert variation(builds, {})[0][0].value == 2.0


def test_integers_vary_by_how_many_differ():
    builds = [[{"y": np.array(values)}] for values in ([1, 2, 3], [1, 9, 9])]

    assert variation(builds, {})[0][0].value == 2.0


def test_builds_are_judged_again_from_what_was_kept_of_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    onnx.save(conv_net(), tmp_path / "m.onnx")
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{more}", ""))
    assert harness(tmp_path, "run", "suite.yaml", "-o", "out", "--keep-outputs") == 0
    (tmp_path / "suite.yaml").write_text(SUITE.replace("{more}", ", accuracy: {atol: 0.01}"))
    assert harness(tmp_path, "judge", "out", "-o", "same") == 0
    second = tmp_path / "out/outputs/s/m/onnxruntime-cpu/fp32/n-4/candidate-2/0-0.npy"
    np.save(second, np.load(second) + np.float32(0.1))

    assert harness(tmp_path, "judge", "out", "-o", "other") == 1

    assert "(the worst of 2 builds, number 2)" in read_run(tmp_path / "other").records[0].headline
    (tmp_path / "suite.yaml").write_text(SUITE.replace("builds: 2", "builds: 3").replace("{more}", ""))
    assert harness(tmp_path, "judge", "out", "-o", "more") == 2  # the third was never measured
