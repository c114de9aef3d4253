from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from jinja2 import UndefinedError

from builders import check, environment, every_status, latency, record, run
from harness.records import STATUSES, Arm, Duel, Failure, KnownFailure, Launch, LayerTime, Profile, Run, SelfTest, Stale
from harness.report import compare, csv, html, write
from harness.report.page import render
from harness.report.payload import CHUNK, LARGE
from harness.report.rows import rows
from harness.report.sections import SECTIONS, Page
from harness.report.statuses import STATUS
from harness.report.trend import past
from harness.report.verdict import verdict
from harness.signatures import Checked, Signature, Statement
from pages import details, index, index_rows

STALE = Stale(
    KnownFailure("s/gone/fake/fp32/static", "missing", "moved", "ABC-1", "2026-01-01", "2026-03-31"), "is gone"
)
SIGNED = Checked(Signature(Statement("run", "0" * 64, run().gate, "approved", "Ann", "fine", "2026-03-02", {})), ())
TRIED = SelfTest(
    "gpu-x1", "2026-01-02T03:04:05+00:00", {}, ("s/m/b/p/z",), ("s/noisy/b/p/z",), 10,
    (Arm("unchanged", None, 5, 0, 5, 0, 10), Arm("+1%", None, 0, 0, 0, 0, 0)), 12.0, {},
)  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %}",
    "a|b`c`",
    "=1+1",
)


class Browser(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        (self.scripts if self.tags and self.tags[-1] == "script" else self.words).append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


def script_of(text: str) -> str:
    return re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]


def hostile_run(text: str) -> Run:
    """Every string that can come from a model, a file or a log holds `text`."""
    failure = Failure("build", text, text, text)
    return run(
        record(
            f"vision/{text}/tensorrt/fp16/n-1", "error", headline=text, error=failure, notes=(text,), reproduce=text
        ),
        record(
            f"vision/m{text}/tensorrt/fp16/n-1",
            "failed",
            headline=text,
            checks=(check(text, 0.5, 0.9, ok=False, output=text, reason=text),),
            attested={text: {text: text}},
            measures={text: 1.0},
        ),
        id=text,
        command=text,
        commit=text,
    )


def test_every_status_of_the_contract_has_a_glyph_of_its_own() -> None:
    assert tuple(STATUS) == STATUSES
    assert len({status.glyph for status in STATUS.values()}) == len(STATUSES)


def test_every_status_is_drawn_as_a_word_beside_its_glyph() -> None:
    page = Browser(html(every_status()))
    drawn = [status.name for status in STATUS.values() if status.name in page.words]
    assert set(drawn) >= set(STATUSES) - {"passed", "skipped"}
    assert [values[:2] for values in index(html(every_status()))["statuses"]] == [
        [status.name, status.glyph] for status in STATUS.values()
    ]


def test_every_case_travels_once_and_what_is_not_passed_is_linked() -> None:
    drawn = every_status()
    text = html(drawn)
    assert sorted(row["id"] for row in index_rows(text)) == sorted(one.case.id for one in drawn.records)
    links = {unquote(link.removeprefix("#case=")) for link in Browser(text).values("href")}
    assert links >= {one.case.id for one in drawn.records if one.status not in ("passed", "skipped")}


def test_what_blocks_comes_first() -> None:
    drawn = html(run(record("s/passes/fake/fp32/static"), record("s/fails/fake/fp32/static", "failed")))
    assert [row["id"].split("/")[1] for row in index_rows(drawn)] == ["fails", "passes"]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_draws_every_status(name: str) -> None:
    drawn = replace(every_status(), selftest=TRIED, stale=(STALE,))
    page = Page(drawn, rows(drawn.records), compare(run(*drawn.records[3:]), drawn), render, signed=(SIGNED,))
    data = SECTIONS.load(name)(page)
    assert render(f"{name}.html", data=data).strip()


def test_an_empty_run_is_drawn() -> None:
    assert "No case was run" in html(run(environments={}))


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_shown_and_never_becomes_markup(text: str) -> None:
    drawn = hostile_run(text)
    page = Browser(html(drawn, compare(every_status(), drawn)))
    harmless = Browser(html(hostile_run("x"), compare(every_status(), hostile_run("x"))))
    assert sorted(page.tags) == sorted(harmless.tags)
    assert {name for _, name, _ in page.attributes} == {name for _, name, _ in harmless.attributes}
    assert any(text in word for word in page.words)


def test_the_page_makes_no_request() -> None:
    page = Browser(html(hostile_run("https://example.org/x.js")))
    assert not {"link", "img", "iframe", "object", "embed", "base", "form action"} & set(page.tags)
    assert not page.values("src")
    assert all(link.startswith("#") for link in page.values("href"))
    styles = "".join(re.findall(r"<style>.*?</style>", html(every_status()), re.DOTALL))
    assert not re.search(r"url\(|@import", styles)
    script = script_of(html(every_status()))
    assert "DecompressionStream" in script
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\(|https?:(?!//www.w3.org/2000/svg)", script)


def test_the_script_makes_elements_of_text_alone() -> None:
    script = script_of(html(every_status()))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser", script
    )


def test_no_name_of_the_script_is_taken_twice() -> None:
    """The files make one script, in which a second function of a name takes the place of the first without a word."""
    names = re.findall(
        r"^(?:async )?function (\w+)|^(?:const|let) (\w+)", script_of(html(every_status())), re.MULTILINE
    )
    assert len(names) > 50
    assert [name for name, count in Counter(map("".join, names)).items() if count > 1] == []


def test_the_content_policy_names_exactly_our_script_and_style() -> None:
    drawn = html(every_status())
    policy = Browser(drawn).values("content")[0]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", drawn, re.DOTALL)  # data blocks have a type
        assert len(body) == 1
        assert base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode() in policy


def test_details_travel_in_chunks_in_the_order_of_the_index() -> None:
    records = [record(f"s/m{place}/fake/fp32/static", reproduce=f"run m{place}") for place in range(CHUNK + 2)]
    text = html(run(*records))
    found = details(text)
    assert [len(chunk) for chunk in found] == [CHUNK, 2]
    assert [one["reproduce"] for chunk in found for one in chunk] == [one.reproduce for one in records]
    assert [row["id"] for row in index_rows(text)] == [one.case.id for one in records]


def test_numbers_keep_what_is_shown_of_them() -> None:
    one = record(checks=(check(value=0.99999927280, limit=0.9999), check("max_abs", 3.14159265, 10.0)))
    checks = details(html(run(one)))[0][0]["checks"]
    assert [values[4] for values in checks] == [0.999999273, 3.142]


def test_of_a_large_run_those_that_passed_travel_light_and_the_others_whole() -> None:
    records = [record(f"s/m{place}/fake/fp32/static") for place in range(LARGE)]
    found = details(html(run(record("s/f/fake/fp32/static", "failed"), *records)))
    assert ("measurements" in found[0][0], found[0][0].get("light")) == (True, None)
    assert ("measurements" in found[0][1], found[0][1]["light"]) == (False, True)


def test_the_log_of_a_passing_case_is_left_out() -> None:
    failure = Failure("crash", "infer", "first attempt crashed", "SECRET LOG LINE")
    assert "SECRET LOG LINE" not in json.dumps(details(html(run(record(error=failure, earlier=(failure,))))))
    assert "SECRET LOG LINE" in json.dumps(details(html(run(record(status="error", error=failure)))))


def test_trends_mark_gaps_what_was_accepted_and_what_was_acknowledged() -> None:
    id_ = "s/m/fake/fp32/static"
    accepted = [replace(latency(1.0 + place), baseline_digest=digest) for place, digest in enumerate("aab")]
    runs = [
        run(record(id_, latency=one), id=f"r{n}", started=f"2026-01-0{n + 1}T00:00:00+00:00")
        for n, one in enumerate(accepted)
    ]
    runs.insert(1, run(id="gap", started="2026-01-01T12:00:00+00:00"))
    runs.append(
        run(record(id_, "acknowledged", headline="known since May"), id="late", started="2026-02-01T00:00:00+00:00")
    )
    elsewhere = run(
        record(id_), id="elsewhere", environments={"main": environment(fingerprint="other")}, started="2026-01-05"
    )
    drawn = html(run(record(id_)), past=past(run(record(id_)), [*reversed(runs), elsewhere]))
    assert [values[0] for values in index(drawn)["past"]] == ["r0", "gap", "r1", "r2", "late"]
    points = details(drawn)[0][0]["past"]
    assert points["steps"][:4] == [0, None, 10000, 20000]
    assert {at: words[1] for at, words in points["words"].items()} == {"3": "accepted", "4": "acknowledged"}
    assert points["words"]["4"][2] == "known since May"


def test_a_run_that_lost_its_beginning_is_drawn(tmp_path: Path) -> None:
    """A journal without its first line tells no command and no time."""
    bare = run(record(status="failed"), command="", started="", finished="", commit=None)
    write(bare, tmp_path)
    assert "1 failed of 1 case block" in (tmp_path / "summary.md").read_text("utf-8")


def test_runs_stand_in_the_order_of_time_whatever_their_zones() -> None:
    now = run(record(), started="2026-01-01T00:30:00+00:00")
    before = [
        run(record(), id=zone, started=f"2026-01-01T01:0{n}:00{zone}") for n, zone in enumerate(("+01:00", "+02:00"))
    ]
    after = run(record(), id="after", started="2025-12-31T23:45:00-01:00")
    assert [one.id for one in past(now, [*before, after]).runs] == ["+02:00", "+01:00"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-99-99"])
def test_a_time_that_no_calendar_has_is_drawn_as_it_stands(moment: str) -> None:
    assert moment in html(
        run(record(), started=moment, finished=moment), past=past(run(record()), [run(started=moment)])
    )


def test_numbers_that_end_numbers_leave_a_page_that_can_be_read() -> None:
    """Quotients and powers of what a damaged file holds may be no numbers: JSON.parse would refuse the whole page."""
    launch = Launch(1e308, 0.0, 1.0, 1.0, 50, 500, "a")
    now = run(record(baseline=latency(5e-324), duel=Duel((launch,), "gpu", {}, "base")))
    before = run(record(latency=latency(5e-324)), id="before", started="2026-01-01")
    text = html(now, past=past(now, [before]))
    assert index_rows(text)[0]["ratio"] is None
    assert details(text)[0][0]["launches"]["dots"][0][0] > 1e6
    assert "Infinity" not in json.dumps([index(text), details(text)])
    assert "inf" not in csv(now).split("\n")[1]


def test_times_of_other_settings_are_no_part_of_a_trend() -> None:
    graph, long = ({**latency().settings, **more} for more in ({"graph": False}, {"warmup_s": 9.0}))
    runs = [
        run(record(latency=replace(latency(), settings=settings)), id=name, started=f"2026-01-0{n}")
        for n, (name, settings) in enumerate((("graph", graph), ("long", long), ("same", latency().settings)), 1)
    ]
    points = past(run(record()), runs).of(record().case.id)
    assert [point and point[0] for point in points] == [None, 1.2, 1.2]


def test_a_run_has_no_trend_of_runs_that_came_later_or_of_itself() -> None:
    one = run(record())
    assert past(one, [one, run(record(), id="later", started="2027-01-01T00:00:00+00:00")]).runs == ()


def test_layers_name_their_precision_and_how_they_were_fused_before() -> None:
    now = Profile((LayerTime("conv+relu", "Conv", 2.0, 1.0, ("conv", "relu")),), 2.0, 20, "gpu")
    before = Profile((LayerTime("conv", "Conv", 1.0, 0, ("conv",)), LayerTime("relu", "Relu", 0.5, 0, ("relu",))), 1.5)
    rows = [{"name": "conv+relu", "compute": "fp16"}]
    one = record(profile=now, baseline_profile=replace(before, clock="gpu"), attested={"rows": rows})
    found = details(html(run(one)))[0][0]["layers"]
    assert found["rows"] == [["conv + relu", "Conv", "fp16", 2.0, 1.5, "conv, relu"]]
    assert found["baseline_ms"] == 1.5


def test_what_differs_between_environments_of_a_run_is_marked() -> None:
    two = {"a": environment(), "b": environment(versions={"tensorrt": "10.14.0", "onnxruntime": "1.22.0"})}
    marked = re.findall(r"<tr class=\"differs\"><th scope=\"row\">(\w+)", html(run(environments=two)))
    assert marked == ["harness", "tensorrt"]


def test_changes_against_an_earlier_run_are_drawn() -> None:
    before = run(record("s/gone/fake/fp32/static"), id="earlier")
    drawn = html(every_status(), compare(before, every_status()))
    assert "Changes against" in drawn
    assert "s/gone/fake/fp32/static" in drawn


def test_a_template_that_lacks_a_value_fails() -> None:
    with pytest.raises(UndefinedError):
        render("banner.html")


def test_reporting_imports_neither_numpy_nor_pandas_nor_a_runtime() -> None:
    code = (
        "import sys, harness.report; print([m for m in ('numpy', 'pandas', 'onnxruntime', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("questions", "advice", "commands"),
    [
        (["fidelity"], ["does not compute what the file says"], ["harness debug CASE"]),
        (["budget", "fidelity"], ["does not compute what the file says"], ["harness debug CASE"]),
        (["budget", "attestation"], ["not the precision asked for"], [""]),
        (["budget"], ["fix the model, its variant or the limit"], [""]),
        (["latency"], ["fix the model, its variant or the limit"], [""]),
        ([], ["fix the model, its variant or the limit"], [""]),
    ],
)
def test_the_advice_on_a_failed_case_follows_from_the_question_that_failed(questions, advice, commands):
    checks = (check(), *(check(question=question, ok=False) for question in questions))

    actions = verdict(run(record(status="failed", checks=checks))).actions

    assert [action.command for action in actions] == commands
    assert all(words in action.text for words, action in zip(advice, actions, strict=True))


def test_failures_of_several_kinds_get_the_advice_of_each_once():
    cases = [
        record(f"s/m{n}/b/fp16/n", "failed", checks=(check(question=question, ok=False),))
        for n, question in enumerate(["budget", "fidelity", "budget"])
    ]

    assert [action.command for action in verdict(run(*cases)).actions] == ["harness debug CASE", ""]
