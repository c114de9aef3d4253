# ruff: noqa: ARG002 - stand-ins have the arguments of what they stand for
"""`serving:` in suites: what it asks for, what is wrong with it, how it is judged and kept."""

from __future__ import annotations

import json
import time

import onnx
import pytest

from harness.backends.base import PLAIN, Mode, Step
from harness.judge.serving import judge_serving
from harness.records import LatencyPlan, MultiStream, Offline, Outcome, Server, ServingPlan, SingleStream
from harness.runner import serving
from harness.runner.digests import plan_digest
from harness.store import read_run
from harness.suites import load
from models import conv_net
from plans import plan
from test_suites_problems import told, told_of
from toy import fake_suite, harness


def served(folder, serving, defaults="", script="cases: [{latency_ms: 1.0}]"):
    """A suite of one case on the fake backend."""
    suite = fake_suite(folder, script)
    text = suite.read_text().replace("shapes: [{n: 1}, {n: 3}]", f"shapes: [{{n: 1}}], {serving}")
    suite.write_text(text.replace("defaults:\n", f"defaults:\n  {defaults}\n") if defaults else text)
    return suite


def ran(folder, serving, status=0):
    """The one record of a run of such a suite, and what is in run.json."""
    assert harness(folder, "run", served(folder, serving), "-o", folder / "out", "-q") == status
    (record,) = read_run(folder / "out").records
    return record, json.loads((folder / "out/run.json").read_text())["records"][0]


def test_a_suite_asks_for_scenarios_and_defaults_merge_key_by_key(tmp_path):
    suite = served(
        tmp_path,
        "serving: {sessions: 2, single_stream: {}, server: {p99_ms: 15, seed: 4}}",
        "serving: {max_time_s: 150, multi_stream: {samples: 4}, server: {p99_ms: 9, min_per_s: 5}, offline: "
        "{depth: 2}}",
    )
    (found,) = load([suite])

    assert found.serving == ServingPlan(
        2, 150, SingleStream(), MultiStream(4), Server(p99_ms=15, min_per_s=5, seed=4), Offline(depth=2)
    )
    assert found.case.id == "toy/small/fake/fp32/n-1"


def test_a_server_of_another_kind_replaces_that_of_the_defaults(tmp_path):
    suite = served(
        tmp_path, "serving: {server: {p90_ms: 5, rate_per_s: 7}}", "serving: {server: {p99_ms: 2, min_per_s: 3}}"
    )
    (found,) = load([suite])

    assert found.serving.server == Server(p90_ms=5, rate_per_s=7)


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        ("{servr: {p99_ms: 1}}", "serving.servr: unknown key 'servr', did you mean 'server'?"),
        ("{}", "serving: names no scenario: single_stream, multi_stream, server, offline or video"),
        ("{sessions: 2}", "serving: names no scenario: single_stream, multi_stream, server, offline or video"),
        ("{server: {}}", "serving.server: needs exactly one of p90_ms, p99_ms"),
        (
            "{server: {p90_ms: 1, p99_ms: 2}}",
            "serving.server: sets p90_ms and p99_ms; give exactly one of p90_ms, p99_ms",
        ),
        (
            "{server: {p99_ms: 1, rate_per_s: 2, min_per_s: 3}}",
            "serving.server: sets rate_per_s and min_per_s: no highest rate is searched where the rate is given",
        ),
        ("{server: {p99_ms: 0}}", "serving.server.p99_ms: must be greater than 0, not 0"),
        (
            "{server: {p99_ms: 1, rate_per_s: 2000000}}",
            "serving.server.rate_per_s: must be less than or equal to 1000000, not 2000000",
        ),
        ("{server: {p99_ms: 1, rate_per_s: 200/s}}", "serving.server.rate_per_s: must be a number, not '200/s'"),
        ("{multi_stream: {samples: 0}}", "serving.multi_stream.samples: must be greater than or equal to 1, not 0"),
        ("{sessions: 0, offline: {}}", "serving.sessions: must be greater than or equal to 1, not 0"),
        ("{offline: {depth: 0}}", "serving.offline.depth: must be greater than or equal to 1, not 0"),
    ],
)
def test_what_is_wrong_with_it_is_told(tmp_path, serving, message):
    assert told_of(tmp_path, f"serving: {serving}") == [f"models[0].{message}"]


def test_a_mistake_in_the_defaults_is_told_at_its_place(tmp_path):
    text = "suite: s\ndefaults:\n  serving:\n    sessions: 3\nmodels:\n  - {name: m, source: m.onnx}\n"

    assert told(tmp_path, text) == [
        "4:5: defaults.serving: names no scenario: single_stream, multi_stream, server, offline or video (in model 'm')"
    ]


def test_the_scenarios_are_measured_and_each_trial_is_recorded(tmp_path):
    record, stored = ran(
        tmp_path, "serving: {single_stream: {}, multi_stream: {samples: 4}, server: {p99_ms: 5}, offline: {}}"
    )

    assert record.measures["single_stream_p90_ms"] == pytest.approx(1.0)
    assert record.measures["multi_stream_p99_ms"] == pytest.approx(4.0)
    assert 300 < record.measures["server_per_s"] < 900
    assert record.measures["offline_per_s"] == pytest.approx(1000, rel=0.01)
    assert [trial["scenario"] for trial in stored["trials"]] == [trial.scenario for trial in record.trials]
    rates = [trial for trial in record.trials if trial.scenario == "server"]
    assert max(trial.rate_per_s for trial in rates if trial.holds) == record.measures["server_per_s"]
    assert any(trial.holds is False and trial.over for trial in rates)
    assert "serving: server: " in " ".join(record.notes)
    assert record.stages["serve_s"] > 0


def test_two_sessions_answer_twice_as_many(tmp_path):
    record, _ = ran(tmp_path, "serving: {sessions: 2, multi_stream: {samples: 4}, offline: {}}")

    assert record.measures["multi_stream_p99_ms"] == pytest.approx(2.0)
    assert record.measures["offline_per_s"] == pytest.approx(2000, rel=0.01)


@pytest.mark.parametrize(("least", "status"), [(100, 0), (990, 1)])
def test_a_highest_rate_below_its_least_fails_the_case(tmp_path, least, status):
    record, _ = ran(tmp_path, f"serving: {{server: {{p99_ms: 5, min_per_s: {least}}}}}", status)

    (check,) = [check for check in record.checks if check.metric == "server_per_s"]
    assert (check.name, check.question, check.ok) == ("resource/server_per_s", "resource", status == 0)
    assert (record.status, "resource/server_per_s: server " in record.headline) == (
        ("new", False) if status == 0 else ("failed", True)
    )


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        (
            "{max_time_s: 10, server: {p99_ms: 5, rate_per_s: 2}}",
            "rate_per_s: a trial at 2/s has 662 queries and takes 331 s, and max_time_s is 10",
        ),
        ("{server: {p90_ms: 5, min_per_s: 0.5}}", "min_per_s: a trial at 0.5/s has 64 queries and takes 128 s"),
        (
            "{max_time_s: 3, server: {p90_ms: 5, min_per_s: 500}}, latency: {min_time_s: 4}",
            "min_per_s: a trial at 500/s has 2000 queries and takes 4 s, and max_time_s is 3",
        ),
    ],
)
def test_a_rate_that_cannot_be_tried_in_time_is_told_when_the_suite_is_read(tmp_path, serving, message):
    (found,) = told_of(tmp_path, f"serving: {serving}")

    assert found.startswith(f"models[0].serving.server.{message}")


@pytest.mark.parametrize("limit", ["min_per_s: 7", "rate_per_s: 7"])
def test_a_rate_whose_trial_just_fits_is_read(tmp_path, limit):
    assert len(load([served(tmp_path, f"serving: {{max_time_s: 95, server: {{p99_ms: 5, {limit}}}}}")])) == 1


def test_a_scenario_that_was_not_measured_does_not_pass():
    asked = plan(serving=ServingPlan(server=Server(p99_ms=5, rate_per_s=2)))
    (check,) = judge_serving(asked, Outcome(measures={"server_p99_ms": None}))

    assert check.reason == "server p99 was not measured, so the limit of 5 ms cannot be checked: the notes say why"
    assert check.ok is False


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (ServingPlan(offline=Offline()), ServingPlan(offline=Offline(min_per_s=9)), True),
        (ServingPlan(single_stream=SingleStream(2.0)), ServingPlan(single_stream=SingleStream(1.0)), True),
        (ServingPlan(multi_stream=MultiStream(8)), ServingPlan(multi_stream=MultiStream(8, 2.0)), True),
        (ServingPlan(server=Server(p99_ms=5)), ServingPlan(server=Server(p99_ms=5, min_per_s=9)), True),
        (ServingPlan(server=Server(p99_ms=5)), ServingPlan(server=Server(p99_ms=6)), False),
        (ServingPlan(multi_stream=MultiStream(8)), ServingPlan(multi_stream=MultiStream(4)), False),
        (ServingPlan(offline=Offline()), ServingPlan(2, offline=Offline()), False),
        (None, ServingPlan(offline=Offline()), False),
    ],
)
def test_what_was_measured_is_judged_again_under_other_limits_alone(before, after, same):
    assert (plan_digest(plan(serving=before)) == plan_digest(plan(serving=after))) is same


def test_a_limit_is_judged_again_from_what_was_stored(tmp_path):
    suite = served(tmp_path, "serving: {offline: {min_per_s: 500}}")
    assert harness(tmp_path, "run", suite, "-o", tmp_path / "out", "-q") == 0
    suite.write_text(suite.read_text().replace("min_per_s: 500", "min_per_s: 5000"))

    assert harness(tmp_path, "judge", tmp_path / "out", "-o", tmp_path / "again", "-q") == 1
    (record,) = read_run(tmp_path / "again").records
    assert record.headline.startswith("resource/offline_per_s: offline 1000/s < 5000/s")
    assert record.trials == read_run(tmp_path / "out").records[0].trials


@pytest.mark.parametrize(
    ("load", "measures", "reasons"),
    [
        (ServingPlan(single_stream=SingleStream(2)), {"single_stream_p90_ms": 2.0}, ["single stream p90 2 ms <= 2 ms"]),
        (ServingPlan(multi_stream=MultiStream(8, 2)), {"multi_stream_p99_ms": 3.0}, ["multi stream p99 3 ms > 2 ms"]),
        (ServingPlan(server=Server(p90_ms=2.0, rate_per_s=5)), {"server_p90_ms": 1.0}, ["server p90 1 ms <= 2 ms"]),
        (ServingPlan(server=Server(p99_ms=2.0)), {"server_per_s": 0.0}, []),
        (ServingPlan(server=Server(p99_ms=2.0, min_per_s=9)), {"server_per_s": 8.0}, ["server 8/s < 9/s"]),
        (ServingPlan(offline=Offline(min_per_s=9)), {"offline_per_s": 9.0}, ["offline 9/s >= 9/s"]),
    ],
)
def test_times_have_a_most_and_rates_have_a_least(load, measures, reasons):
    checks = list(judge_serving(plan(serving=load), Outcome(measures=measures)))

    assert [check.reason for check in checks] == reasons
    assert [check.ok for check in checks] == ["=" in reason for reason in reasons]


def test_shapes_that_were_drawn_are_under_no_load(tmp_path):
    suite = served(tmp_path, "serving: {offline: {}}, profile: {n: [1, 2, 8]}, shape_fuzz: 1")

    assert [(found.fuzzed, found.serving is None) for found in load([suite])] == [(False, False), (True, True)]


class Events:
    """Moments of a stream on which each inference takes 20 ms; `wait` ends when the work is done."""

    def __init__(self, stream, count):
        self.stream = stream

    def mark(self, number):
        self.stream.marks += 1

    def wait(self, number):
        time.sleep(max(0.0, self.stream.busy_until - time.perf_counter()))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Gpu:
    """A session on a stream of its own; it knows the mode it was opened in, and whether it was closed."""

    def __init__(self, mode=PLAIN):
        self.mode, self.closed, self.busy_until, self.marks = mode, False, 0.0, 0

    def bind(self, feeds):
        return Step(self.run, stream=self)

    def run(self, count):
        self.busy_until = max(self.busy_until, time.perf_counter()) + 0.02 * count

    def close(self):
        self.closed = True


QUICK = LatencyPlan(min_time_s=0.1, min_count=5, warmup_s=0.0)


def on_gpu(monkeypatch, load, timing=QUICK):
    """What a load shows on sessions of a scripted GPU, and the sessions that it opened."""
    monkeypatch.setattr("harness.timing.lanes.Events", Events)
    monkeypatch.setattr("harness.runner.serving.throughput", lambda steps, plan: 1000.0 * len(steps) * plan.depth)
    first, opened = Gpu(), []

    def another(mode):
        opened.append(Gpu(mode))
        return opened[-1]

    return serving.serve(load, timing, "cuda", first, another, {}), first, opened


def test_each_session_but_the_first_is_opened_and_closed_again(monkeypatch):
    shown, first, opened = on_gpu(monkeypatch, ServingPlan(3, offline=Offline(depth=2)))

    assert ([one.closed for one in opened], first.closed) == ([True, True], False)
    assert all(one.marks for one in (first, *opened))
    assert shown.measures == {"offline_per_s": 6000.0}


def test_load_with_transfers_is_on_sessions_that_make_them(monkeypatch):
    timing = LatencyPlan(min_time_s=0.1, min_count=5, warmup_s=0.0, transfers=True)
    _, first, opened = on_gpu(monkeypatch, ServingPlan(2, offline=Offline()), timing)

    assert [one.mode for one in opened] == [Mode(transfers=True)] * 2
    assert first.marks == 0


def test_an_answer_of_a_gpu_is_there_when_its_stream_has_done_the_work(monkeypatch):
    shown, _, _ = on_gpu(monkeypatch, ServingPlan(2, max_time_s=0.5, multi_stream=MultiStream(4)))

    (trial,) = shown.trials
    assert trial.p50_ms >= 40  # two sessions, two samples each
    assert trial.p50_ms < 75


def test_onnxruntime_answers_under_load(tmp_path):
    onnx.save(conv_net(), tmp_path / "m.onnx")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "s.yaml").write_text(
        "suite: s\nmodels:\n  - name: m\n    source: m.onnx\n    latency: {min_time_s: 0.2}\n"
        "    options: {onnxruntime-cpu: {threads: 1}}\n"
        "    serving: {sessions: 2, single_stream: {}, multi_stream: {}, server: {p90_ms: 8}, offline: {}}\n"
    )
    assert harness(tmp_path, "run", tmp_path / "s.yaml", "-o", tmp_path / "out", "-q") == 0
    (record,) = read_run(tmp_path / "out").records

    assert all(record.measures[name] > 0 for name in ("single_stream_p90_ms", "multi_stream_p99_ms", "offline_per_s"))
    assert record.measures["server_per_s"] > 1
    assert {trial.scenario for trial in record.trials} == {"single_stream", "multi_stream", "server", "offline"}
