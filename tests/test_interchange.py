"""Results to and from pytest-benchmark's JSON: what its own commands take, and what a run makes of its files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.stats import Stats as TheirStats

from builders import latency, quantiles, record, run
from harness import store
from harness.cli import main
from harness.codec import decode, encode
from harness.interchange.names import case_of
from harness.interchange.schema import Benchmark, Stats
from harness.records import Location, Run
from harness.timing import loop
from toy import fake_suite, harness

TESTS = """
import pytest

@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize("kind", ["a/b", "static"])
def test_sum(benchmark, kind, n):
    benchmark.pedantic(sum, (range(10 * n),), rounds=20)

class TestLong:
    def test_sorted(self, benchmark):
        benchmark.pedantic(sorted, (range(1000),), rounds=20, iterations=3)
"""
ZERO = Stats(*[0.0] * 4, 1, *[0.0] * 4, 0, 0, 0.0, 0.0)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A project with results of its own: `all.json` with every round, and a saved file without."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").touch()
    (folder / "test_speed.py").write_text(TESTS)
    session(folder, "--benchmark-json=all.json", "--benchmark-autosave")
    return folder


@pytest.fixture
def project(original, tmp_path, monkeypatch):
    for file in (original / "test_speed.py", original / "all.json", original / "pyproject.toml"):
        (tmp_path / file.name).write_text(file.read_text())
    (saved,) = original.glob(".benchmarks/*/*.json")
    (tmp_path / "saved.json").write_text(saved.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRT_HARNESS_LOCKS", str(tmp_path / "locks"))
    return tmp_path


def session(folder, *arguments):
    """What a pytest session in a folder told."""
    return told(folder, "-m", "pytest", "-p", "no:cacheprovider", "-W", "default", *arguments)


def told(folder, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def taken(*arguments):
    """The run that `harness import` makes."""
    assert main(["import", *map(str, arguments), "-o", "run"]) == 0
    return store.read_run(Path("run"))


def changed(name, days=0, slower=1.0, **changes):
    """A copy of the saved results that was measured days later, and slower."""
    data = json.loads(Path("saved.json").read_text())
    data["datetime"] = f"2031-01-{days + 1:02d}T10:00:00+00:00"
    for benchmark in data["benchmarks"]:
        for key in ("min", "max", "mean", "median", "q1", "q3", "iqr", "ld15iqr", "hd15iqr", "stddev"):
            benchmark["stats"][key] *= slower * 1000  # a thousand times longer than the floor of 5 us
    Path(name).write_text(json.dumps({**data, **changes}))
    return name


def statuses(found: Run) -> set[str]:
    return {one.status for one in found.records}


# --- export ------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(project):
    suite = fake_suite(project / "models", "cases: [{match: '*/n-3', latency_ms: 2.5}]")
    assert harness(project, "run", suite, "-o", "done") == 0
    assert main(["export", "done", "-o", "new/done.json"]) == 0
    return project / "new/done.json"


def test_pytest_benchmarks_own_commands_take_an_exported_run(project, exported):
    compared = told(project, "-m", "pytest_benchmark", "compare", "new/done.json", "all.json", "--csv=table.csv")
    assert "benchmark 'toy/small/n-3': 1 tests" in compared
    assert "small[fake/fp32/n-3]" in compared
    assert "toy/small/fake/fp32/n-3," in (project / "table.csv").read_text()

    now = session(project, f"--benchmark-compare={exported}", "test_speed.py")
    assert f"Comparing against benchmarks from: {exported}" in now
    assert "Failed to load" not in now


def test_an_exported_file_has_the_fields_of_pytest_benchmarks_own(project, exported):
    ours, theirs = (json.loads(file.read_text()) for file in (exported, project / "saved.json"))
    assert ours.keys() == theirs.keys()
    assert ours["machine_info"].keys() == theirs["machine_info"].keys() | {"harness"}
    assert ours["commit_info"].keys() == theirs["commit_info"].keys()
    assert ours["benchmarks"][0].keys() == theirs["benchmarks"][0].keys()
    assert ours["benchmarks"][0]["stats"].keys() == theirs["benchmarks"][0]["stats"].keys()


def test_an_exported_case_has_its_times_in_seconds_under_its_id(exported):
    data = json.loads(exported.read_text())
    slow = next(one for one in data["benchmarks"] if one["fullname"] == "toy/small/fake/fp32/n-3")
    assert slow["stats"]["median"] == slow["stats"]["min"] == 2.5e-3
    assert slow["stats"]["rounds"] == 20
    assert slow["params"] == {
        "model": "small", "backend": "fake", "precision": "fp32", "shape": "n-3", "environment": "default",
    }  # fmt: skip
    assert slow["extra_info"]["harness"]["status"] == "new"


def test_the_spread_of_samples_is_what_pytest_benchmark_makes_of_them():
    samples = [1.0 + 0.01 * (number * 37 % 101) for number in range(400)] + [7.0, 9.0]
    theirs = TheirStats()
    for sample in samples:
        theirs.update(sample)

    spread = loop.quantiles(samples).spread

    assert (spread.min_ms, spread.max_ms) == (theirs.min, theirs.max)
    assert spread.sd_ms == pytest.approx(theirs.stddev)
    assert (spread.q1_ms, spread.q3_ms) == pytest.approx((theirs.q1, theirs.q3), abs=0.01)  # ranks, not between them
    assert (spread.low_ms, spread.high_ms) == (theirs.ld15iqr, theirs.hd15iqr)
    assert (spread.beyond_fences, spread.beyond_sd) == (theirs.iqr_outliers, theirs.stddev_outliers)


def test_cases_without_times_or_without_their_spread_are_left_out_and_told(tmp_path, capsys):
    measured = latency()
    full = encode(measured)
    for clock in ("host", "gpu"):
        full[clock]["spread"] = encode(loop.quantiles([1.0, 1.2, 1.4]).spread)
    known = record("a/new/fake/fp32/static", latency=decode(type(measured), full))
    made = run(known, record("a/old/fake/fp32/static"), record("a/none/fake/fp32/static", "skipped"))
    store.write_run(made, tmp_path)

    assert main(["export", str(tmp_path), "-o", str(tmp_path / "out.json")]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"exported 1 cases to {tmp_path / 'out.json'}",
        "left out, measured before their spread was recorded: run them again: a/old/fake/fp32/static",
        "left out, not timed: a/none/fake/fp32/static",
    ]


def test_a_run_without_times_is_not_exported(tmp_path, capsys):
    store.write_run(run(record(status="skipped")), tmp_path)
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "out.json")]) == 2
    assert "holds no times to export: left out, not timed: " in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_runs_from_before_the_spread_was_recorded_are_read(tmp_path):
    store.write_run(run(record()), tmp_path)
    data = json.loads((tmp_path / "run.json").read_text())
    del data["records"][0]["latency"]["host"]["spread"]
    (tmp_path / "run.json").write_text(json.dumps(data))
    assert store.read_run(tmp_path).records[0].latency.host == quantiles(1.24)


def test_a_baseline_holds_no_spread(project, exported):
    assert harness(project, "accept", "done", "--reason", "first") == 0
    (accepted,) = (project / "models/baselines").glob("*/toy.json")
    assert "p50_ms" in accepted.read_text()
    assert "spread" not in accepted.read_text()


# --- import ------------------------------------------------------------------------------------------------------


def test_an_imported_file_exports_to_the_same_names_and_times(project):
    taken("all.json")
    assert main(["export", "run", "-o", "back.json"]) == 0
    back, there = (json.loads(Path(file).read_text()) for file in ("back.json", "all.json"))
    for ours, theirs in zip(back["benchmarks"], there["benchmarks"], strict=True):
        names = ("name", "fullname", "group", "params", "param")
        assert [ours[name] for name in names] == [theirs[name] for name in names]
        del theirs["stats"]["data"], theirs["stats"]["outliers"], ours["stats"]["outliers"]
        assert ours["stats"] == pytest.approx(theirs["stats"], rel=1e-9)

    assert session(project, "--benchmark-compare=back.json").count("(back)") == len(there["benchmarks"])


def test_ids_say_what_was_timed_and_no_two_benchmarks_share_one(project):
    found = taken("all.json")
    assert [one.case.id for one in found.records] == [
        "pytest/test_speed.py/test_sum/pytest-benchmark/as-is/a+2Fb-1",
        "pytest/test_speed.py/test_sum/pytest-benchmark/as-is/a+2Fb-50",
        "pytest/test_speed.py/test_sum/pytest-benchmark/as-is/static-1",
        "pytest/test_speed.py/test_sum/pytest-benchmark/as-is/static-50",
        "pytest/test_speed.py/TestLong/test_sorted/pytest-benchmark/as-is/static",
    ]


def test_names_that_look_alike_have_ids_of_their_own():
    names = [("a[static]", "static"), ("a", None), ("a[x/y]", "x/y"), ("a[x+2Fy]", "x+2Fy"), ("a[x y]", "x y")]
    names += [("a[~]", "~"), ("a[]", ""), ("a[é]", "é"), ("a[\udc80]", "\udc80"), ("b[c]/a", None), ("b/[c]a", None)]
    ids = [case_of("s", Benchmark(name, name, ZERO, param=param), Location("f", 1)).id for name, param in names]
    assert len(set(ids)) == len(names)
    assert all(one.count("/") >= 4 and " " not in one for one in ids)


def test_every_id_can_be_named_with_k(project, capsys):
    for one in taken("all.json").records:
        assert harness(project, "accept", "run", "--reason", "first", "-k", one.case.id) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("accepted 1 new into ")


def test_what_a_file_without_single_times_cannot_tell_is_absent_or_estimated_and_said(project):
    known, estimated = taken("all.json").records[0], None
    Path("run").rename("first")
    estimated = taken("saved.json").records[0]
    assert estimated.latency.host.p90_ms is estimated.latency.host.p99_ms is None
    assert known.latency.host.p90_ms >= known.latency.host.p50_ms == estimated.latency.host.p50_ms
    low, high = estimated.latency.host.ci95_ms
    assert low <= estimated.latency.host.p50_ms <= high
    assert "no single times were kept" in estimated.notes[0]
    assert known.notes == ()


def test_the_machine_is_the_one_that_the_file_tells_of(project):
    data = json.loads(Path("saved.json").read_text())
    data["machine_info"] |= {"node": "ci-7", "cpu": {"brand_raw": "Cray X-MP / 48"}}
    data["commit_info"]["id"] = "4f1c09ab27d8e6a1b0c3d4e5f60718293a4b5c6d"
    Path("cray.json").write_text(json.dumps(data))
    found = taken("cray.json")
    assert found.environments["default"].fingerprint == "cpu-cray-x-mp-48"
    assert found.environments["default"].host == "ci-7"
    assert found.commit == data["commit_info"]["id"]


def test_what_was_accepted_is_what_later_files_are_compared_with(project):
    taken(changed("old.json"))
    assert harness(project, "accept", "run", "--reason", "first") == 0
    Path("run").rename("first")
    found = taken(changed("new.json", days=1, slower=1.5))
    assert statuses(found) == {"regressed"}
    assert "+50.0%, limit +5.0%" in found.records[0].headline
    assert found.gate.exit_status == 1
    assert main(["compare", "first", "run"]) == 1


def test_earlier_files_are_runs_of_their_own_and_what_the_latest_is_screened_by(project):
    files = [changed(f"{day}.json", day) for day in range(6)]
    found = taken(*reversed(files))
    assert statuses(found) == {"passed"}
    assert "against 5 earlier runs" in found.records[0].headline
    assert found.started == "2031-01-06T10:00:00+00:00"
    earlier = sorted(Path("run/earlier").iterdir())
    assert [store.read_run(folder).started[:10] for folder in earlier] == [f"2031-01-0{day}" for day in range(1, 6)]
    assert main(["compare", str(earlier[0]), "run"]) == 0
    assert "what changed" in Path("run/report.html").read_text().lower()


def test_a_slower_file_is_only_suspicious_because_nothing_can_be_timed_again(project):
    files = [changed(f"{day}.json", day) for day in range(5)]
    found = taken(*files, changed("slow.json", 9, slower=1.5))
    assert statuses(found) == {"inconclusive"}
    assert found.gate.passed


@pytest.mark.parametrize("change", ["machine", "options"])
def test_results_of_another_machine_or_with_other_options_are_no_history(project, change):
    files = [changed(f"{day}.json", day) for day in range(5)]
    data = json.loads(Path(changed("other.json", 9)).read_text())
    if change == "machine":
        data["machine_info"]["cpu"]["brand_raw"] = "Cray X-MP"
    for one in data["benchmarks"]:
        one["options"]["disable_gc"] = change == "options"
    Path("other.json").write_text(json.dumps(data))
    assert statuses(taken(*files, "other.json")) == {"new"}


def test_too_few_rounds_decide_nothing_and_the_headline_says_what_gives_more(project):
    data = json.loads(Path(changed("few.json")).read_text())
    for one in data["benchmarks"]:
        one["stats"]["rounds"] = 5
    Path("few.json").write_text(json.dumps(data))
    taken("few.json")
    assert harness(project, "accept", "run", "--reason", "first") == 0
    Path("run").rename("first")
    found = taken(changed("slow.json", 1, slower=2))
    assert statuses(found) == {"inconclusive"}
    assert "--benchmark-min-rounds" in found.records[0].headline


def no_median(data):
    del data["benchmarks"][2]["stats"]["median"]


def huge(data):
    data["benchmarks"][1]["stats"]["max"] = 10**400


def deep(data):
    for _ in range(200):
        data["benchmarks"][1]["extra_info"] = {"more": data["benchmarks"][1]["extra_info"]}


def nan(data):
    data["benchmarks"][1]["stats"]["max"] = float("nan")


def twice(data):
    data["benchmarks"].append(data["benchmarks"][0])


def text(data):
    data["benchmarks"][0]["stats"]["min"] = "fast"


def short(data):
    data["benchmarks"][0]["stats"]["data"] = [1.0]


def no_time(data):
    data["datetime"] = "yesterday"


def empty(data):
    data["benchmarks"] = []


def machine(data):
    data["machine_info"]["harness"] = {"host": 3}


def nameless(data):
    data["benchmarks"][0]["fullname"] = " "


def torn_stats(data):
    data["benchmarks"][0]["stats"] |= {"median": 9.0}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_median, "Results.benchmarks[2].stats: missing median"),
        (nan, "are not those of times"),
        (huge, "it holds a number that is too large"),
        (deep, "levels deep"),
        (twice, "'test_speed.py::test_sum[a/b-1]' is in it 2 times"),
        (text, "Results.benchmarks[0].stats.min: expected float, not 'fast'"),
        (short, "its data are not 20 times"),
        (no_time, "Invalid isoformat string: 'yesterday'"),
        (empty, "it holds no benchmark"),
        (machine, "its machine_info is damaged: "),
        (nameless, "it has no name"),
        (torn_stats, "are not those of times"),
    ],
)
def test_a_damaged_file_is_one_error_that_says_where_and_leaves_nothing(project, capsys, damage, words):
    data = json.loads(Path("saved.json").read_text())
    damage(data)
    Path("bad.json").write_text(json.dumps(data))
    assert main(["import", "all.json", "bad.json", "-o", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("harness: bad.json: ")
    assert words in line
    assert not Path("run").exists()


@pytest.mark.parametrize("content", ["", "[]", "null", '{"benchmarks": ', "\x00", '{"schema": "harness.run/1"}'])
def test_a_foreign_file_is_one_error(project, capsys, content):
    Path("bad.json").write_text(content)
    assert main(["import", "bad.json", "-o", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("harness: bad.json: not results of pytest-benchmark: ")


def test_a_suite_name_that_cannot_name_a_file_is_refused(project, capsys):
    assert main(["import", "all.json", "-o", "run", "--suite", "../x"]) == 2
    assert "--suite '../x'" in capsys.readouterr().err


def test_judge_says_that_no_suite_makes_what_was_imported(project, capsys):
    taken("all.json")
    assert main(["judge", "run"]) == 2
    assert "nothing but results of pytest-benchmark" in capsys.readouterr().err


def test_a_report_of_imported_results_can_be_drawn_again(project):
    taken("saved.json")
    before = Path("run/report.html").read_text()
    Path("run/report.html").unlink()
    assert main(["report", "run"]) == 0
    assert Path("run/report.html").read_text() == before
    assert "test_sorted" in before
