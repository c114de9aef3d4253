from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from jinja2 import UndefinedError

from builders import check, every_status, record, run
from harness.records import STATUSES, Arm, Failure, KnownFailure, Run, SelfTest, Stale
from harness.report import compare, html
from harness.report.page import render
from harness.report.rows import rows
from harness.report.sections import SECTIONS, Page
from harness.report.sections.cases import INLINE
from harness.report.statuses import STATUS
from harness.report.verdict import verdict
from harness.signatures import Checked, Signature, Statement

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
    for status in STATUS.values():
        assert status.name in page.words
        assert status.glyph in page.words


def test_every_case_has_one_anchor_and_is_linked() -> None:
    drawn = every_status()
    page = Browser(html(drawn))
    links = {unquote(link.removeprefix("#")) for link in page.values("href")}
    for one in drawn.records:
        assert page.values("id").count(one.case.id) == 1
        assert one.case.id in links


def test_what_blocks_comes_first() -> None:
    drawn = html(run(record("s/passes/fake/fp32/static"), record("s/fails/fake/fp32/static", "failed")))
    assert drawn.index('id="s/fails/') < drawn.index('id="s/passes/')


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
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\(|https?:", "".join(page.scripts))


def test_the_content_policy_names_exactly_our_script_and_style() -> None:
    drawn = html(every_status())
    policy = Browser(drawn).values("content")[0]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", drawn, re.DOTALL)
        assert len(body) == 1
        assert base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode() in policy


def test_cases_beyond_the_first_travel_packed_and_keep_their_anchor() -> None:
    records = [record(f"s/m{place}/fake/fp32/static") for place in range(INLINE + 2)]
    drawn = html(run(*records))
    packed = re.findall(r'id="packed">(.*?)</script>', drawn)[0]
    bodies = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert list(bodies) == [one.case.id for one in records[INLINE:]]
    assert all("Reproduce" in body for body in bodies.values())
    assert set(Browser(drawn).values("id")) >= {one.case.id for one in records}


def test_the_log_of_a_passing_case_is_left_out() -> None:
    failure = Failure("crash", "infer", "first attempt crashed", "SECRET LOG LINE")
    assert "SECRET LOG LINE" not in html(run(record(error=failure)))
    assert "SECRET LOG LINE" in html(run(record(status="error", error=failure)))


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
