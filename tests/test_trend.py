"""Accepted runs over time: change points, and small losses that add up."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest

from harness.baselines import read, write
from harness.judge.trend import Point, change_points, points, summed
from test_history import CASE, accept, ran
from toy import harness

MARGIN = 0.02


def series(*values, artefacts=None):
    """One run a day from March 1st."""
    return [
        Point(f"202603{number + 1:02}-000000-aaaa", value, 1, artefacts[number] if artefacts else 0)
        for number, value in enumerate(values)
    ]


def noisy(*values):
    rng = random.Random(3)
    return series(*(value * (1 + rng.gauss(0, 0.004)) for value in values))


def test_times_are_divided_by_the_canary_where_every_run_has_one():
    history, past = (("c", 1.0, 0.5), ("d", 1.5, 0.5)), (("b", 0.9, 0.5, 7),)

    assert points(history, past) == ((Point("b", 1.8, 7, 0), Point("c", 2.0, 1, 1), Point("d", 3.0, 1, 1)), "canary")
    assert points((("c", 1.0, None),), past)[1] == "ms"
    assert [point.value for point in points((("c", 1.0, None),), past)[0]] == [0.9, 1.0]


def test_a_step_beyond_the_margin_is_found_with_its_first_run():
    pytest.importorskip("ruptures")
    (found,) = change_points(noisy(*[1.0] * 10, *[1.05] * 8), MARGIN)

    assert found.run.startswith("20260311")
    assert found.change == pytest.approx(0.05, abs=0.01)
    assert (found.before, found.after) == (10, 8)


def test_a_single_slow_run_and_steps_within_the_margin_are_no_change():
    pytest.importorskip("ruptures")

    assert change_points(series(*[1.0] * 6, 1.5, *[1.0] * 6), MARGIN) == ()
    assert change_points(series(*[1.0] * 8, *[1.015] * 8), MARGIN) == ()
    assert change_points(noisy(*[1.0] * 25), MARGIN) == ()
    assert change_points(series(1.0, 1.0, 2.0), MARGIN) == ()


def test_the_cost_of_a_stretch_is_that_of_the_library_in_whatever_order_it_is_asked():
    ruptures = pytest.importorskip("ruptures")
    from harness.judge.absolute_cost import AbsoluteCost

    rng = random.Random(5)
    signal = np.array([[rng.choice((1.0, 2.5, rng.random()))] for _ in range(17)])
    ours, theirs = AbsoluteCost().fit(signal), ruptures.costs.CostL1().fit(signal)
    stretches = [(start, end) for start in range(16) for end in range(start + 2, 18)]
    rng.shuffle(stretches)

    assert [ours.error(*one) for one in stretches] == pytest.approx([float(theirs.error(*one)) for one in stretches])


def test_slow_creep_is_found_although_no_step_is():
    pytest.importorskip("ruptures")
    found = change_points(noisy(*(1.008**number for number in range(12))), MARGIN)

    assert found
    assert all(one.change > MARGIN for one in found)


def test_an_earlier_artefact_counts_as_often_as_it_was_measured():
    pytest.importorskip("ruptures")
    earlier = Point("20260201-000000-aaaa", 1.0, 5, 0)

    (found,) = change_points([earlier, *series(1.1, 1.1, artefacts=[1, 1])], MARGIN)

    assert (found.run, found.before, found.after) == ("20260301-000000-aaaa", 5, 2)


def test_small_accepted_losses_are_summed_and_large_changes_apart():
    chain = series(*(1.008**number for number in range(11)), artefacts=range(11))
    found = summed(chain, MARGIN)

    assert found.change == found.small == pytest.approx(1.008**10 - 1)
    assert len(found.changes) == 10
    assert found.crept
    jump = summed(series(1.0, 1.3, 1.305, 1.31, artefacts=range(4)), MARGIN)
    assert jump.change == pytest.approx(0.31)
    assert not jump.crept
    hidden = summed(
        series(*(value * 1.008**n for n, value in enumerate([1.0, *[0.8] * 9])), artefacts=range(10)), MARGIN
    )
    assert hidden.change < 0
    assert hidden.crept


def test_the_sum_begins_with_what_was_accepted_on_a_day_or_with_a_run():
    chain = series(1.0, 1.01, 1.02, 1.03, artefacts=range(4))

    assert summed(chain, MARGIN, since="2026-03-02").since.startswith("20260302")
    assert summed(chain, MARGIN, since="2025-01-01").since.startswith("20260301")
    assert summed(chain, MARGIN, since="2027-01-01").changes == ()
    assert summed(chain, MARGIN, against=chain[2].run).change == pytest.approx(1.03 / 1.02 - 1)
    assert summed(chain, MARGIN, against="another") is None


@pytest.fixture
def crept(tmp_path, monkeypatch):
    """A folder in which six small losses were accepted."""
    monkeypatch.chdir(tmp_path)
    ran(tmp_path, "a")
    accept(tmp_path, "a")
    (file,) = (tmp_path / "baselines").glob("*/toy.json")
    entries = read(tmp_path / "baselines", file.parent.name, "toy")
    from dataclasses import replace

    past = tuple((f"2026030{day}-000000-aaaa", 1.0 * 1.01**day, 0.5, 2) for day in range(1, 7))
    changed = replace(entries[CASE], past=past, history=(("20260307-000000-aaaa", 1.0 * 1.01**7, 0.5),))
    write(tmp_path / "baselines", file.parent.name, "toy", {**entries, CASE: changed})
    return tmp_path


def test_history_tells_series_changes_and_creep_and_writes_them_as_json(crept, capsys):
    pytest.importorskip("ruptures")
    capsys.readouterr()

    assert harness(crept, "history", "toy.yaml", "--json", "trends.json", "--since", "2026-03-02") == 0

    out = capsys.readouterr().out
    assert f"{CASE}  " in out
    assert "p10 over the canary's, 13 runs of 7 artefacts" in out
    assert "100.0% (2)  101.0% (2)" in out
    assert "since run 20260302-000000-aaaa: +5.1% in 5 accepted changes" in out
    assert "crept: those within the margin of 2.0% make +5.1% together" in out
    data = json.loads((crept / "trends.json").read_text())
    assert data["schema"] == "harness.history/1"
    assert data["cases"][0]["sum"]["crept"] is True
    assert data["cases"][0]["changes"]


def test_without_ruptures_the_rest_is_told_with_how_to_install_it(crept, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)

    assert harness(crept, "history", "toy.yaml", "--against", "20260301-000000-aaaa") == 0

    out = capsys.readouterr().out
    assert "pip install 'trt-harness[history]'" in out
    assert "+6.1% in 6 accepted changes" in out


def test_a_run_that_no_case_remembers_and_a_suite_without_baselines_are_errors(crept, capsys):
    assert harness(crept, "history", "toy.yaml", "--against", "20260301-000000-aaab") == 2
    assert "did you mean '20260301-000000-aaaa'" in capsys.readouterr().err

    assert harness(crept, "history", "toy.yaml", "--baselines", "nowhere") == 2
    assert "no baseline of these cases remembers a run" in capsys.readouterr().err
