"""`--shard I/N` and `harness merge`: parts of a run that are together what the whole is."""

from __future__ import annotations

import json
from dataclasses import replace
from math import fsum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duelling import ring
from harness.baselines import read
from harness.records import Plan
from harness.store import read_run, write_run
from harness.suites.shard import share
from plans import CASE, PLAN
from test_resume import SHIFTS, same, timeless
from toy import fake_suite, harness

MODELS = """
suite: toy
defaults:
  reference: {backend: fake, precision: fp32}
  backends: [fake]
  precisions: [fp32, fp16]
  latency: {min_count: 20}
  options: {fake: {script: script.yaml}}
models:
  - {name: a, source: small.onnx, shapes: [{n: 1}, {n: 3}]}
  - {name: b, source: small.onnx, shapes: [{n: 1}, {n: 3}]}
  - {name: c, source: small.onnx, shapes: [{n: 1}, {n: 2}, {n: 3}]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def models(folder: Path, script: str = "cases: [{latency_ms: [1.0, 1.01]}]") -> Path:
    """A suite of 14 cases of three models."""
    path = fake_suite(folder, script)
    path.write_text(MODELS)
    return path


def parts(folder: Path, suite: Path, count: int, *options: object) -> list[str]:
    """The folders of all shards, run one after the other."""
    names = [f"part-{number}" for number in range(1, count + 1)]
    for number, name in enumerate(names, start=1):
        harness(folder, "run", suite, "-o", name, "--shard", f"{number}/{count}", *options)
    return names


def cases(counts: list[int]) -> list[Plan]:
    """Plans of models with so many cases each."""
    names = [(f"m{model}", number) for model, count in enumerate(counts) for number in range(count)]
    return [replace(PLAN, case=replace(CASE, id=f"s/{model}/{number}", model=model)) for model, number in names]


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    parts=st.integers(1, 6),
    seconds=st.lists(st.floats(0.01, 1000), max_size=48),
)
def test_every_case_is_in_exactly_one_part_in_the_order_of_the_suite_and_loads_are_balanced(counts, parts, seconds):
    plans = cases(counts)
    known = {plan.case.id: found for plan, found in zip(plans, seconds, strict=False)}

    shares = [share(plans, (number, parts), known) for number in range(1, parts + 1)]

    ids = [[plan.case.id for plan in part] for part in shares]
    order = [plan.case.id for plan in plans]
    assert sorted(case for part in ids for case in part) == sorted(order)
    assert all(part == [case for case in order if case in part] for part in ids)
    assert all(ids) or len(plans) < parts
    if len(seconds) >= len(plans):
        loads = [fsum(known[case] for case in part) for part in ids]
        fair = fsum(loads) / parts
        heaviest = max(known[case] for case in order)
        assert max(loads) <= fair + max(fair, heaviest) * 1.000001


def test_a_model_stays_whole_unless_it_is_more_than_a_fair_share():
    plans = cases([2, 2, 2, 10])

    shares = [{plan.case.model for plan in share(plans, (number, 2), {})} for number in (1, 2)]

    divided = shares[0] & shares[1]
    assert divided == {"m3"}


def test_seconds_of_accepted_runs_balance_the_parts(folder):
    suite = models(folder)
    harness(folder, "run", suite, "-o", "first")
    run = read_run(folder / "first")
    slow = [replace(one, stages={"time_s": 90.0 if one.case.model == "a" else 1.0}) for one in run.records]
    write_run(replace(run, records=tuple(slow)), folder / "first")
    assert harness(folder, "accept", "first", "--reason", "a start", "--launches", 0) == 0

    found = [{one.case.model for one in read_run(folder / name).records} for name in parts(folder, suite, 2)]

    assert found[0] & found[1] == {"a"}  # it alone is heavier than half, so each part measures some of it
    assert {len(read_run(folder / name).records) for name in ("part-1", "part-2")} == {6, 8}


def test_three_shards_merged_are_one_whole_run(folder, monkeypatch):
    suite = models(folder, "cases: [{match: '*/b/fake/fp16/n-1', outputs: {y: {add: 0.5}}}, {latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    suite.write_text(MODELS.replace("{n: 2}, ", ""))  # two accepted cases are made no more
    shifts = {**SHIFTS, "*/c/*/fp16/*": 0.014}
    ring(monkeypatch, shifts)
    assert harness(folder, "run", suite, "-o", "whole") == 1
    whole = read_run(folder / "whole")
    ring(monkeypatch, shifts)
    names = parts(folder, suite, 3)

    assert harness(folder, "merge", *names, "-o", "merged") == 1

    merged = read_run(folder / "merged")
    assert same(merged, whole)
    assert [one.status for one in merged.records].count("missing") == 2
    alone = {one.case.id: timeless(one) for name in names for one in read_run(folder / name).records}
    together = {one.case.id: timeless(one) for one in merged.records}
    corrected = [case for case, one in alone.items() if together[case] != one]
    assert corrected  # p-values are larger among all cases than among those of a part
    assert all(together[case].duel is not None for case in corrected)
    assert harness(folder, "judge", "merged") == 1


def test_a_merge_that_lacks_a_part_never_passes_and_says_what_is_not_there(folder, capsys):
    suite = models(folder)
    names = parts(folder, suite, 3)

    assert harness(folder, "merge", *names[:2], "-o", "two") == 130

    told = capsys.readouterr().out
    assert "shards that are not here: 3/3" in told
    lacking = {one.case.id for one in read_run(folder / names[2]).records}
    assert [case for case in lacking if case not in told.partition("in none of the runs: ")[2]] == []

    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    assert harness(folder, "merge", *names[:2], "-o", "accepted") == 1
    statuses = {one.case.id: one.status for one in read_run(folder / "accepted").records}
    assert {case for case, status in statuses.items() if status == "missing"} == lacking


def test_accepting_a_merge_that_lacks_a_part_keeps_what_was_accepted_of_that_part(folder, capsys):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]", "fp32, fp16")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start")
    names = parts(folder, suite, 2)
    lacking = {one.case.id for one in read_run(folder / names[1]).records}
    assert harness(folder, "merge", names[0], "-o", "half") == 1
    capsys.readouterr()

    assert harness(folder, "accept", "half", "--reason", "what there is") == 0

    told = capsys.readouterr().out
    assert f"not accepted: {len(lacking)} missing" in told
    assert set(told.partition("no part of the run holds it: ")[2].strip().split(", ")) == lacking
    (file,) = (folder / "baselines").glob("*/toy.json")
    assert len(read(folder / "baselines", file.parent.name, "toy")) == 4
    assert harness(folder, "accept", "half", "--reason", "nothing", "-k", " or ".join(lacking)) == 2


def test_a_part_that_was_killed_is_joined_as_far_as_it_came_and_named(folder, capsys):
    suite = models(folder)
    names = parts(folder, suite, 2)
    assert harness(folder, "merge", *names, "-o", "all") == 0
    path = folder / "part-2/journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    (folder / "part-2/run.json").unlink()

    assert harness(folder, "merge", *names, "-o", "torn") == 130

    assert "part-2: did not end" in capsys.readouterr().out
    assert harness(folder, "run", suite, "-o", "part-2", "--shard", "2/2", "--resume") == 0
    assert harness(folder, "merge", *names, "-o", "again") == 0
    assert same(read_run(folder / "again"), read_run(folder / "all"))


def test_a_case_in_two_runs_alike_is_one_and_measured_twice_is_refused(folder, capsys):
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "one")
    (folder / "script.yaml").write_text("cases: [{match: '*/n-3', outputs: {y: {add: 0.5}}}]")
    harness(folder, "run", suite, "-o", "two")

    assert harness(folder, "merge", "one", "one", "-o", "same") == 0
    assert "in more than one of the runs, alike: 2 cases" in capsys.readouterr().out
    assert harness(folder, "merge", "one", "two", "-o", "both") == 2
    assert "toy/small/fake/fp32/n-3: new in one, failed in two" in capsys.readouterr().err
    assert not (folder / "both").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"commit": "1" * 40}, "is of commit 1111"),
        ({"versions": "0.9"}, "environment 'default': numpy"),
        ({"fingerprint": "cpu-other"}, "machine class"),
    ],
)
def test_runs_of_other_commits_versions_or_machines_are_no_parts_of_one(folder, capsys, change, words):
    suite = fake_suite(folder)
    parts(folder, suite, 2)
    for number, commit in ((1, "0" * 40), (2, change.get("commit", "0" * 40))):
        path = folder / f"part-{number}/run.json"
        data = json.loads(path.read_text()) | {"commit": commit}
        if number == 2:
            machine = data["environments"]["default"]
            machine["fingerprint"] = change.get("fingerprint", machine["fingerprint"])
            machine["versions"]["numpy"] = change.get("versions", machine["versions"]["numpy"])
        path.write_text(json.dumps(data))

    assert harness(folder, "merge", "part-1", "part-2", "-o", "out") == 2

    assert words in capsys.readouterr().err


def test_selected_parts_are_whole_when_merge_selects_alike(folder):
    suite = models(folder)
    harness(folder, "run", suite, "-o", "a", "-k", "/a/ and fp32")
    harness(folder, "run", suite, "-o", "b", "-k", "/b/ and fp32", "--keep-outputs")

    assert harness(folder, "merge", "a", "b", "-o", "part") == 130
    assert harness(folder, "merge", "a", "b", "-o", "whole", "-k", "fp32 and not /c/") == 0
    assert len(read_run(folder / "whole").records) == 4
    assert (folder / "whole/outputs/toy/b/fake/fp32/n-1/candidate/index.json").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_does_not_exist_is_refused(folder, text, capsys):
    with pytest.raises(SystemExit) as ended:
        harness(folder, "run", "toy.yaml", f"--shard={text}")

    assert ended.value.code == 2
    assert "is not I/N" in capsys.readouterr().err


def test_more_shards_than_cases_leave_the_last_ones_nothing_and_say_so(folder, capsys):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-o", "out", "--shard", "3/3") == 2

    assert "nothing is left for it of 2 cases" in capsys.readouterr().err
