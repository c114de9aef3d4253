"""Rules of `harness optimize`: what it tries, what it takes for the best, what it writes, how it goes on."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from harness import suites
from harness.cli import main
from harness.commands.optimize import _append, _read
from harness.commands.values import duration, share
from harness.errors import UsageError
from harness.optimise.search import MIXED, PLAIN, SINGLE, following
from harness.optimise.trials import Trial, best, front
from harness.records import ERROR_KINDS
from harness.report.variants import table
from harness.suites.derived import Build, derived
from pages import index

DIGITS = Path(__file__).parents[1] / "suites" / "digits"
INT8 = Build("int8")
PRUNED = Build("fp32", ("prune-2:4",))


TRIED = ((PLAIN, 0.02, 100.0), (INT8, 0.05, 50.0), (PRUNED, 0.03, 50.0))


def tried(build=PLAIN, accuracy=0.9, p50_ms=1.0, size=100.0, status="new") -> Trial:
    return Trial("+".join((build.precision, *build.steps)), build, status, "why", accuracy, p50_ms, size)


# --- what is tried ------------------------------------------------------------------------------------------------


def test_the_plain_model_comes_first_and_nothing_twice():
    assert next(following([], "p50")) == PLAIN
    trials, order = [], []
    while (build := next(following(trials, "p50"), None)) is not None:
        order.append(build)
        trials.append(tried(build, p50_ms=1 / (len(order) + 1)))
    assert len(set(order)) == len(order)
    assert {*SINGLE} <= {*order}


def test_every_build_is_a_chain_that_a_suite_may_say():
    held = [tried(build) for build in (PLAIN, *SINGLE)]
    for build in (*SINGLE, *MIXED, *following(held, "size")):
        if build.steps:
            text = f"suite: s\nmodels: [{{name: m, source: digits_cnn.onnx, variants: [{build.chain}]}}]"
            assert suites.plans_of(text, DIGITS / "s.yaml")[-1].case.chain == build.steps


def test_mixed_precision_is_tried_where_the_whole_model_fails():
    trials = [tried(PLAIN), *(tried(one, status="failed" if one == INT8 else "new") for one in SINGLE)]
    left = [*following(trials, "p50")]
    assert {one for one in MIXED if one.precision == "int8"} <= {*left}
    assert not {one for one in MIXED if one.precision == "fp16"} & {*left}


def test_only_what_held_is_combined():
    trials = [tried(one, status="new" if one in (PLAIN, INT8, PRUNED) else "skipped") for one in (PLAIN, *SINGLE)]
    assert [*following(trials, "p50")] == [Build("int8", ("prune-2:4",))]


# --- what is best -------------------------------------------------------------------------------------------------


def test_the_smallest_that_holds_wins():
    plain, small, tiny = tried(), tried(INT8, size=50), tried(PRUNED, size=10, status="failed")
    assert best([plain, small, tiny], plain, "size") == small


def test_a_latency_within_five_percent_wins_nothing():
    plain = tried()
    assert best([plain, tried(INT8, p50_ms=0.96)], plain, "p50") is None
    assert best([plain, tried(INT8, p50_ms=0.9)], plain, "p50") is not None


def test_a_time_of_nothing_wins_nothing():
    plain = tried()
    assert best([plain, tried(INT8, p50_ms=0.0)], plain, "p50") is None


def test_of_equals_the_most_accurate_and_then_the_plainest_wins():
    plain = tried()
    a, b, c = tried(INT8, 0.8, size=50), tried(PRUNED, 0.9, size=50), tried(Build("int8", ("a", "b")), 0.9, size=50)
    assert best([plain, a, c, b], plain, "size") == b


@pytest.mark.parametrize("objective", ["p50", "size"])
def test_the_winner_is_on_the_front(objective):
    """Another that is as fast, as accurate and smaller would be the better one, though it has more steps."""
    plain = tried()
    large, small = tried(INT8, 0.9, 0.50, 49.0), tried(Build("int8", ("a", "b")), 0.9, 0.51, 48.0)
    assert front([plain, large, small]) == [small]
    assert best([plain, large, small], plain, objective) == small


def test_what_beats_the_plain_model_wins_also_where_a_smaller_one_that_does_not_keeps_it_off_the_front():
    plain, fast, small = tried(), tried(INT8, p50_ms=0.94), tried(PRUNED, p50_ms=0.97, size=50.0)
    assert best([plain, fast, small], plain, "p50") == fast


def test_a_task_metric_that_is_better_when_lower_is_taken_so():
    plain, a, b = (replace(tried(build, wrong, size=size), lower_is_better=True) for build, wrong, size in TRIED)
    assert best([plain, a, b], plain, "size") == b
    assert front([a, b]) == [b]


def test_the_front_holds_what_nothing_else_is_as_good_as():
    plain, faster, smaller = tried(), tried(INT8, p50_ms=0.5), tried(PRUNED, size=50)
    worse, failed = tried(Build("bf16"), 0.8, p50_ms=0.6), tried(Build("fp16"), 1.0, 0.1, 1.0, status="failed")
    assert front([plain, faster, smaller, worse, failed]) == [faster, smaller]
    assert front([plain, replace(plain, p50_ms=0.99)]) == [plain, replace(plain, p50_ms=0.99)]  # the same latency


def test_the_table_tells_winner_front_costs_and_reasons():
    plain, winner, lost = tried(), tried(INT8, 0.88, 0.5, 25.0), Trial("bf16", Build("bf16"), "skipped", "no kernels")
    lines = table([plain, winner, lost], [winner], winner, plain)
    assert "| accuracy | change | p50 |" in lines[0]  # signed as measured: a rise is no cost of every metric
    assert "| >* | int8 | new | 0.8800 | -0.0200 | 0.5 ms | 2.00x | 25 | 4.00x |  |  |" in lines
    assert any("bf16 | skipped" in line and line.endswith("| no kernels |") for line in lines)


def test_the_table_never_says_that_nothing_differs_where_something_does():
    plain = tried()
    near = table([plain, tried(INT8, 0.90002, 400.0, 100.4)], [], None, plain)
    assert "| 0.9000 | +2e-05 | 400 ms | 0.0025x | 100 | 0.996x |" in near[3]
    assert "| 0.9000 | +0.0000 | 1 ms | 1.00x | 100 | 1.00x |" in near[2]


# --- the suite that is written ------------------------------------------------------------------------------------


def test_the_suite_has_the_model_its_backend_and_the_build_beside_the_plain_model():
    build = Build("as-is", ("prune-2:4", "weights-int8"), makes_precision=True)
    text = derived((DIGITS / "digits.yaml").read_text(), "digits-cnn", "onnxruntime-cpu", build, 0.005, "won")
    plans = suites.plans_of(text, DIGITS / "won.yaml")
    assert [plan.case.id for plan in plans if plan.case.shape == "n-1"] == [
        "won/digits-cnn/onnxruntime-cpu/fp32/n-1",
        "won/digits-cnn/onnxruntime-cpu/as-is+prune-2-4+weights-int8/n-1",
    ]
    assert {plan.task.max_drop for plan in plans} == {0.005}
    assert "# " in text  # comments stay


def test_a_task_metric_that_is_better_when_lower_has_a_largest_rise():
    speech = DIGITS.parent / "speech"
    text = derived((speech / "speech.yaml").read_text(), "digits-ctc", "onnxruntime-cpu", INT8, 0.005, "won")
    assert {(p.task.max_rise, p.task.max_drop) for p in suites.plans_of(text, speech / "won.yaml")} == {(0.005, None)}


def test_a_model_without_a_task_cannot_be_judged():
    with pytest.raises(UsageError, match="model 'm': has no task to be judged by"):
        derived("suite: s\nmodels: [{name: m, source: x.onnx}]", "m", "onnxruntime-cpu", INT8, 0.01, "won")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_time_has_a_unit(text, value):
    assert duration(text) == value


@pytest.mark.parametrize(("text", "value"), [("0.5%", 0.005), ("0.005", 0.005), ("0", 0)])
def test_a_share_is_written_either_way(text, value):
    assert share(text) == value


@pytest.mark.parametrize("text", ["100%", "-1%", "much", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        share(text)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("digits.npz", "digits_cnn.onnx"):
        shutil.copy(DIGITS / name, tmp_path)
    text = (DIGITS / "digits.yaml").read_text().replace("[{n: 1}, {n: 64}]", "[{n: 64}]")
    quick = text.replace("latency: {regression: 15%}", "latency: {min_time_s: 0.05, warmup_s: 0.01}")
    (tmp_path / "digits.yaml").write_text(quick)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


SEARCH = (
    "optimize digits.yaml -k onnxruntime-cpu --objective size --max-drop 0.5% -o out --artefacts cache --launches 0"
)


def test_a_small_variant_is_found_and_its_suite_passes(project, capsys):
    """Within a budget of no time only the plain model is tried; the same command goes on from there."""
    assert main([*SEARCH.split(), "--budget", "0.001"]) == 1
    assert "the time is up after 1 builds" in capsys.readouterr().out
    assert not (project / "digits.optimised.yaml").exists()
    first = (project / "out" / "trials.jsonl").read_text()
    assert main([*SEARCH.split(), "--budget", "20s"]) == 0
    told = capsys.readouterr().out
    assert (project / "out" / "trials.jsonl").read_text().startswith(first)
    keys = [json.loads(line)["key"] for line in (project / "out" / "trials.jsonl").read_text().splitlines()]
    assert len({*keys}) == len(keys) > 1  # nothing is measured twice
    assert (project / "out" / "table.md").read_text() in told
    drawn = index((project / "out" / "tradeoffs.html").read_text())
    assert [row[0] for row in drawn["rows"]] == [
        json.loads(line)["trial"]["name"] for line in (project / "out" / "trials.jsonl").read_text().splitlines()
    ]
    assert [row[drawn["fields"]["rows"].index("p50_ms")] is None for row in drawn["rows"]].count(False) > 3
    run = "run digits.optimised.yaml -o again --artefacts cache"
    assert main(run.split()) == 0
    assert "2 passed" in capsys.readouterr().out
    won = next(plan for plan in suites.load([project / "digits.optimised.yaml"]) if plan.case.chain)
    assert "weights-int" in won.case.id
    assert main([*SEARCH.split(), "--budget", "20s"]) == 2  # the suite is never overwritten unasked
    other = SEARCH.replace("0.5%", "0%")
    assert main([*other.split(), "--budget", "20s", "--force"]) == 0  # another winner takes the place of the first
    assert main(run.replace("again", "third").split()) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("optimize digits_cnn.onnx", "a model alone does not say what is good enough"),
        ("optimize digits.yaml --task-metric wer", "has the task metric 'top1'"),
    ],
)
def test_what_cannot_be_searched_is_told(project, capsys, words, told):
    assert main(words.split()) == 2
    assert told in capsys.readouterr().err


def test_a_model_that_changed_is_measured_anew(project, capsys):
    """What was measured of another model says nothing of this one, though the suite is the same."""
    assert main([*SEARCH.split(), "--budget", "0.001"]) == 1
    model = onnx.load("digits_cnn.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, "digits_cnn.onnx")
    capsys.readouterr()

    assert main([*SEARCH.split(), "--budget", "0.001"]) == 2
    told = capsys.readouterr()
    assert "failed   fp32: 0.1" in told.out
    assert "/fp32/n-64: the plain model fails, so nothing can be won: " in told.err
    assert "fp16" not in told.out  # no other build is measured


@pytest.mark.parametrize("kind", [*ERROR_KINDS, None])
def test_a_build_is_tried_again_where_the_machine_failed_and_not_where_the_build_did(kind):
    """A journal of before does not say of which kind an error was."""
    assert replace(tried(status="error"), error=kind).may_pass == (kind not in ("build", "unsupported", "input"))
    assert not replace(tried(status="failed"), error=None).may_pass


def test_what_a_crash_left_unmeasured_is_measured_by_the_next_call(project, capsys):
    assert main([*SEARCH.split(), "--budget", "0.001"]) == 1
    journal = project / "out" / "trials.jsonl"
    line = json.loads(journal.read_text())

    def left(kind: str) -> None:
        trial = {**line["trial"], "status": "error", "why": kind, "error": kind, "p50_ms": None, "window": None}
        journal.write_text(json.dumps({**line, "trial": trial}) + "\n")

    left("crash")
    assert main([*SEARCH.split(), "--budget", "0.001"]) == 1
    again = [json.loads(one) for one in journal.read_text().splitlines()]
    assert [one["key"] for one in again] == [line["key"]] * 2
    assert [one["trial"]["status"] for one in again] == ["error", "new"]

    left("build")
    assert main([*SEARCH.split(), "--budget", "0.001"]) == 2
    assert "the plain model fails, so nothing can be won: build" in capsys.readouterr().err
    assert len(journal.read_text().splitlines()) == 1


def test_where_the_time_is_up_nothing_that_was_measured_before_is_lost(project, capsys):
    """A crash that stands early in the journal is left as it is, and what follows it counts."""
    assert main([*SEARCH.split(), "--budget", "20s"]) == 0
    journal, table_of = project / "out" / "trials.jsonl", project / "out" / "table.md"
    first, *second = [json.loads(line) for line in journal.read_text().splitlines()]
    crashed = {**second[0]["trial"], "status": "error", "why": "crash", "error": "crash", "p50_ms": None}
    changed = [first, {**second[0], "trial": crashed}, *second[1:]]
    journal.write_text("".join(json.dumps(line) + "\n" for line in changed))
    winner = next(line for line in table_of.read_text().splitlines() if line.startswith("| >"))
    capsys.readouterr()

    assert main([*SEARCH.split(), "--budget", "0.001", "--force"]) == 0
    assert winner in table_of.read_text()
    assert f"| {crashed['name']} | error |" in table_of.read_text()
    assert "the time is up after" in capsys.readouterr().out
    assert len(journal.read_text().splitlines()) == len(changed)


def test_what_is_measured_after_a_line_that_was_cut_off_is_kept(tmp_path):
    journal = tmp_path / "trials.jsonl"
    for cut in (b"", b'{"key": "a", "tri', b"\n"):
        journal.write_bytes(cut)
        _append(journal, "b", tried())
        _append(journal, "c", tried())
        assert [key for key, _ in _read(journal)] == ["b", "c"]


def test_a_model_that_is_not_timed_is_refused_before_anything_is_measured(project, capsys):
    suite = project / "digits.yaml"
    suite.write_text(suite.read_text().replace("latency: {", "latency: {enabled: false, "))

    assert main(SEARCH.split()) == 2
    assert "digits-cnn: is not timed, so no trial could hold: set latency.enabled: true" in (capsys.readouterr().err)
    assert not (project / "out").exists()


def test_a_journal_that_is_no_text_counts_as_not_measured(tmp_path):
    journal = tmp_path / "trials.jsonl"
    journal.write_bytes(b'null\n{"key": 1}\n[1]\n\xff\xfe\n')

    assert dict(_read(journal)) == {}


def test_a_winner_whose_suite_fails_is_told_and_is_no_baseline(project, capsys):
    """The search has the last shape alone; the suite has every one, and 450 images take longer than one."""
    suite = project / "digits.yaml"
    both = suite.read_text().replace("[{n: 64}]", "[{n: 450}, {n: 1}]")
    suite.write_text(both.replace("latency: {", "latency: {budget: {p99_ms: 3}, "))

    assert main([*SEARCH.split(), "--budget", "6s"]) == 1
    told = capsys.readouterr().out
    assert "digits.optimised.yaml: " in told
    assert "; it does not pass in all its cases, so it is not accepted as a baseline" in told
    assert not (project / "baselines").exists()
