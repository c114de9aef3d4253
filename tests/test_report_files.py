from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from builders import check, environment, every_status, record, run
from harness import report
from harness.records import BLOCKING, STATUSES, Failure

HOSTILE_ID = "vision/<script>alert(1)</script>|`x`/tensorrt/fp16/n-1"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_write_leaves_the_four_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "run"
    report.write(every_status(), folder, against=every_status())
    assert sorted(path.name for path in folder.iterdir()) == ["cases.csv", "junit.xml", "report.html", "summary.md"]
    assert all(path.stat().st_size for path in folder.iterdir())


def test_write_replaces_an_earlier_report(tmp_path: Path) -> None:
    report.write(every_status(), tmp_path)
    report.write(run(record()), tmp_path)
    assert len(rows((tmp_path / "cases.csv").read_text("utf-8"))) == 1


def test_bytes_that_were_never_text_do_not_stop_the_report(tmp_path: Path) -> None:
    failure = Failure("crash", "infer", "bad byte \udc80", "log \udc80 \x00 \x1b[31m")
    report.write(run(record(status="error", headline="bad \udc80", error=failure)), tmp_path)
    ET.parse(tmp_path / "junit.xml")


# --- junit.xml ---------------------------------------------------------------------------------------------------


def test_junit_counts_match_the_statuses() -> None:
    root = ET.fromstring(report.junit(every_status()))
    expected = {"tests": "10", "failures": "3", "errors": "1", "skipped": "2"}
    assert {name: root.get(name) for name in expected} == expected
    assert {tag: len(root.findall(f".//{tag}")) for tag in ("failure", "error", "skipped")} == {
        "failure": 3,
        "error": 1,
        "skipped": 2,
    }


def test_junit_has_a_suite_per_suite_and_a_case_per_record() -> None:
    drawn = run(record("a/m/fake/fp32/static"), record("b/m/fake/fp32/static"), record("a/n/fake/fp32/static"))
    suites = ET.fromstring(report.junit(drawn)).findall("testsuite")
    assert [(suite.get("name"), suite.get("tests")) for suite in suites] == [("a", "2"), ("b", "1")]
    first = suites[0].find("testcase")
    assert first is not None
    assert (first.get("classname"), first.get("name"), first.get("time")) == ("a", "m/fake/fp32/static", "33.250")


def test_a_case_that_a_merged_run_lacks_is_an_error_in_junit() -> None:
    known, other = "a/m/fake/fp32/static", "b/m/fake/fp32/static"
    drawn = run(record(known, "missing"), lacking=(known, "a/n/fake/fp32/static", other))
    root = ET.fromstring(report.junit(drawn))
    assert [(root.get(name)) for name in ("tests", "failures", "errors")] == ["3", "1", "2"]
    found = [(suite.get("name"), suite.get("tests"), suite.get("errors")) for suite in root.findall("testsuite")]
    assert found == [("a", "2", "1"), ("b", "1", "1")]
    lacking = [case.get("name") for case in root.iter("testcase") if case.find("error") is not None]
    assert lacking == ["n/fake/fp32/static", "m/fake/fp32/static"]


def test_junit_says_which_checks_do_not_hold() -> None:
    broken = check("max_abs", 0.2, 0.1, ok=False, reason="0.2 > 0.1 at index 3")
    failure = ET.fromstring(report.junit(run(record(status="failed", checks=(broken,))))).find(".//failure")
    assert failure is not None
    assert "max_abs: 0.2 > 0.1 at index 3" in (failure.text or "")


def test_junit_keeps_the_status_and_the_median_as_properties() -> None:
    root = ET.fromstring(report.junit(run(record(status="improved"))))
    found = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert found["status"] == "improved"
    assert found["p50_ms"] == "1.2"
    assert found["fingerprint"] == environment().fingerprint


def test_junit_tells_the_versions_the_limits_and_the_digests_of_a_case() -> None:
    root = ET.fromstring(report.junit(run(record(checks=(check(),)))))
    found = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert found["version.tensorrt"] == "10.13.3"
    assert (found["limit.logits/cosine_min"], found["value.logits/cosine_min"]) == ("0.9999", "0.99998")
    assert found["digest.engine"] == "c2a1" * 16
    assert (found["model"], found["backend"], found["precision"], found["shape"]) == (
        "digits",
        "tensorrt",
        "fp16",
        "n-64",
    )


@pytest.mark.parametrize("name", ['a"><x y="', "\x00\x0b\ud800\ufffe", "]]>&amp;\u202e", "'\n\t'"])
def test_junit_stays_xml_whatever_outputs_are_called(name: str) -> None:
    drawn = run(record(f"s/{name}/fake/fp32/static", "failed", checks=(check(name, output=name, ok=False),)))
    root = ET.fromstring(report.junit(drawn).encode("utf-8", "strict"))
    assert len(list(root.iter("property"))) >= 10


def test_junit_survives_control_characters_and_markup() -> None:
    drawn = run(record(HOSTILE_ID, "failed", headline="\x00\x1b[31m<b>red</b>\ufffe"))
    root = ET.fromstring(report.junit(drawn))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "[31m<b>red</b>"
    assert [case.get("name") for case in root.iter("testcase")] == [HOSTILE_ID.removeprefix("vision/")]


# --- summary.md --------------------------------------------------------------------------------------------------


def test_summary_counts_every_status_and_lists_what_blocks_first() -> None:
    text = report.summary(every_status())
    assert all(f" {name} | 1 |" in text for name in STATUSES)
    assert text.index("### Blocking (4)") < text.index("### Changed, not blocking (4)")


def test_summary_stays_small_and_says_what_it_left_out() -> None:
    records = [record(f"s/m{place}/fake/fp32/static", "failed", headline="<&|`" * 500) for place in range(5000)]
    text = report.summary(run(*records))
    assert len(text.encode()) < 900_000
    listed = text.count("| ✗ failed | <code>")
    assert f"\n{5000 - listed} more are left out" in text
    assert listed > 50


def test_summary_shows_foreign_text_as_it_is() -> None:
    text = report.summary(run(record(HOSTILE_ID, "failed", headline="a|b\n# c ![x](https://x) `d` <b>")))
    line = next(line for line in text.splitlines() if "tensorrt" in line)
    assert line.replace(r"\|", "").count("|") == 6
    assert not any(raw in line for raw in ("<script>", "<b>", "![x]", " `d`"))


@pytest.mark.parametrize("status", sorted(BLOCKING))
def test_summary_gives_the_headline_of_what_blocks(status: str) -> None:
    assert "the reason why" in report.summary(run(record(status=status, headline="the reason why")))


# --- cases.csv ---------------------------------------------------------------------------------------------------


def test_csv_has_a_row_per_case_with_full_numbers() -> None:
    found = rows(report.csv(every_status()))
    assert [row["status"] for row in found] == list(STATUSES)
    passed = next(row for row in found if row["status"] == "passed")
    assert (passed["p50_ms"], passed["baseline_p50_ms"], passed["worst_check"]) == ("1.2", "1.19", "cosine_min")
    assert float(passed["ratio"]) == pytest.approx(1.2 / 1.19)
    assert found[0]["error_kind"] == "build"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_defuses_formulas(text: str) -> None:
    assert rows(report.csv(run(record(headline=text))))[0]["headline"].startswith("'")


def test_csv_leaves_negative_numbers_alone() -> None:
    drawn = run(record(checks=(check("sqnr_min_db", -3.5, -6.0),)))
    assert rows(report.csv(drawn))[0]["worst_value"] == "-3.5"


def test_csv_of_an_empty_run_has_its_header() -> None:
    assert report.csv(run()).startswith("id,suite,model,")
