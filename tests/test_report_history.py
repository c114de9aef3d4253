"""`harness report --history`: trends over the runs in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builders import record, run
from harness import store
from harness.cli import main
from pages import details, index


def test_trends_are_drawn_of_the_runs_in_a_folder_and_damaged_ones_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in (1, 2):
        one = replace(run(record()), id=f"day-{day}", started=f"2026-01-0{day}T00:00:00+00:00")
        (tmp_path / "past" / one.id).mkdir(parents=True)
        store.write_run(one, tmp_path / "past" / one.id)
    (tmp_path / "past" / "broken").mkdir()
    (tmp_path / "past" / "broken" / "run.json").write_text("{")
    (tmp_path / "now").mkdir()
    store.write_run(run(record()), tmp_path / "now")
    assert main(["report", str(tmp_path / "now"), "--history", str(tmp_path / "past")]) == 0
    drawn = (tmp_path / "now" / "report.html").read_text("utf-8")
    assert [values[0] for values in index(drawn)["past"]] == ["day-1", "day-2"]
    assert details(drawn)[0][0]["past"]["steps"] == [0, 0]
    assert "left out of the trends" in capsys.readouterr().err


def test_a_folder_of_history_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    store.write_run(run(record()), tmp_path)
    assert main(["report", str(tmp_path), "--history", str(tmp_path / "none")]) == 2
