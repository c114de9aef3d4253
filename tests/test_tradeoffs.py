"""Rules of the trade-offs: what is weighed with what, what is on the Pareto front, what is compared with what."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from builders import case, check, environment, latency, quantiles, record, run
from harness.optimise.trials import Trial, front
from harness.pareto import SAME, Point
from harness.pareto import front as pareto
from harness.records import Acknowledgement, KnownFailure, Latency, LatencyPlan, Measurement, Record, Run
from harness.report import html
from harness.report.packing import FRONT, LINE, WINNER, WORTHY
from harness.report.rows import rows
from harness.report.search import Search, page
from harness.report.tradeoffs import NAMED, ROOM, UNSIZED, Tradeoff, weigh
from harness.runner.windows import host_bound
from harness.suites.derived import Build
from pages import index

TASK = check("task/top1", 0.9, 0.8, question="task", metric="top1")


def build(
    backend="tensorrt", precision="fp32", chain=(), p50_ms=1.0, accuracy=0.9, size=100.0, status="passed",
    model="m", shape="n-1", metric="top1", **changes,
) -> Record:  # fmt: skip
    """One timed build of a model, with a task unless the metric is an error."""
    built = "+".join((precision, *(step.replace(":", "-").replace("%", "") for step in chain)))
    made = record(f"s/{model}/{backend}/{built}/{shape}", status)
    one = replace(made, case=replace(made.case, precision=precision, chain=chain), reference="onnxruntime-cpu fp32")
    if made.latency is None:
        return replace(one, **changes)
    found = (Measurement("logits", metric, accuracy), Measurement("other", "top1", 0.99))
    measured = {
        "checks": ()
        if metric == "rmse_rel"
        else (replace(TASK, name=f"task/{metric}", metric=metric, value=accuracy),),
        "latency": latency(p50_ms),
        "measures": {} if size is None else {"model_bytes": size},
        "measurements": found,
    }
    return replace(one, **(measured | changes))


def weighed(*records: Record, **changes) -> Tradeoff:
    (found,) = all_weighed(run(*records, **changes))
    return found


def all_weighed(of: Run) -> tuple[Tradeoff, ...]:
    return weigh(of, rows(of.records))


def names(found: Tradeoff, places) -> list[str]:
    """Options as backend and build."""
    return [
        " ".join((found.options[at].backend, "+".join((found.options[at].precision, *found.options[at].chain))))
        for at in places
    ]


# --- the front ------------------------------------------------------------------------------------------------------

points = some.builds(
    Point, some.sampled_from([0.7, 0.8, 0.81, 0.9]), some.floats(0.1, 0.2), some.sampled_from([1.0, 2.0, 3.0])
)


@given(some.lists(points, min_size=1), some.sampled_from([0.0, 0.05]))
def test_there_is_always_a_front_and_what_is_off_it_is_beaten_by_something(found, room):
    best = pareto(found, room)
    assert best
    for place, one in enumerate(found):
        as_good = [
            other for other in found
            if other.merit + room >= one.merit and other.p50_ms <= one.p50_ms * SAME and other.bytes <= one.bytes
        ]  # fmt: skip
        better = [
            other for other in as_good
            if other.merit > one.merit + room or other.p50_ms * SAME < one.p50_ms or other.bytes < one.bytes
        ]  # fmt: skip
        assert (place in best) == (not better)


def test_latencies_within_five_percent_are_the_same():
    assert pareto([Point(0.9, 1.0, 1), Point(0.9, 1.049, 1)]) == [0, 1]
    assert pareto([Point(0.9, 1.0, 1), Point(0.9, 1.051, 1)]) == [0]


def test_what_is_as_good_and_smaller_takes_the_other_off_the_front():
    assert pareto([Point(0.9, 1.0, 2), Point(0.9, 1.04, 1)]) == [1]


TRIAL = Trial("fp32", Build("fp32"), "new", "", 0.9, 1.0, 100.0, window=quantiles(1.0))


def test_the_search_and_the_page_have_the_same_front():
    trials = [
        TRIAL,
        Trial("int8", Build("int8"), "new", "", 0.9, 0.5, 50.0, window=quantiles(0.5)),
        Trial("fp16", Build("fp16"), "failed", "", 0.5, 0.1, 10.0, window=quantiles(0.1)),
        Trial("bf16", Build("bf16"), "skipped", "no kernels"),
    ]
    drawn = index(page(Search(case(), "cpu-x", "top1", "p50", 0.01, "harness optimize"), trials, trials[1]))
    options = drawn["tradeoffs"][0][-1]
    on_front = [one[0] for one in options if len(one) > 4 and one[4] & FRONT]
    assert on_front == [trials.index(one) for one in front(trials)] == [1]
    assert [one[0] for one in options if len(one) > 4 and one[4] & WINNER] == [1]
    assert [row[0] for row in drawn["rows"]] == ["fp32", "int8", "fp16", "bf16"]


def test_a_page_without_scripts_names_the_files_that_stand_beside_it():
    search = page(Search(case(), "cpu-x", "top1", "p50", 0.01, "harness optimize"), [TRIAL], None)
    assert "table.md and trials.jsonl beside this file" in search
    assert "cases.csv and run.json beside this file" in html(run(build(), build(precision="fp16")))


# --- what is weighed ------------------------------------------------------------------------------------------------


def test_every_model_and_shape_with_two_timed_builds_is_weighed():
    found = all_weighed(run(
        build(), build(precision="fp16"),
        build(shape="n-8"), build(precision="fp16", shape="n-8"),
        build(model="alone"), build(model="alone", precision="fp16", latency=None),
    ))  # fmt: skip
    assert [(one.model, one.shape) for one in found] == [("m", "n-1"), ("m", "n-8")]


def test_a_run_without_such_a_model_has_no_section():
    assert 'id="tradeoffs"' in html(run(build(), build(precision="fp16")))
    assert 'id="tradeoffs"' not in html(run(build(), build(precision="fp16", status="skipped")))


def test_machine_classes_are_never_weighed_together():
    machines = {"main": environment(), "b": environment(fingerprint="other")}
    four = [build(), build(precision="fp16"), *(build(precision=p, environment="b") for p in ("fp32", "fp16"))]
    found = all_weighed(run(*four, environments=machines))
    assert [(one.machine, len(one.options)) for one in found] == [("nvidia-l4-x1", 2), ("other", 2)]


UNFIT = {
    "failed": {"status": "failed"},
    "error": {"status": "error"},
    "skipped": {"status": "skipped"},
    "missing": {"status": "missing"},
    "not timed": {"latency": None},
    "no time passed": {"latency": replace(latency(), gpu=quantiles(0.0))},
    "not finite": {"accuracy": None},
}


@pytest.mark.parametrize("why", UNFIT)
def test_what_cannot_ship_or_was_not_measured_is_shown_and_never_on_the_front(why):
    """However fast, small and accurate it is."""
    best = {"precision": "int8", "p50_ms": 0.01, "accuracy": 1.0, "size": 1.0}
    found = weighed(build(), build(precision="fp16"), build(**(best | UNFIT[why])))
    assert len(found.options) == 3
    assert found.options[-1].precision == "int8"
    assert 2 not in (*found.front, *found.line, *found.picks)


def test_where_a_size_is_not_known_size_does_not_count_and_the_page_says_so():
    """The small one is on the front for its size alone; what fails has no say in it."""
    small, fast = build(p50_ms=2.0, size=1.0), build(precision="fp16")
    assert len(weighed(small, fast).front) == 2
    unknown = {"precision": "int8", "p50_ms": 9.0, "accuracy": 0.1, "size": None}
    found = weighed(small, fast, build(**unknown))
    assert (names(found, found.front), found.picks[1], found.notes) == (["tensorrt fp16"], None, (UNSIZED,))
    assert len(weighed(small, fast, build(**unknown, status="failed")).front) == 2


@pytest.mark.parametrize("status", ["regressed", "inconclusive", "new", "improved"])
def test_an_accuracy_that_holds_may_be_on_the_front_whatever_became_of_the_latency(status):
    found = weighed(build(), build(precision="fp16", p50_ms=0.5, status=status))
    assert names(found, found.front) == ["tensorrt fp16"]


def test_a_failure_that_is_acknowledged_is_still_one():
    known = Acknowledgement(
        KnownFailure("s/m", "failed", "why", "X-1", "2026-01-01", "2026-09-01"), "failed", "headline"
    )
    found = weighed(build(), build(precision="fp16", p50_ms=0.1, status="acknowledged", acknowledgement=known))
    assert names(found, found.front) == ["tensorrt fp32"]


def test_the_fastest_stands_first_and_what_cannot_be_weighed_last():
    found = weighed(build(), build(precision="fp16", p50_ms=0.5), build(precision="int8", p50_ms=0.1, status="failed"))
    assert [one.precision for one in found.options] == ["fp16", "fp32", "int8"]


def test_the_picks_are_the_fastest_the_smallest_and_the_most_accurate_of_the_front():
    fast, small, exact = (
        build(precision="int8", p50_ms=0.5, accuracy=0.8), build(precision="fp16", size=10.0, accuracy=0.8), build()
    )  # fmt: skip
    lost = build(precision="bf16", p50_ms=0.1, size=1.0, accuracy=1.0, status="failed")
    found = weighed(fast, small, exact, lost)
    assert names(found, found.picks) == ["tensorrt int8", "tensorrt fp16", "tensorrt fp32"]


def test_of_about_as_fast_builds_the_more_accurate_is_the_fastest():
    found = weighed(build(precision="int8", p50_ms=0.97, accuracy=0.8, size=10.0), build(p50_ms=1.0))
    assert names(found, found.picks[:1]) == ["tensorrt fp32"]


# --- accuracy -------------------------------------------------------------------------------------------------------


def test_a_task_metric_is_of_the_output_that_the_task_judges():
    """Others may have a metric of that name."""
    assert {one.accuracy for one in weighed(build(), build(precision="fp16")).options} == {0.9}


def test_of_a_task_that_only_bounds_the_drop_the_metric_itself_is_weighed():
    drop = replace(TASK, name="task/top1_drop", metric="top1_drop", value=0.0)
    found = weighed(build(checks=(drop,)), build(precision="fp16", checks=(drop,)))
    assert (found.metric, found.options[0].accuracy) == ("top1", 0.9)


def test_of_a_word_error_rate_the_lower_is_better():
    found = weighed(build(metric="wer", accuracy=0.1), build(metric="wer", precision="fp16", accuracy=0.2))
    assert found.lower_is_better
    assert names(found, found.front) == ["tensorrt fp32"]


def test_what_mirrored_images_change_is_no_accuracy():
    """Of a model without a task such checks are the only ones about classes; less change is better of them."""
    changed = check("flip/logits/changed", 0.1, 0.2, question="task", metric="flip:changed")
    found = weighed(
        *(build(metric="rmse_rel", precision=name, checks=(changed,), measurements=(
            Measurement("logits", "flip:changed", 0.1), Measurement("logits", "rmse_rel", 1e-3)
        )) for name in ("fp32", "fp16"))
    )  # fmt: skip
    assert (found.metric, found.lower_is_better, found.options[0].accuracy) == ("rmse_rel", True, 1e-3)


def test_without_a_task_the_error_of_the_worst_output_counts():
    errors = (Measurement("a", "rmse_rel", 1e-3), Measurement("b", "rmse_rel", 1e-2), Measurement("c", "cosine", 0.5))
    found = weighed(build(metric="rmse_rel"), build(metric="rmse_rel", precision="fp16", measurements=errors))
    assert (found.metric, found.lower_is_better) == ("rmse_rel", True)
    assert {one.precision: one.accuracy for one in found.options}["fp16"] == 1e-2


def test_an_output_whose_error_is_no_number_keeps_a_build_off_the_front():
    errors = (Measurement("a", "rmse_rel", 1e-9), Measurement("b", "rmse_rel", None))
    found = weighed(
        build(metric="rmse_rel", accuracy=1e-3),
        build(metric="rmse_rel", precision="fp16", p50_ms=0.1, measurements=errors),
    )
    assert names(found, found.front) == ["tensorrt fp32"]


@pytest.mark.parametrize(
    ("errors", "both"),
    [((1e-3, 1e-3 * ROOM * 0.99), False), ((1e-3, 1e-3 * ROOM * 1.01), True), ((1e-9, 9e-7), False)],
)
def test_errors_that_builds_of_one_file_differ_by_are_the_same(errors, both):
    """The first is slower: it is on the front only where it is more accurate."""
    slow, fast = (
        build(metric="rmse_rel", precision=precision, accuracy=error, p50_ms=ms)
        for precision, error, ms in zip(("fp32", "fp16"), errors, (2.0, 1.0), strict=True)
    )
    assert len(weighed(slow, fast).front) == 1 + both


# --- conditions -----------------------------------------------------------------------------------------------------


def on_cpu(p50_ms: float) -> Latency:
    return replace(latency(p50_ms), gpu=None, decided_on="host")


def test_cpu_and_gpu_stand_side_by_side_on_the_clock_that_both_have_and_the_page_says_so():
    found = weighed(build(p50_ms=1.0), build(backend="onnxruntime-cpu", latency=on_cpu(8.0)))
    assert (found.clock, found.same_clock) == ("host", False)
    assert [one.p50_ms for one in found.options] == [1.04, 8.04]  # the host's clock is 40 µs above the GPU's
    assert [note for note in found.notes if "onnxruntime-cpu ran on the CPU" in note]


def test_builds_of_one_backend_on_different_clocks_are_told_as_well():
    found = weighed(build(), build(precision="fp16", latency=on_cpu(8.0)))
    assert (found.clock, [note for note in found.notes if "host's clock" in note]) == ("host", [*found.notes])
    assert found.notes


def test_cases_of_one_clock_are_weighed_on_it_without_a_word():
    found = weighed(build(p50_ms=1.0), build(precision="fp16", p50_ms=2.0))
    assert (found.clock, found.same_clock, found.notes) == ("gpu", True, ())
    assert [one.p50_ms for one in found.options] == [1.0, 2.0]


def differing(what: str) -> tuple[Record, Record, dict]:
    one, other = build(), build(precision="fp16")
    machines = {"main": environment(), "torch": environment(), "far": environment(host="ci-8")}
    window = latency()
    return {
        "settings": (one, replace(other, latency=replace(window, settings={**window.settings, "graph": False})), {}),
        "environments": (one, replace(other, environment="torch"), {"environments": machines}),
        "nodes": (one, other, {"environments": {"main": environment(host="ci-7, ci-8")}}),
        "hosts": (one, replace(other, environment="far"), {"environments": machines}),
        "sizes": (one, replace(other, measures={"engine_bytes": 5.0, "model_bytes": 9.0}), {}),
    }[what]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("settings", "timed with different settings: graph True or False"),
        ("environments", "several environments of one machine: main, torch"),
        ("nodes", "several machines of one class: ci-7, ci-8"),
        ("hosts", "several machines of one class: ci-7, ci-8"),
        ("sizes", "size: of the engine where a backend builds one, else of the model's file"),
    ],
)
def test_conditions_that_differ_are_told(what, told):
    one, other, changes = differing(what)
    assert weighed(one, other, **changes).notes == (told,)


def test_builds_whose_time_is_that_of_the_enqueueing_are_named():
    """As the runner says it of a case."""
    asked, gpu = LatencyPlan(), latency(1.0)
    (note,) = host_bound(gpu, {"enqueue_ms": 1.0}, asked)
    many = [build(precision="fp16", chain=(f"prune-{n}%",), notes=(note,)) for n in range(NAMED + 1)]
    (told,) = weighed(build(), *many).notes
    assert told.startswith("the GPU waits for the host in tensorrt fp16+prune-0, ")
    assert told.endswith(" and 1 more: their times are those of the enqueueing")


def test_windows_that_are_not_as_long_are_no_other_conditions():
    window = latency()
    longer = replace(window, settings={**window.settings, "warmup_s": 9.0})
    assert weighed(build(), build(precision="fp16", latency=longer)).notes == ()


def test_the_size_is_the_engines_where_there_is_one():
    both = build(measures={"engine_bytes": 5.0, "model_bytes": 9.0})
    assert weighed(both, build(precision="fp16")).options[0].bytes == 5.0


# --- what is compared with what -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backends", "base"),
    [
        (("tensorrt", "onnxruntime-cpu", "pytorch-cpu", "pytorch-cuda"), "pytorch-cuda fp32"),
        (("tensorrt", "onnxruntime-cpu", "pytorch-compiled-cuda"), "onnxruntime-cpu fp32"),
        (("tensorrt", "onnxruntime-cuda"), "tensorrt fp32"),
    ],
)
def test_the_base_is_pytorch_as_it_is_else_the_references_plain_model_else_the_slowest_plain_one(backends, base):
    timed = [build(backend=name, p50_ms=2.0 if name == "tensorrt" else 1.0) for name in backends]
    found = weighed(*timed, build(precision="int8", p50_ms=9.0))
    assert names(found, [found.base]) == [base]


def test_pytorch_of_another_environment_is_a_base_as_well():
    eager = build(backend="pytorch-cuda")
    eager = replace(eager, case=replace(eager.case, environment="torch"))
    found = weighed(eager, build(backend="onnxruntime-cpu"))
    assert names(found, [found.base]) == ["pytorch-cuda@torch fp32"]


def test_a_base_was_timed():
    found = weighed(build(backend="onnxruntime-cpu", latency=None), build(), build(precision="fp16"))
    assert names(found, [found.base]) == ["tensorrt fp32"]


CHAIN = ("fold-bn", "prune-30%")


def test_each_build_is_compared_with_the_longest_part_of_its_steps_that_is_there():
    builds = [
        build(), build(precision="int8"), build(chain=CHAIN[:1]), build(chain=CHAIN),
        build(precision="int8", chain=CHAIN),
        build(precision="fp16", chain=("prune-2:4",)), build(precision="as-is", chain=("weights-int8",)),
        build(precision="as-is", chain=(*CHAIN, "weights-int8")), build(backend="onnxruntime-cuda", precision="fp16"),
    ]  # fmt: skip
    found = weighed(*builds)
    assert {
        names(found, [at])[0]: None if of is None else names(found, [of])[0] for at, of in enumerate(found.previous)
    } == {
        "tensorrt fp32": None,
        "tensorrt int8": "tensorrt fp32",
        "tensorrt fp32+fold-bn": "tensorrt fp32",
        "tensorrt fp32+fold-bn+prune-30%": "tensorrt fp32+fold-bn",
        "tensorrt int8+fold-bn+prune-30%": "tensorrt fp32+fold-bn+prune-30%",
        "tensorrt fp16+prune-2:4": "tensorrt fp32",
        "tensorrt as-is+weights-int8": "tensorrt fp32",
        "tensorrt as-is+fold-bn+prune-30%+weights-int8": "tensorrt fp32+fold-bn+prune-30%",
        "onnxruntime-cuda fp16": None,  # of another backend says nothing of the step
    }


# --- how it travels -------------------------------------------------------------------------------------------------


def test_options_travel_beside_their_rows_and_times_only_where_the_rows_have_others():
    two = build(shape="n-2"), build(shape="n-2", precision="fp16")
    text = html(run(build(p50_ms=1.0), build(backend="onnxruntime-cpu", latency=on_cpu(8.0)), *two))
    drawn = index(text)
    mixed, same = (
        [dict(zip(drawn["fields"]["options"], one, strict=False)) for one in group[-1]] for group in drawn["tradeoffs"]
    )
    assert [one.get("times") for one in mixed] == [[1.04, 1.0296, 1.0504], [8.04, 7.9596, 8.1204]]
    assert [one.get("times") for one in same] == [None, None]
    assert [drawn["rows"][one["place"]][3] for one in mixed] == ["tensorrt", "onnxruntime-cpu"]
    assert mixed[0]["marks"] == WORTHY | FRONT | LINE
    assert drawn["rules"] == {"same": SAME, "smallest": 1e-6, "error": "rmse_rel", "room": ROOM}


def test_differences_that_the_front_counts_travel_with_it():
    """A size counts as it is, and a task metric too: one of 50,000 images is 0.00002."""
    sizes, values = (123_456_789.0, 123_456_788.0), (0.761304, 0.761298)
    builds = (build(precision=p, size=s, accuracy=a) for p, s, a in zip(("fp32", "fp16"), sizes, values, strict=True))
    (found,) = index(html(run(*builds)))["tradeoffs"]
    assert [one[1:3] for one in found[-1]] == [[0.761304, 123_456_789], [0.761298, 123_456_788]]


def test_numbers_that_end_numbers_leave_a_page_that_can_be_read():
    """Quotients of what a damaged file holds may be no numbers, or ones of three hundred digits."""
    wide = replace(quantiles(1e-8), p10_ms=1e-9, p90_ms=1e308)
    odd = build(latency=replace(latency(), gpu=wide), size=1e308, accuracy=1e308)
    text = json.dumps(index(html(run(odd, build(precision="fp16", p50_ms=1e308, size=5e-324))))["tradeoffs"])
    assert not re.search(r"Infinity|NaN|\d{20}", text)
