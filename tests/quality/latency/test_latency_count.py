"""Rules of the count's parts: other tools' rules say what theirs say, trials share nothing, tables count."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.records import Launch
from quality.latency import count, trials
from quality.latency.collect import TESTS
from quality.latency.rules import RULES, bencher, criterion, mann_whitney, percentage, welch
from quality.latency.stored import ARMS, TAIL, Cell, line, load, open_text, rows, window

NAMES = ("null", *(arm for arm in ARMS if arm != "null"), TAIL)


def calls(rng, change=0.0, sd=0.02, size=400, tail=0.0):
    slow = np.where(rng.random(size) < tail, 2.0, 1.0)
    return (1 + change) * slow * (1 + np.abs(rng.normal(0, sd, size)))


def launch(number, change=0.0, tail=0.0, sd=0.0018, seed=0):
    rng = random.Random(f"{number}/{change}/{tail}/{seed}")
    return Launch(
        math.log1p(change) + rng.gauss(0, sd), tail + rng.gauss(0, 0.002), 1.0, 1.0, 50, 300, "ab"[number % 2]
    )


def lines(launches, cell="quiet", sd=0.0018):
    """What a collection on a machine that drifts from run to run writes."""
    rng = np.random.default_rng(1)
    for number in range(launches):
        for arm in NAMES:
            change, tail = ARMS.get(arm, 0.0), 0.05 if arm == TAIL else 0.0
            speed = 1 + rng.normal(0, 0.02)
            canary = window(0.5 * speed * calls(rng))
            made = window(speed * calls(rng, change, tail=tail), canary)
            yield line("window", number, cell, "A" if arm == "null" else arm, made)
            yield line("turns", number, cell, arm, launch(number, change, tail, sd))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency") / "launches.jsonl.gz"
    with open_text(path, "w") as file:
        file.write(json.dumps({"kind": "machine"}) + "\n")
        file.writelines(f"{one}\n" for one in lines(40))
        file.writelines(f"{one}\n" for one in lines(40, "hopeless", sd=0.3))
        file.write(line("left out", 0, "quiet", "s1", "too little to add") + "\n")
    return path


@pytest.mark.parametrize(("field", "percent"), [("mean", 5.0), ("min", 5.0), ("mean", 10.0)])
def test_pytest_benchmark_is_its_own_check(field, percent):
    from pytest_benchmark.utils import PercentageRegressionCheck

    check = PercentageRegressionCheck(field, percent)
    for before, now in [(1.0, 1.05), (1.0, 1.0500001), (2.0, 2.3), (1.0, 0.5)]:
        fails = check.fails({field: now}, {field: before})
        then, later = (replace(window([1.0, 1.0]), **{f"{field}_ms": value}) for value in (before, now))
        assert percentage(f"{field}_ms", percent, [then], later) == bool(fails)


def test_welch_and_mann_whitney_are_scipys():
    from scipy.stats import mannwhitneyu, ttest_ind

    rng = np.random.default_rng(3)
    for change in (0.0, 0.002, 0.01, -0.05):
        a, b = calls(rng, size=300), calls(rng, change, size=300)
        slower = ttest_ind(b, a, equal_var=False, alternative="greater").pvalue < 0.025
        assert welch([window(a)], window(b)) == slower
        slower = mannwhitneyu(b, a, alternative="greater").pvalue < 0.025
        assert mann_whitney([window(a)], window(b)) == slower


def test_criterion_needs_a_change_of_the_mean_beyond_one_percent():
    rng = np.random.default_rng(4)
    base = window(calls(rng, sd=0.01))

    assert not criterion([base], window(calls(rng, 0.0, sd=0.01)))
    assert not criterion([base], window(calls(rng, 0.008, sd=0.01)))  # it sees it, and it is within the noise
    assert criterion([base], window(calls(rng, 0.008, sd=0.01)), noise=0.005)
    assert criterion([base], window(calls(rng, 0.03, sd=0.01)))
    assert not criterion([base], window(calls(rng, -0.03, sd=0.01)))


def test_bencher_is_a_prediction_interval():
    earlier = [replace(window([1.0, 1.0]), mean_ms=1 + 0.01 * (i % 2)) for i in range(20)]
    sd = np.std([one.mean_ms for one in earlier], ddof=1)
    boundary = 1.005 + 2.539483 * sd * math.sqrt(1 + 1 / 20)  # t table, 19 degrees of freedom

    assert not bencher(earlier, replace(earlier[0], mean_ms=boundary - 1e-6))
    assert bencher(earlier, replace(earlier[0], mean_ms=boundary + 1e-6))


def test_a_window_keeps_what_the_rules_need():
    values = np.linspace(1.0, 2.0, 1000)
    made = window(values)

    assert (made.count, made.min_ms, made.p50_ms) == (1000, 1.0, 1.5)
    assert (len(made.batches_ms), len(made.calls_ms)) == (100, 300)
    assert made.batches_ms[0] == pytest.approx(values[:10].mean(), rel=1e-5)
    assert (made.calls_ms[0], made.calls_ms[-1]) == (1.0, 2.0)


def test_a_file_gives_back_what_was_written(stored):
    cells = load(stored)

    assert set(cells) == {"quiet", "hopeless"}
    assert set(cells["quiet"].turns) == set(NAMES)
    assert cells["quiet"].turns["s3"][7] == launch(7, 0.03)
    assert len(cells["quiet"].windows["A"]) == 40
    assert sum(row["kind"] == "left out" for row in rows(stored)) == 1


def test_disjoint_decisions_share_no_launch(stored):
    cell = load(stored)["quiet"]
    gate = trials.GATES[0]
    admission, used = trials.admission_of(gate, cell)
    found = list(trials.disjoint(gate, cell, "null"))

    assert used == 10
    assert admission.launches == 10
    assert [one.status for one in found] == ["passed"] * len(found)
    assert len(found) == 11  # 30 launches are left, two a decision, until fewer than ten are left
    assert len(list(trials.disjoint(gate, cell, "s5"))) == 4


def test_decisions_are_drawn_with_both_orders_of_creation(stored):
    cell = load(stored)["quiet"]
    drawn = trials.draw(cell.turns["null"], 10, random.Random(0))

    assert [one.first for one in drawn] == ["a", "b"] * 5
    assert len({id(one) for one in drawn}) == 10


def test_windows_of_disjoint_decisions_are_used_once(stored):
    cell = load(stored)["quiet"]

    for rule in RULES:
        assert len(trials.compared(rule, cell, "A", apart=True)) == 40 // (rule.earlier + 1)
        assert len(trials.compared(rule, cell, "A", apart=False)) == 40 - rule.earlier
    assert len(trials.screened(cell, "A", quantile="p50", apart=True)) == 1


def test_disturbed_launches_count_only_where_the_gate_is_told_so():
    spoiled = Cell({"null": [replace(launch(i), spoiled="kept waiting") for i in range(40)]})
    strict, lenient = trials.GATES[1], trials.GATES[3]

    assert trials.admission_of(strict, spoiled) == (None, 40)
    assert trials.admission_of(lenient, spoiled)[0].launches == 10


def test_suites_without_a_change_have_no_alarm_and_alarms_are_counted(stored):
    cell, rng = load(stored)["quiet"], random.Random(0)
    slow = Cell({"null": cell.turns["null"]} | {"s5": cell.turns["s5"]})
    worse = replace(slow, turns={"null": slow.turns["s5"]})

    assert trials.clean_suites(trials.GATES[0], [cell], 3, rng, one_job=False) == 0
    assert trials.clean_suites(trials.GATES[0], [cell], 3, rng, one_job=True) == 0
    assert trials.clean_suites(trials.GATES[0], [worse], 2, rng, one_job=False) == 2


def test_the_count_tells_which_rules_call_unchanged_code_slower(stored, tmp_path, capsys):
    assert count.main([str(stored), "-o", str(tmp_path), "--draws", "20", "--suites", "1"]) == 0

    found = json.loads((tmp_path / "table.json").read_text())
    admitted, refused = found["groups"]["admitted"], found["groups"]["not admitted"]
    assert (admitted["cells"], refused["cells"]) == (["quiet"], ["hopeless"])
    gate = admitted["rules"]["harness gate"]
    assert gate["disjoint"]["null"] == [0, 11]
    assert gate["drawn"]["s3"] == [20, 20]
    assert gate["drawn"][TAIL] == [20, 20]
    assert gate["passed at 3 %"] == [0, 20]
    assert gate["launches"] == 2
    assert refused["rules"]["harness gate"]["inconclusive"][0] == refused["rules"]["harness gate"]["inconclusive"][1]
    assert admitted["rules"]["Mann-Whitney p < 0.05 on calls"]["drawn"]["null"][0] > 5
    assert capsys.readouterr().out.strip() == (tmp_path / "table.md").read_text().strip()


@pytest.mark.alone
def test_a_launch_of_a_real_session_gives_windows_and_turns(tmp_path):
    path = tmp_path / "one.jsonl"
    command = [sys.executable, "-m", "quality.latency.collect", "--launches", "1", "--cells", "layers"]
    options = ["--arms", "null,s10", "--window", "0.01", "-o", str(path)]
    done = subprocess.run([*command, *options], check=False, cwd=TESTS, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    cell = load(path)["layers"]
    assert set(cell.windows) == {"A", "s10"}
    assert set(cell.turns) == {"null", "s10"}
    assert cell.turns["s10"][0].log_ratio > cell.turns["null"][0].log_ratio + 0.03
    assert all(some[0].canary_p50_ms for some in cell.windows.values())
