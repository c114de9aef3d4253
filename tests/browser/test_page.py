from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from opening import NARROW, WIDE, Open, drop, rich

from builders import check, environment, every_status, latency, record, run
from harness.codec import encode
from harness.foreign import visible
from harness.history.unstable import DEFINITION
from harness.metrics.deviations import deviations
from harness.records import STATUSES, Measurement
from harness.report import html
from harness.report.trend import past

NONE = "\u2013"
REGRESSED = "vision/model-regressed/tensorrt/fp16/n-64"


def test_it_opens_from_disk_with_what_blocks_first_and_asks_nothing_of_anybody(opened: Open) -> None:
    page = opened(every_status())
    assert page.texts("h1") == ["Gate failed"]
    words = [text.split("\n")[-1].lstrip("!✗▲∅?+▼✓≈○ ") for text in page.texts("#cases-table tbody .badge")]
    assert words == list(STATUSES)


FILTERS = {
    "s:failed": ["model-failed"],
    "s:failed,new": ["model-failed", "model-new"],
    "b:trt -s:passed m:model-pass": [],
    "model-new": ["model-new"],
    "-m:model p:fp16": [],
    "s:regressed slow>0.5%": ["model-regressed"],
    "s:regressed slow>5%": [],
    "s:regressed p50>1 p50<2ms": ["model-regressed"],
    '"model-skipped: no"': [],
    "constructor:x": [],
    "is:unstable": [],
    '"skipped: as the"': ["model-skipped"],
}


def test_the_filter_keeps_what_fits_every_token(opened: Open) -> None:
    page = opened(every_status())
    for typed, models in FILTERS.items():
        page.page.fill("#filter", typed)
        assert [id_.split("/")[1] for id_ in page.texts("#cases-table tbody a.id")] == models
        assert page.fragment == f"#q={typed}"
        assert page.page.locator("#matrix-table tbody .cell").count() == len(models)


def test_the_errors_of_an_output_are_drawn_and_its_worst_elements_told(opened: Open) -> None:
    reference, candidate = np.zeros((2, 3), np.float32), np.array([[0, 1e-3, 0], [0.5, 1.5e-3, np.nan]], np.float32)
    seen = deviations([{"logits": reference}], [{"logits": candidate}])
    broken = replace(check(ok=False), output="logits")
    one = replace(
        record(status="failed", checks=(broken,)), deviations=seen, measurements=(Measurement("logits", "rmse", 1),)
    )
    page = opened(run(one), f"#case={one.case.id}")
    assert page.texts(".output p") == ["4 of 6 elements differ from the reference"]
    assert "2 equal · ✗ 1 NaN or infinite, without a bar" in page.texts(".output figcaption")[0]
    assert page.texts(".output summary") == ["The 4 errors"]
    assert (
        page.page.locator(".output rect title")
        .all_text_contents()[0]
        .startswith("2 of 6 elements are off by 0.0009766 to")
    )
    rows = page.page.locator(".output tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows[:2]] == [["[1, 2]", "0", "nan", NONE], ["[1, 0]", "0", "0.5", "0.5"]]


def test_the_words_on_an_output_are_those_of_its_numbers(opened: Open) -> None:
    sides = {"same": ([1.0], [1.0]), "none": ([], []), "one": ([1.0, 2.0], [1.0, 2.5]), "label": (["a"], ["b"])}
    reference, candidate = ({name: np.array(pair[side]) for name, pair in sides.items()} for side in (0, 1))
    page = opened(run(one := record(deviations=deviations([reference], [candidate]))), f"#case={one.case.id}")
    differs = "1 of {} elements differs from the reference"
    same = "none of 1 elements differs from the reference"
    assert page.texts(".output p") == [same, "it has no elements", differs.format(2), differs.format(1)]
    assert page.texts(".output > .more > summary") == ["The error", "The error"]
    assert page.page.locator(".output figure").count() == 1


def test_a_case_of_a_large_run_says_what_its_page_is_without(opened: Open, monkeypatch) -> None:
    monkeypatch.setattr("harness.report.payload.LARGE", 0)
    page = opened(run(one := record()), f"#case={one.case.id}")
    assert "run.json has them" in page.texts("#case .block:has(h2:text-is('Outputs')) p")[0]


@pytest.mark.parametrize(
    ("detail", "rows"),
    [
        ("[[3, 8, 4], [1, 7, 1]]", ["3\t8\t4", "1\t7\t1"]),
        ('[["one <b>two", "one", 2]]', ["one <b>two\tone\t2"]),
        ("no JSON", []),
        ('[["<b>", 1, 2], 5]', []),
        ("{}", []),
    ],
)
def test_classes_that_are_taken_for_others_are_told(opened: Open, detail: str, rows: list[str]) -> None:
    one = replace(record(), measurements=(Measurement("logits", "task_mistakes", 5.0, detail=detail),))
    page = opened(run(one), f"#case={one.case.id}")
    assert page.page.locator(".confusion tbody tr").all_inner_texts() == rows
    assert page.texts("#case-title") == [one.case.id]


def test_a_backend_named_whole_is_not_one_that_holds_its_name(opened: Open) -> None:
    page = opened(run(record("s/a/tensorrt/fp16/n"), record("s/b/onnxruntime-tensorrt/fp16/n")), "#q=b:tensorrt")
    assert page.texts("#cases-table tbody a.id") == ["s/a/tensorrt/fp16/n"]
    page.page.fill("#filter", "b:tensor")
    assert len(page.texts("#cases-table tbody a.id")) == 2


def test_an_address_brings_back_filter_order_and_case(opened: Open) -> None:
    page = opened(every_status(), "#q=s:regressed,new&sort=-case")
    assert page.page.input_value("#filter") == "s:regressed,new"
    assert page.texts("#cases-table tbody a.id") == [REGRESSED, "vision/model-new/tensorrt/fp16/n-64"]
    page.page.click("#cases-table tbody a.id >> nth=0")
    assert page.texts("#case-title") == [REGRESSED]
    page.page.reload()
    page.page.wait_for_selector("#case-title")
    assert page.texts("#case-title") == [REGRESSED]
    page.requests.pop()
    page.page.go_back()
    page.page.wait_for_selector("#overview:not([hidden])")
    assert page.page.input_value("#filter") == "s:regressed,new"


def test_chips_put_tokens_into_the_box_and_take_them_out(opened: Open) -> None:
    page = opened(every_status())
    for token, box in (("s:failed", "s:failed"), ("s:new", "s:failed,new"), ("s:failed", "s:new"), ("s:new", "")):
        page.page.click(f'[data-token="{token}"]')
        assert page.page.input_value("#filter") == box


@pytest.mark.parametrize(
    "id_", ["s/m 1+1=2&q=x#%/fake/fp16+own/n-1", "s/a\"b'c<d>/fake/fp32/n", "s/דגם/fake/fp32/n", "s/\udcff/fake/fp32/n"]
)
def test_every_case_has_a_link_that_opens_it_whatever_its_name(opened: Open, id_: str) -> None:
    """Links are made by the templates and by the script."""
    drawn = run(record(id_, "failed"), record())
    page = opened(drawn).page
    links = {page.locator(f"{place} a.id").first.get_attribute("href") for place in ("#changes", "#cases-table")}
    for link in links:
        fresh = opened(drawn, link)
        assert fresh.texts("#case-title") == [visible(id_)]


def test_an_id_alone_as_fragment_opens_its_case_and_one_that_is_unknown_is_named(opened: Open) -> None:
    assert opened(every_status(), f"#{REGRESSED}").texts("#case-title") == [REGRESSED]
    assert opened(every_status(), "#case=s/gone/b/p/n").texts("#unknown") == ["✗ This run has no case s/gone/b/p/n."]


def test_the_page_of_a_case_says_why_and_how_to_run_it_alone(opened: Open) -> None:
    page = opened(rich(), "#case=s/rich/tensorrt/fp16/n-1")
    assert page.texts("#case .lead") == ["regressed: as the status says"]
    assert page.texts("#case .checks tbody tr:first-child td")[0] == "✗ broken"
    assert page.texts("#case .reason")[0].startswith("0.2 > 0.1")
    assert {"Checks", "Latency", "Layers", "Outputs", "Notes", "Reproduce", "Digests"} <= set(page.texts("#case h2"))
    assert page.texts("#case .layers tbody th") == ["conv + relu", "fc"]
    assert page.page.locator("#case .layers svg.bar").count() == 2
    assert page.texts("#case .log") == ["the log"]
    assert "harness run suites/vision.yaml -k 's/rich/tensorrt/fp16/n-1'" in page.texts("#case .copyable code")
    assert {"build", "engine", "device"} <= set(page.texts("#case .tile dt"))


def test_a_gain_uses_nothing_of_the_limit_on_a_drop(opened: Open) -> None:
    one = record(checks=(check("top1_drop", -0.01, 0.01, question="task"),))
    page = opened(run(one), f"#case={one.case.id}")
    assert page.texts("#case .gauge span") == ["0 %"]


def test_the_distribution_of_this_run_stands_above_the_baselines_on_one_axis(opened: Open) -> None:
    page = opened(run(record(latency=latency(2.0), baseline=latency(1.0))), "#case=vision/digits/tensorrt/fp16/n-64")
    dots = [float(x.rstrip("%")) for x in page.page.eval_on_selector_all(
        ".lane circle", "dots => dots.map((dot) => dot.getAttribute('cx'))")]  # fmt: skip
    assert page.texts(".lane > span") == ["now", "baseline"]
    assert dots[0] > dots[1] + 20


def test_the_trend_draws_a_point_a_run_with_gaps_and_marks(opened: Open, tmp_path: Path) -> None:
    id_ = "s/m/tensorrt/fp16/n"
    runs = [
        run(record(id_, latency=replace(latency(1.0 + n / 100), baseline_digest="ab"[n > 2])), id=f"r{n}")
        for n in range(5)
    ]
    runs = [replace(one, started=f"2026-01-0{n + 1}") for n, one in enumerate(runs)]
    runs[1] = replace(runs[1], records=())
    now = run(record(id_))
    path = tmp_path / "trend.html"
    path.write_text(html(now, past=past(now, runs)), "utf-8")
    page = opened(path, f"#case={id_}")
    assert page.page.locator(".trend circle").count() == 5
    assert page.page.locator(".trend .path").count() == 3
    assert page.texts(".trend .flag") == ["⚑ acceptedcompared with another accepted result than the run before"]


def test_a_run_dropped_on_the_page_is_compared_and_only_differences_are_shown(opened: Open, tmp_path: Path) -> None:
    now = run(
        record("s/slower/b/fp32/n", latency=latency(2.0)), record("s/same/b/fp32/n"),
        record("s/added/b/fp32/n", "failed"), record("s/worse/b/fp32/n", checks=(check(value=0.9999),)),
    )  # fmt: skip
    before = run(
        record("s/slower/b/fp32/n", latency=latency(1.0)), record("s/same/b/fp32/n"), record("s/gone/b/fp32/n"),
        record("s/worse/b/fp32/n", checks=(check(value=0.99999),)), id="earlier", started="2026-01-01T00:00:00+00:00",
        environments={"main": environment(versions={"tensorrt": "9.0"})},
    )  # fmt: skip
    page = opened(now)
    drop(page.page, json.dumps(encode(before)))
    page.page.wait_for_selector("#compared-rows tr")
    said = dict(zip(page.texts("#compared-rows th .id"), page.texts("#compared-rows td:last-child"), strict=True))
    assert set(said) == {f"s/{name}/b/fp32/n" for name in ("slower", "added", "gone", "worse")}
    assert "1.000 ms → 2.000 ms (+100 %, slower; gpu clock)" in said["s/slower/b/fp32/n"]
    assert said["s/gone/b/fp32/n"] == "vanished: was passed"
    assert said["s/added/b/fp32/n"].startswith("only in the later run: failed")
    assert "cosine_min got worse: 0.99999 → 0.9999" in said["s/worse/b/fp32/n"]
    assert "∅ not in this run" in page.texts("#compared-rows .tag")
    assert "≠ environment tensorrt 9.0 → 10.13.3" in page.texts("#compared .differs li")
    page.page.uncheck("#only")
    assert len(page.texts("#compared-rows tr")) == 5
    page.page.click("#compared >> text=Close")
    assert not page.page.is_visible("#compared")


@pytest.mark.parametrize(("text", "told"), [("no JSON", "is not JSON"), ('{"schema": "other/1"}', "other/1")])
def test_what_is_no_run_is_refused_by_name(opened: Open, text: str, told: str) -> None:
    page = opened(every_status())
    drop(page.page, text)
    page.page.locator("#told", has_text="✗").wait_for()
    assert told in page.texts("#told")[0]


DAMAGE = {
    "a record": lambda run: run["records"].append({}),
    "checks": lambda run: run["records"][0].update(checks=[None]),
    "times": lambda run: run["records"][0]["latency"].update(host={"a": 1}),
    "an interval": lambda run: run["records"][0]["latency"]["host"].update(ci95_ms=None),
    "machines": lambda run: run["environments"]["main"].update(gpus={"a": 1}),
    "no machines": lambda run: run.update(environments=None),
}


@pytest.mark.parametrize("part", DAMAGE)
def test_a_damaged_run_is_refused_in_words_and_the_page_stays_as_it_was(opened: Open, part: str) -> None:
    page = opened(run(record()))
    other = encode(run(record(), id="other"))
    DAMAGE[part](other)
    drop(page.page, json.dumps(other))
    page.page.locator("#told", has_text="✗").wait_for()
    assert "run.json is damaged: its" in page.texts("#told")[0]
    assert not page.page.is_visible("#compared")


def test_the_filtered_rows_are_a_table_for_spreadsheets_without_formulas(opened: Open) -> None:
    page = opened(run(record("s/a/b/fp32/n", headline='=1+1, "x"'), record("s/b/b/fp32/n")), "#q=m:a")
    with page.page.expect_download() as download:
        page.page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert [(row["id"], row["headline"], row["p50_ms"]) for row in rows] == [("s/a/b/fp32/n", '\'=1+1, "x"', "1.2")]


def test_everything_is_reached_by_keys(opened: Open) -> None:
    page = opened(every_status())
    keys = page.page.keyboard
    keys.press("/")
    keys.type("s:failed,regressed")
    keys.press("Escape")
    assert page.page.input_value("#filter") == ""
    for key in "jj":
        keys.press(key)
    assert page.page.evaluate("document.activeElement.textContent") == "vision/model-failed/tensorrt/fp16/n-64"
    keys.press("Enter")
    page.page.wait_for_selector("#case-title")
    keys.press("j")
    page.page.locator("#case-title", has_text=REGRESSED).wait_for()
    keys.press("k")
    page.page.locator("#case-title", has_text="model-failed").wait_for()
    keys.press("Escape")
    assert page.page.is_visible("#overview")
    keys.press("?")
    assert page.page.is_visible("#help")


def test_print_holds_every_row_and_no_tools(opened: Open) -> None:
    page = opened(run(*(record(f"s/m{n}/b/fp32/n") for n in range(150))))
    assert page.page.locator("#cases-table tbody tr").count() < 150
    page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.page.emulate_media(media="print")
    assert page.page.locator("#cases-table tbody tr").count() == 150
    assert not page.page.is_visible(".topbar")
    assert page.page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["390", "1600"])
@pytest.mark.parametrize("fragment", ["", "#case=s/rich/tensorrt/fp16/n-1"], ids=["overview", "case"])
def test_no_screen_scrolls_sideways(opened: Open, viewport: dict[str, int], fragment: str) -> None:
    page = opened(rich(), fragment, viewport)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_colours_follow_the_system_and_the_switch(opened: Open) -> None:
    page = opened(every_status(), color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.page.evaluate(colour)
    page.page.click("#theme")
    assert page.page.evaluate(colour) == "rgb(255, 255, 255)" != dark
    page.page.click("#theme")
    assert page.page.evaluate(colour) == dark


def test_without_scripts_the_verdict_and_the_changes_stand(opened: Open, chromium, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html(every_status()), "utf-8")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    text = page.inner_text("body")
    context.close()
    assert "Gate failed" in text
    assert REGRESSED in text
    assert "10 cases stand here where scripts may run" in text


def test_unstable_cases_are_marked_in_words_told_on_their_page_and_found(opened: Open, tmp_path: Path) -> None:
    id_ = "s/flips/tensorrt/fp16/n"
    runs = [
        run(record(id_, status), id=status, started=f"2026-01-0{n}") for n, status in enumerate(("passed", "failed"), 1)
    ]
    now = run(record(id_), record("s/plain/tensorrt/fp16/n"))
    path = tmp_path / "unstable.html"
    path.write_text(html(now, past=past(now, runs)), "utf-8")
    page = opened(path, viewport=NARROW)
    assert page.texts("#cases-table tbody .tag") == ["↯ unstable"]
    page.page.click('[data-token="is:unstable"]')
    assert page.page.input_value("#filter") == "is:unstable"
    assert page.texts("#cases-table tbody a.id") == [id_]
    page.page.fill("#filter", "-is:unstable")
    assert page.texts("#cases-table tbody a.id") == ["s/plain/tensorrt/fp16/n"]
    page.page.fill("#filter", "is:")
    page.page.click("#cases-table tbody a.id >> nth=0")
    page.page.wait_for_selector("#case-title")
    assert page.texts("#case .case-head .tag") == ["↯ unstable"]
    assert page.texts("#unstable")[0].startswith("Unstable: its verdict changed 2 times in its last 3 verdicts")
    assert page.texts("#unstable")[0].endswith(DEFINITION)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
