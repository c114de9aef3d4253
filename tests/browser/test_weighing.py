"""The trade-offs on the page: picture and tables say the same, beside the base that the reader chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from opening import NARROW, WIDE, Open

from builders import case, check, latency, quantiles, record, run
from harness.optimise.trials import Trial
from harness.records import Acknowledgement, KnownFailure, Measurement, Record, Run
from harness.report.search import Search, page
from harness.suites.derived import Build

VIEW = "#trade-view"
KNOWN = Acknowledgement(
    KnownFailure("s/resnet", "regressed", "why", "X-1", "2026-01-01", "2026-09-01"), "regressed", "headline"
)
SPEEDS = {"pytorch-cuda": 4.0, "onnxruntime-cuda": 2.0, "tensorrt": 1.0}
PRECISIONS = {"fp32": (1.0, 0.9, 400.0), "fp16": (2.0, 0.89, 200.0), "int8": (4.0, 0.8, 100.0)}


def timed(backend: str, precision: str, model="resnet", chain=(), **changes) -> Record:
    speed, top1, size = PRECISIONS[precision]
    built = "+".join((precision, *chain))
    one = record(f"s/{model}/{backend}/{built}/n-1", **changes)
    return replace(
        one,
        case=replace(one.case, precision=precision, chain=tuple(chain)),
        latency=one.latency and latency(SPEEDS[backend] / speed),
        checks=(check("task/top1", top1, 0.5, question="task", metric="top1"),),
        measures={"model_bytes": size * 1024},
        measurements=(Measurement("logits", "top1", top1),),
    )


def three_backends() -> Run:
    """PyTorch as it is, ONNX Runtime and TensorRT at three precisions; one fails, one is skipped, one is in doubt."""
    odd = {
        ("onnxruntime-cuda", "int8"): {"status": "failed", "headline": "top1 0.3 < 0.5"},
        ("pytorch-cuda", "int8"): {"status": "skipped", "headline": "PyTorch has no such kernels"},
        ("tensorrt", "fp16"): {"status": "inconclusive"},
    }
    timed_all = [
        timed(name, precision, **odd.get((name, precision), {})) for name in SPEEDS for precision in PRECISIONS
    ]
    return run(*timed_all, timed("tensorrt", "fp32", model="bert"), timed("tensorrt", "int8", model="bert"))


def rows_of(opened, table: str) -> list[list[str]]:
    """The words of each row, with plain signs; what only screen readers have is left out."""
    rows = opened.page.locator(f"{VIEW} table.{table} tbody tr").all_inner_texts()
    plain = str.maketrans({"\u00d7": "x", "\u2212": "-"})
    return [[" ".join(cell.translate(plain).split()) for cell in row.split("\t")] for row in rows]


PLACES = """(all) => all.map((one) => ({
  title: one.querySelector("title").textContent,
  x: parseFloat(one.querySelector("circle").getAttribute("cx")),
  y: parseFloat(one.querySelector("circle").getAttribute("cy")),
}))"""
SHOWN = "#of=resnet · n-1"


def test_the_table_has_accuracy_time_and_size_of_every_build_beside_the_base(opened: Open) -> None:
    shown = opened(three_backends(), SHOWN)
    first, *_ = rows_of(shown, "options")
    assert first[0].startswith("1 ★")
    assert first[1:6] == ["tensorrt", "int8", "0.8", "-0.1", "0.2500"]
    assert first[6:9] == ["16.0x", "100 KiB", "4.00x"]
    assert "passed" in first[9]
    assert [row[0] for row in rows_of(shown, "options") if "base" in row[0]] == ["7 base"]


def test_failures_and_doubts_are_marked_and_what_was_not_timed_stands_apart(opened: Open) -> None:
    shown = opened(three_backends(), SHOWN)
    options = rows_of(shown, "options")
    failed = next(row for row in options if "failed" in row[-1])
    assert "★" not in failed[0]
    assert "top1 0.3 < 0.5" in failed[-1]
    assert [row[1:3] for row in options if row[5].startswith("? ")] == [["tensorrt", "fp16"]]
    assert len(options) == 8
    assert shown.texts(f"{VIEW} .trade-table summary") == ["1 case was not timed, and is never on the front"]
    assert "PyTorch has no such kernels" in shown.page.locator(f"{VIEW} .trade-table details").inner_text()


@pytest.mark.parametrize("status", ["inconclusive", "regressed", "acknowledged"])
def test_a_tile_and_a_speed_up_say_what_is_not_settled_of_their_build(opened: Open, status: str) -> None:
    """The accuracy of such a build holds, its time may not."""
    fast = timed("tensorrt", "fp16", status=status, acknowledgement=KNOWN if status == "acknowledged" else None)
    shown = opened(run(timed("pytorch-cuda", "fp32"), fast))
    assert status in shown.page.locator(f"{VIEW} .tile").first.inner_text()
    assert status in rows_of(shown, "speed-ups")[1][2]
    assert "passed" not in shown.page.locator(f"{VIEW} .tile").last.inner_text()


def test_the_picture_has_a_dot_a_build_with_the_numbers_of_the_table(opened: Open) -> None:
    shown = opened(three_backends(), SHOWN)
    dots = shown.page.locator(f"{VIEW} g.dot")
    assert dots.count() == 8
    titles = shown.texts(f"{VIEW} g.dot title")
    assert "1 tensorrt int8: top1 0.8, p50 250.0 µs, 100 KiB, on the Pareto front" in titles
    assert shown.page.locator(f"{VIEW} g.dot.bad").count() == 1
    starred = sum("★" in row[0] for row in rows_of(shown, "options"))
    assert shown.page.locator(f"{VIEW} g.dot.front").count() == starred > 0
    radii = shown.page.locator(f"{VIEW} g.dot circle").evaluate_all("all => all.map((one) => +one.getAttribute('r'))")
    assert max(radii) == pytest.approx(2 * min(radii))  # the area is the size: four times as large


def test_faster_is_left_and_more_accurate_is_up(opened: Open) -> None:
    dots = opened(three_backends(), SHOWN).page.locator(f"{VIEW} g.dot")
    places = {one["title"].split(":")[0].partition(" ")[2]: one for one in dots.evaluate_all(PLACES)}
    assert places["tensorrt int8"]["x"] < places["tensorrt fp32"]["x"] < places["pytorch-cuda fp32"]["x"]
    assert places["tensorrt fp32"]["y"] < places["tensorrt int8"]["y"]


@pytest.mark.parametrize(("second", "beyond"), [(0.89, True), (0.9, False)])
def test_a_failure_far_below_what_holds_stands_at_the_edge_where_it_would_flatten_the_rest(opened, second, beyond):
    values = {"fp32": 0.9, "fp16": second, "int8": 0.1}
    builds = [timed("tensorrt", name, status="failed" if name == "int8" else "passed") for name in values]
    measured = [
        replace(one, measurements=(Measurement("logits", "top1", values[one.case.precision]),)) for one in builds
    ]
    titles = opened(run(*measured)).texts(f"{VIEW} g.dot title")
    assert [title for title in titles if "beyond the axis" in title] == [
        one for one in titles if "int8" in one
    ] * beyond


def test_speed_ups_stand_by_precision_and_backend_over_pytorch_as_it_is(opened: Open) -> None:
    shown = opened(three_backends(), SHOWN)
    assert "Speed-up over pytorch-cuda fp32" in shown.texts(f"{VIEW} h3")
    assert shown.texts(f"{VIEW} .speed-ups thead th") == ["precision", "pytorch-cuda", "onnxruntime-cuda", "tensorrt"]
    table = {row[0]: row[1:] for row in rows_of(shown, "speed-ups")}
    assert [cell.split()[0] for cell in table["fp32"]] == ["1x", "2.00x", "★"]
    assert "16.0x" in table["int8"][2]
    assert "skipped" in table["int8"][0]
    assert "failed" in table["int8"][1]


def test_another_base_is_chosen_on_the_page_and_kept_in_the_address(opened: Open) -> None:
    shown = opened(three_backends(), SHOWN)
    shown.page.focus("#trade-base")
    shown.page.select_option("#trade-base", "s/resnet/tensorrt/fp32/n-1")
    assert "Speed-up over tensorrt fp32" in shown.texts(f"{VIEW} h3")
    assert rows_of(shown, "options")[0][6] == "4.00x"
    assert shown.fragment == "#of=resnet · n-1&base=s/resnet/tensorrt/fp32/n-1"
    assert shown.page.evaluate("document.activeElement.id") == "trade-base"
    again = opened(three_backends(), "#of=resnet · n-1&base=s/resnet/tensorrt/fp32/n-1")
    assert rows_of(again, "options") == rows_of(shown, "options")


def test_another_model_is_chosen_on_the_page_with_a_base_of_its_own(opened: Open) -> None:
    shown = opened(three_backends(), f"{SHOWN}&base=s/resnet/pytorch-cuda/fp32/n-1")
    shown.page.select_option("#trade-of", "bert · n-1")
    assert shown.fragment == "#of=bert · n-1"
    assert len(rows_of(shown, "options")) == 2
    assert shown.page.locator(f"{VIEW} .speed-ups").count() == 0  # one backend has nothing side by side


def test_the_filter_offers_the_models_that_fit_it(opened: Open) -> None:
    shown = opened(three_backends())
    for typed, offered in (("m:bert", 1), ("", 2), ("b:pytorch", 1)):
        shown.page.fill("#filter", typed)
        assert shown.page.locator("#trade-of option").count() == offered
    shown.page.fill("#filter", "nothing")
    assert shown.page.locator("#tradeoffs").is_hidden()


def test_of_very_many_models_the_first_are_offered_and_the_filter_finds_the_others(opened: Open) -> None:
    many = [timed("tensorrt", precision, model=f"m{n:03d}") for n in range(120) for precision in ("fp32", "int8")]
    shown = opened(run(*many), "#of=m119 · n-1")
    offered = shown.texts("#trade-of option")
    assert (len(offered), offered[0], offered[-1]) == (101, "m119 · n-1", "20 more: the filter finds them")
    assert shown.page.input_value("#trade-of") == "m119 · n-1"
    shown.page.fill("#filter", "m:m11")
    assert len(shown.texts("#trade-of option")) == 10


def test_latencies_within_five_percent_are_said_to_be_the_same(opened: Open) -> None:
    near = replace(timed("tensorrt", "fp16"), latency=latency(0.98))
    shown = opened(run(timed("tensorrt", "fp32"), near))
    assert [row[6] for row in rows_of(shown, "options") if "base" not in row[0]] == ["≈ 1.02x"]


@pytest.mark.parametrize(
    ("p50_ms", "size", "speed", "ratio"),
    [
        (1.0, 400.0 / 0.996, "≈ 1.00x", "0.996x"),
        (1.0, 400.0 / 1.00002, "≈ 1.00x", "1.00002x"),
        (400.0, 4e8, "0.0025x", "1e-6x"),
        (1 / 9.997, 40.0, "10.0x", "10.0x"),
        (1 / 99.97, 4.0, "100x", "100x"),
        (1.06, 400.0, "0.94x", "1.00x"),
    ],
)
def test_a_ratio_has_as_many_digits_as_tell_it_from_one_and_from_nothing(opened, p50_ms, size, speed, ratio):
    """A size that is a little smaller can put a build on the front: 1.00 would not say why."""
    other = replace(timed("tensorrt", "fp16"), latency=latency(p50_ms), measures={"model_bytes": size * 2**20})
    base = replace(timed("tensorrt", "fp32"), measures={"model_bytes": 400.0 * 2**20})
    (row,) = (row for row in rows_of(opened(run(base, other)), "options") if "base" not in row[0])
    assert (row[6], row[8]) == (speed, ratio)


def test_marks_of_an_axis_are_never_the_same(opened: Open) -> None:
    near = [
        replace(timed("tensorrt", name), measurements=(Measurement("logits", "top1", top1),), latency=latency(p50_ms))
        for name, top1, p50_ms in (("fp32", 0.761304, 1.23456), ("fp16", 0.761298, 1.23463))
    ]
    marks = opened(run(*near)).texts(f"{VIEW} .scatter .ticks text")
    assert len(set(marks)) == len(marks) > 4


def test_every_build_of_a_model_can_be_the_base_and_one_that_failed_is_said_to_have(opened: Open) -> None:
    many = [replace(timed("tensorrt", "fp32", chain=(f"prune-{n}",)), latency=latency(1 + n / 10)) for n in range(150)]
    failed = timed("tensorrt", "int8", status="failed")
    shown = opened(run(*many, failed))
    offered = shown.texts("#trade-base option")
    assert (len(offered), offered[-1]) == (151, "tensorrt int8 (failed)")
    shown.page.select_option("#trade-base", failed.case.id)
    assert "compared with tensorrt int8, which is no build that holds (failed):" in shown.texts(f"{VIEW} p")[0]


HOSTILE = ["a&b=c#d%41+e", "\u202egnp", "\udcff.onnx", "line\nbreak\x07", '"><img src=x>']


@pytest.mark.parametrize("model", HOSTILE, ids=map(ascii, HOSTILE))
def test_a_model_of_any_name_can_be_chosen_and_linked_to_with_its_base(opened: Open, model: str) -> None:
    whole = run(*(timed("tensorrt", name, one) for one in ("!", model) for name in ("fp32", "int8")))
    shown = opened(whole)
    shown.page.select_option("#trade-of", index=1)
    shown.page.select_option("#trade-base", index=0)
    again = opened(whole, shown.page.evaluate("location.hash"))
    for one in (shown, again):
        assert one.page.evaluate("document.getElementById('trade-of').selectedIndex") == 1
        assert "base" in rows_of(one, "options")[0][0]


def test_a_build_whose_clock_saw_no_time_pass_stands_with_those_that_were_not_timed(opened: Open) -> None:
    """It has no place on an axis of ratios."""
    none = replace(timed("tensorrt", "int8"), latency=replace(latency(), gpu=quantiles(0.0)))
    shown = opened(run(timed("tensorrt", "fp32"), timed("tensorrt", "fp16"), none))
    assert shown.page.locator(f"{VIEW} g.dot").count() == 2
    assert shown.texts(f"{VIEW} .trade-table summary") == ["1 case was not timed, and is never on the front"]


def test_each_step_of_a_chain_has_its_cost_and_gain(opened: Open) -> None:
    chains = [(), ("fold-bn",), ("fold-bn", "prune-30")]
    builds = [timed("tensorrt", "fp32", chain=chain) for chain in chains]
    last = timed("tensorrt", "int8", chain=("fold-bn", "prune-30"))
    own = replace(timed("tensorrt", "fp16", chain=("weights-int8",)))
    own = replace(own, case=replace(own.case, precision="as-is", id="s/resnet/tensorrt/as-is+weights-int8/n-1"))
    shown = opened(run(*builds, last, own))
    told = rows_of(shown, "steps-table")
    assert [(row[0], row[3], row[4], row[5]) for row in told] == [
        ("fold-bn", "0", "≈ 1.00x", "1.00x"),
        ("weights-int8", "-0.01", "2.00x", "2.00x"),
        ("prune-30", "0", "≈ 1.00x", "1.00x"),
        ("int8", "-0.1", "4.00x", "4.00x"),
    ]


def test_of_many_builds_the_fastest_and_the_front_are_shown_and_the_rest_when_asked_for(opened: Open) -> None:
    many = [replace(timed("tensorrt", "fp32", chain=(f"prune-{n}",)), latency=latency(1 + n / 10)) for n in range(70)]
    slow = replace(timed("tensorrt", "int8"), latency=latency(99.0))
    shown = opened(run(timed("tensorrt", "fp32"), *many, slow))
    first = rows_of(shown, "options")
    assert len(first) == 61
    assert "★" in first[-1][0]
    assert first[-1][1:3] == ["tensorrt", "int8"]
    assert (shown.page.locator(f"{VIEW} g.dot").count(), shown.page.locator(f"{VIEW} text.dot").count()) == (72, 61)
    shown.page.click(f"{VIEW} summary:has-text('11 more, slower or failing')")
    shown.page.locator(f"{VIEW} table.options tbody tr").nth(71).wait_for()
    assert len(rows_of(shown, "options")) == 72
    assert len(rows_of(shown, "steps-table")) == 12
    shown.page.click(f"{VIEW} summary:has-text('more steps')")
    shown.page.locator(f"{VIEW} table.steps-table tbody tr").nth(70).wait_for()
    assert len(rows_of(shown, "steps-table")) == 71


def test_a_number_leads_to_the_page_of_its_case(opened: Open) -> None:
    shown = opened(three_backends(), SHOWN)
    shown.page.click(f"{VIEW} table.options a.pin >> nth=0")
    shown.page.wait_for_selector("#case-title")
    assert shown.texts("#case-title") == ["s/resnet/tensorrt/int8/n-1"]
    shown.page.click("#back")
    assert shown.page.input_value("#trade-of") == "resnet · n-1"


def searched(tmp_path: Path) -> Path:
    trials = [
        Trial("fp32", Build("fp32"), "new", "", 0.9, 1.0, 4e5, window=quantiles(1.0), clock="host"),
        Trial("int8", Build("int8"), "new", "", 0.89, 0.5, 1e5, window=quantiles(0.5), clock="host"),
        Trial("fp16", Build("fp16"), "failed", "<script>x", 0.5, 0.1, 2e5, window=quantiles(0.1), clock="host"),
        Trial("bf16", Build("bf16"), "skipped", "no kernels"),
    ]
    path = tmp_path / "tradeoffs.html"
    path.write_text(page(Search(case(), "cpu-x", "top1", "p50", 0.01, "harness optimize s.yaml"), trials, trials[1]))
    return path


def test_the_page_of_a_search_has_its_winner_and_every_trial(opened: Open, tmp_path: Path) -> None:
    shown = opened(searched(tmp_path))
    assert shown.texts("h1") == ["The fastest that holds: int8"]
    options = rows_of(shown, "options")
    assert [row[2] for row in options] == ["int8", "fp32", "fp16"]
    assert "winner" in options[0][0]
    assert "<script>x" in options[2][-1]
    assert shown.page.locator("#trade-view a").count() == 0  # trials have no pages
    shown.page.select_option("#trade-base", "int8")
    assert "base" in rows_of(shown, "options")[0][0]
    shown.page.click("#theme")
    assert shown.page.evaluate("document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1600", "390"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_trade_offs(
    opened: Open, tmp_path: Path, scheme: str, viewport: dict[str, int]
) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="needs axe: pip install 'trt-harness[browser]'")
    script = (Path(package.__file__).parent / "axe.min.js").read_text("utf-8")
    for what in (three_backends(), searched(tmp_path)):
        shown = opened(what, "" if isinstance(what, Path) else SHOWN, viewport, color_scheme=scheme).page
        shown.evaluate(script)
        found = shown.evaluate("axe.run()")
        assert len(found["passes"]) > 10
        assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"]] == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
