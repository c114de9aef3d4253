"""What engineers see of a run in a pull request: the comment, the job's summary, and marks on lines of suites."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from syrupy.assertion import SnapshotAssertion

from builders import case, check, record, run
from harness.commands.github import tell_github
from harness.foreign import harmless_output, plain
from harness.records import Gate, Location, Record, Run
from harness.report.annotations import marks
from harness.report.comment import MOST, comment
from harness.report.format import markdown
from harness.report.summary import summary
from toy import fake_suite, harness

CHANGED = ("failed", "regressed", "new", "improved", "error")
HOSTILE = (
    "a|b `c` <img src=x> @owner #12 GH-7 org/repo#3 ![x](https://evil.example) www.evil.example **b** :tada: "
    "-->\u202egnp\u200b\x1b[31m"
)


def changed(count: int, passed: int = 7) -> Run:
    """A run in which so many cases changed, of different kinds and on different lines."""
    cases = [record(f"vision/model-{place}/tensorrt/fp16/n-1", CHANGED[place % 5]) for place in range(count)]
    cases += [record(f"vision/quiet-{place}/tensorrt/fp16/n-1") for place in range(passed)]
    return run(*(on_line(one, 10 + place) for place, one in enumerate(cases)))


def on_line(one: Record, line: int, file: str = "suites/vision.yaml") -> Record:
    return replace(one, case=replace(one.case, location=Location(file, line)))


def outline(text: str) -> str:
    """The first and last lines of a long text, and what it takes."""
    lines = text.splitlines()
    if len(lines) <= 100:
        return text
    return "\n".join([*lines[:40], f"[{len(lines) - 60} lines, {len(text.encode())} bytes in all]", *lines[-20:]])


@pytest.mark.parametrize("count", [0, 1, 50, 5000])
def test_the_comment_reads_well_at_any_number_of_changes(count: int, snapshot: SnapshotAssertion) -> None:
    assert comment(changed(count)) == snapshot


@pytest.mark.parametrize("count", [0, 1, 50, 5000])
def test_the_summary_reads_well_at_any_number_of_changes(count: int, snapshot: SnapshotAssertion) -> None:
    assert outline(summary(changed(count))) == snapshot


# --- the comment -------------------------------------------------------------------------------------------------


def head(of: Run) -> tuple[str, str]:
    """Digest of a comment, and whether it is to be made where there is none."""
    found = re.fullmatch(r"<!-- trt-harness harness ([0-9a-f]{16}) (always|update) -->", comment(of).splitlines()[0])
    assert found
    return found[1], found[2]


def test_times_run_and_commit_are_no_news() -> None:
    before = changed(5)
    slower = replace(before.records[1], headline="12.1 % slower", stages={"time_s": 2.0})
    later = replace(before, id="2026-04-01-0000-ffff", started="2026-04-01T00:00:00+00:00", commit="f" * 40)
    later = replace(later, records=(before.records[0], slower, *before.records[2:]))
    assert head(before) == head(later)


@pytest.mark.parametrize(
    "new",
    [
        record("vision/model-0/tensorrt/fp16/n-1", "regressed"),
        record("vision/other/tensorrt/fp16/n-1", "failed"),
        record("vision/model-0/tensorrt/fp16/n-1", "failed", checks=(check("max_abs", 2.0, 1.0, ok=False),)),
    ],
)
def test_another_status_case_or_failed_check_is_news(new: Record) -> None:
    before = run(record("vision/model-0/tensorrt/fp16/n-1", "failed"))
    assert head(before)[0] != head(run(new))[0]


def test_a_run_without_changes_makes_no_comment_and_ends_an_earlier_one() -> None:
    assert head(changed(0))[1] == "update"
    assert head(changed(1))[1] == "always"
    assert head(changed(0))[0] != head(changed(1))[0]


@pytest.mark.parametrize("status", ["acknowledged", "new"])
def test_what_stays_from_run_to_run_makes_no_comment_and_is_shown_in_one_that_stands(status: str) -> None:
    known = run(record(status=status))
    assert head(known)[1] == "update"
    assert head(known)[0] != head(run(record()))[0]
    assert f" {status} | <code>" in comment(known)


def test_a_machine_that_failed_is_told_though_no_case_changed() -> None:
    lost = replace(changed(0), gate=Gate(passed=False, exit_status=3, counts={}))
    assert head(lost)[1] == "always"
    assert "the machine failed: run the job again" in comment(lost)


def test_a_status_named_by_fail_on_counts_as_blocking() -> None:
    gate = Gate(passed=False, exit_status=4, counts={"new": 1})
    named = replace(run(record(status="new")), command="harness run s --fail-on new,inconclusive", gate=gate)
    assert "1 new of 1 case block" in comment(named)
    assert "### Blocking (1)" in summary(named)
    assert len(marks(named, Path.cwd())) == 1


@pytest.mark.parametrize("text", ["&" * 2000, "<&|`" * 500, "é€𝄞" * 200, HOSTILE * 9])
def test_the_comment_stays_below_what_github_takes(text: str) -> None:
    cases = [record(f"s/{text}{place}/fake/fp32/static", "failed", headline=text) for place in range(300)]
    found = comment(run(*cases))
    assert len(found.encode()) <= 60_000
    shown = found.count("| ✗ failed | <code>")
    assert 0 < shown <= MOST
    assert f"{300 - shown} more are left out" in found


@pytest.mark.parametrize("draw", [comment, summary])
def test_hostile_names_stay_names(draw) -> None:
    found = draw(run(record(f"vision/{HOSTILE}/fake/fp32/static", "failed", headline=HOSTILE)))
    (line,) = [one for one in found.splitlines() if one.startswith("| ✗ failed | <code>")]
    assert line.replace(r"\|", "").count("|") == 6
    for raw in ("<img", "@owner", "#12", "#3", "GH-7", "://", "www.evil", "![", " `c`", " **b", ":tada:", "-->"):
        assert raw not in line, raw
    for hidden in ("\u202e", "\u200b", "\x1b"):
        assert hidden not in found


@pytest.mark.parametrize(
    "raw", ["_www.evil.example", "*www.evil.example", "_GH-7", "_http://evil.example", "a@-b.example"]
)
def test_no_letter_before_a_link_or_a_mention_makes_it_one(raw: str) -> None:
    """Of escaped text code hosts see the character, not its escape."""
    shown = markdown(raw).replace("\\", "")
    assert raw not in shown
    assert html.unescape(shown).replace("\u200b", "") == raw


PIECES = [
    *"\\`*_|~[]!<>&;#:@()-+=.$'\"{} a0",
    "```",
    "~~~",
    "<b>",
    "</code>",
    "</details>",
    "<!--",
    "-->",
    "&lt;",
    "&#64;",
]
PIECES += ["http://x", "www.x", "![a](b)", "[a]: b", "GH-1", ":tada:", "\u200b", "\u202e", "\n", "\n\n# ", "\n    "]


@given(text=st.lists(st.sampled_from(PIECES), min_size=1, max_size=20).map("".join))
def test_markdown_shows_foreign_text_as_it_is(text: str) -> None:
    row = record(f"s/{text}/fake/fp32/static", "failed", headline=f"x{text}")
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(summary(run(row)))

    tags = set(re.findall(r"</?([^\s>]+)", page))
    assert tags <= {*("h2", "h3", "p", "strong", "ul", "li", "code"), *("table", "thead", "tbody", "tr", "th", "td")}
    (line,) = [one for one in re.findall("<tr>(.*?)</tr>", page, re.DOTALL) if "failed</td>" in one and "<code>" in one]
    cells = [html.unescape(re.sub("<[^>]*>", "", one)) for one in re.findall("<td[^>]*>(.*?)</td>", line, re.DOTALL)]
    assert len(cells) == 5
    assert cells[1].replace("\u200b", "") == plain(row.case.id)
    assert cells[4].replace("\u200b", "") == plain(row.headline)


def test_a_name_for_the_comment_that_could_end_its_mark_is_refused(tmp_path: Path, capsys) -> None:
    for name in ("x --> y", "a--b", "", "a\nb"):
        assert harness(tmp_path, "comment", tmp_path, "--name", name) == 2
        assert "--name" in capsys.readouterr().err


# --- the summary of the job --------------------------------------------------------------------------------------


def test_the_summary_says_first_what_to_do_then_what_blocks_and_folds_what_passed() -> None:
    found = summary(changed(10))
    parts = ["## ✗ Gate failed", "What to do", "### Blocking (6)", "### Changed, not blocking (4)", "<details>"]
    places = [found.index(part) for part in parts]
    assert places == sorted(places)
    assert found.count("quiet-") == 7
    assert found.index("quiet-") > found.index("<summary>✓ 7 passed</summary>")


def test_of_several_runs_in_one_step_the_later_get_the_room_that_is_left(tmp_path: Path) -> None:
    page = tmp_path / "summary.md"
    long = [record(f"s/m{place}/fake/fp32/static", "failed", headline="<" * 400) for place in range(1000)]
    sizes = []
    for _ in range(30):
        tell_github(run(*long), {"GITHUB_STEP_SUMMARY": str(page)})
        sizes.append(page.stat().st_size)
    assert 850_000 < sizes[0] <= 900_000
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < 1024 * 1024


def test_a_summary_that_cannot_be_written_costs_no_run(tmp_path: Path, capsys) -> None:
    tell_github(changed(1), {"GITHUB_STEP_SUMMARY": str(tmp_path / "gone/summary.md")})
    assert "summary cannot be written" in capsys.readouterr().out


# --- marks on lines of suites ------------------------------------------------------------------------------------


def test_marks_are_ten_at_most_the_worst_first_and_say_how_many_are_left_out() -> None:
    found = marks(changed(50), Path.cwd())
    assert len(found) == 10
    assert found[0].startswith("::error file=suites/vision.yaml,line=14,title=vision%3A 1 failing case declared here::")
    assert "error vision/model-4/" in found[0]
    assert "20 more failing cases of 20 other lines are left out" in found[-1]
    assert not any("left out" in one for one in found[:-1])


def test_only_what_blocks_is_marked_and_once_a_line() -> None:
    same = [on_line(record(f"s/m/fake/fp32/n-{place}", "failed"), 3) for place in range(7)]
    (only,) = marks(run(*same, on_line(record(status="new"), 5), on_line(record(), 6)), Path.cwd())
    assert "line=3,title=s%3A 7 failing cases declared here::" in only
    assert only.endswith("%0Aand 2 more")


def test_a_mark_names_the_file_from_the_folder_that_github_knows(tmp_path: Path) -> None:
    inside = on_line(record(status="failed"), 3, str(tmp_path / "sub/s.yaml"))
    outside = on_line(record(status="failed"), 3, "/elsewhere/s.yaml")
    assert "file=sub/s.yaml," in marks(run(inside), tmp_path)[0]
    assert "file=/elsewhere/s.yaml," in marks(run(outside), tmp_path)[0]


def test_no_name_and_no_headline_makes_a_command_or_ends_one() -> None:
    evil = "50 %\r\n::set-output name=x::y\n::stop-commands::z, title=a"
    bad = replace(record(f"s/{evil}/fake/fp32/static", "failed", headline=evil), case=case("s/m/fake/fp32/static"))
    bad = on_line(bad, 3, f"suites/{evil}.yaml")
    (only,) = marks(run(bad), Path.cwd())
    assert not set("\r\n") & set(only)
    properties, _, message = only.removeprefix("::error ").partition("::")
    assert [one.partition("=")[0] for one in properties.split(",")] == ["file", "line", "title"]
    assert "50 %25 ::set-output" in message


def test_marks_reach_the_log_through_the_guard_against_commands(capsys) -> None:
    with harmless_output():
        print("::error::foreign")
        tell_github(changed(1), {"GITHUB_ACTIONS": "true"})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == ": :error::foreign"
    assert said[1].startswith("::error file=")


@pytest.mark.parametrize("where", [{}, {"GITHUB_ACTIONS": "false"}])
def test_elsewhere_nothing_is_marked(where: dict[str, str], capsys) -> None:
    tell_github(changed(3), where)
    assert capsys.readouterr().out == ""


def test_a_run_marks_the_line_of_the_model_and_adds_its_summary(tmp_path: Path, monkeypatch, capsys) -> None:
    suite = fake_suite(tmp_path, "cases: [{match: '*/fp16/*', outputs: {y: {add: 1.0}}}]\n", precisions="fp16")
    page = tmp_path / "summary.md"
    page.write_text("# before\n")
    for name, value in {"ACTIONS": "true", "STEP_SUMMARY": page, "WORKSPACE": tmp_path}.items():
        monkeypatch.setenv(f"GITHUB_{name}", str(value))

    assert harness(tmp_path, "run", suite, "-o", tmp_path / "out") == 1

    line = 1 + suite.read_text().splitlines().index("  - {name: small, source: small.onnx, shapes: [{n: 1}, {n: 3}]}")
    assert f"\n::error file=toy.yaml,line={line},title=toy%3A 2 failing cases" in capsys.readouterr().out
    assert page.read_text() == "# before\n" + (tmp_path / "out/summary.md").read_text()
