"""Which layers slowed: matched by name and by nodes, kept small, and told where a case regressed."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

import models
from builders import record as made_record
from builders import run as made_run
from harness import baselines
from harness.cli import main
from harness.judge.slower import naming_layers, pairs, slower
from harness.records import LayerTime, Profile, Verdict
from harness.records.profiles import BASELINE, RECORD, cut, shortened
from harness.report import html
from harness.runner.layer_times import MOST, affordable
from harness.store import read_run
from pages import details
from test_profile import FEEDS, layers_of
from toy import fake_suite, harness

DIGITS = Path(__file__).parents[1] / "suites/digits"
AT = ("--baselines", "baselines")
SUITE = """
suite: real
models:
  - name: digits-cnn
    source: digits_cnn.onnx
    shapes: [{{n: 64}}]
    inputs: {{image: {{file: digits.npz, key: images}}}}
    latency: {{min_time_s: 0.05, profile: {profile}}}
    backends: [onnxruntime-cpu]
    options: {{onnxruntime-cpu: {{threads: 1, graph_optimization: {level}}}}}
    precisions: [fp32, fp16, int8]
"""


def layer(ms: float, name: str, *nodes: str) -> LayerTime:
    return LayerTime(name, "Conv", ms, 0.0, nodes)


def of(*layers: LayerTime, **changes) -> Profile:
    return Profile(tuple(layers), sum(one.ms for one in layers), 20, **changes)


def test_a_layer_that_slowed_is_named_with_both_times():
    before = of(layer(0.12, "conv1"), layer(0.5, "conv2"))

    words = slower(before, of(layer(0.31, "conv1"), layer(0.5, "conv2")))

    assert "conv1: 0.12 -> 0.31 ms" in words
    assert "conv2" not in words


def test_a_layer_that_lost_a_fusion_is_matched_by_its_nodes():
    before = of(layer(0.12, "A", "conv2", "relu2", "add1"))
    now = of(layer(0.2, "B", "conv2", "relu2"), layer(0.11, "C", "add1"))

    assert "conv2 + relu2, add1: 0.12 -> 0.31 ms (was fused: conv2 + relu2 + add1)" in slower(before, now)
    assert "conv2 + relu2 + add1: 0.31 -> 0.4 ms (was apart: conv2 + relu2, add1)" in slower(
        now, of(layer(0.4, "A", "conv2", "relu2", "add1"))
    )


def test_at_most_three_layers_are_named_and_none_that_hardly_adds_to_the_slowdown():
    before = of(*(layer(1.0, f"l{i}") for i in range(6)))
    now = of(*(layer(1.0 + grown, f"l{i}") for i, grown in enumerate((3, 2, 2, 2, 0.1, 0))))

    assert slower(before, now).count("->") == 1 + 3
    assert slower(before, of(*now.layers[:1], layer(1.1, "l4"), *before.layers[1:4])).count("->") == 1 + 1


def test_where_many_layers_slowed_a_little_they_are_counted_and_the_most_are_named():
    before = of(*(layer(1.0, f"l{number}") for number in range(20)))

    words = slower(before, of(*(layer(1.2 + number / 100, f"l{number}") for number in range(20))))

    assert "slowed: 20 layers, most of all l19: 1 -> 1.39 ms; l18: 1 -> 1.38 ms; l17: 1 -> 1.37 ms" in words


def test_where_no_layer_slowed_the_headline_says_that_the_time_went_elsewhere():
    assert "the time went elsewhere" in slower(of(layer(1.0, "a")), of(layer(1.0, "a")))


def test_a_layer_that_was_too_fast_to_be_listed_counts_from_the_fastest_that_was():
    before = of(layer(1.0, "a"), layer(0.4, "b"), others=3, others_ms=0.5)

    words = slower(before, of(layer(1.0, "a"), layer(0.7, "b"), layer(1.0, "c")))

    assert words.index("c: 1 ms, not among the 2 slowest then") < words.index("b: 0.4 -> 0.7 ms")


@pytest.mark.parametrize("before", [Profile(untold="none"), of(layer(0.1, "a"), clock="gpu")])
def test_profiles_of_nothing_or_of_other_clocks_are_not_compared(before):
    assert slower(before, of(layer(1.0, "a"))) == ""


def test_only_a_regressed_case_names_layers():
    before, now = of(layer(0.1, "a")), of(layer(1.0, "a"))

    assert naming_layers(Verdict("passed", "fine"), before, now).headline == "fine"
    assert naming_layers(Verdict("regressed", "slow"), before, now).headline.startswith("slow; layers 0.1 -> 1 ms")
    assert naming_layers(Verdict("regressed", "slow"), None, now).headline == "slow"


def test_a_baseline_matches_the_longer_names_of_a_record():
    long = " + ".join(f"node_{i}" for i in range(40))
    nodes = tuple(f"node_{i}" for i in range(40))
    whole = of(layer(0.1, long, *nodes), layer(0.2, long[::-1]))

    found = pairs(shortened(shortened(whole, RECORD), BASELINE), shortened(whole, RECORD))

    assert [(len(pair.now), len(pair.before), pair.fused_otherwise) for pair in found] == [(1, 1, False)] * 2


def test_what_is_not_kept_of_a_profile_is_counted_and_summed_up():
    kept = shortened(of(*(layer(float(ms), f"l{ms}") for ms in range(1, 51))), RECORD)

    assert [one.ms for one in kept.layers] == [float(ms) for ms in range(50, 10, -1)]
    assert (kept.others, kept.others_ms, kept.total_ms) == (10, 55.0, 1275.0)
    assert (shortened(kept, BASELINE).others, shortened(kept, BASELINE).others_ms) == (30, 465.0)


@pytest.mark.parametrize("length", [1, 20, 79, 80, 81, 400])
def test_a_cut_name_keeps_both_ends_and_never_grows(length):
    name = "".join(chr(97 + i % 26) for i in range(length))

    assert len(cut(name, 80)) == min(length, 80)
    assert cut(name, 80)[:39] == name[:39]
    assert cut(name, 80)[-39:] == name[-39:]
    assert cut(cut(name, 160), 80) == cut(name, 80)


def test_losing_the_optimisation_of_a_graph_names_what_was_fused_before(tmp_path):
    onnx.save(models.attention(), tmp_path / "m.onnx")
    before = of(*layers_of(tmp_path / "m.onnx", FEEDS["attention"], 20, graph_optimization="all"))
    now = of(*layers_of(tmp_path / "m.onnx", FEEDS["attention"], 20, graph_optimization="disable"))

    split = {pair.before[0].nodes for pair in pairs(before, now) if len(pair.now) > 1}

    assert ("m1", "m2", "m3", "m4", "m5", "m6") in split  # GELU
    assert ("s0", "s1") in split


def test_profiling_takes_no_more_than_a_fifth_of_a_case_and_one_second():
    assert affordable(spent_s=1.5, load_s=0.01, once_s=1e-4) == MOST
    assert affordable(spent_s=1.5, load_s=0.1, once_s=0.02) == 9
    assert affordable(spent_s=1.5, load_s=0.4, once_s=1e-4) <= 0
    assert affordable(spent_s=600.0, load_s=0.0, once_s=0.1) == 9


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    for name in ("digits_cnn.onnx", "digits.npz"):
        shutil.copy(DIGITS / name, tmp_path)
    return tmp_path


def accept(folder: Path, name: str) -> None:
    """Without the artefacts, so that nothing is timed against itself."""
    main(["accept", str(folder / name), "--reason", "test", *AT, "--artefacts", str(folder / "none")])


def run(folder: Path, name: str, profile: str = "always", *more: str):
    (folder / "real.yaml").write_text(SUITE.format(profile=profile, level="all"))
    harness(folder, "run", folder / "real.yaml", "-o", folder / name, *AT, *more)
    return {record.case.precision: record for record in read_run(folder / name).records}


def test_every_case_is_profiled_in_a_stage_of_its_own(folder):
    records = run(folder, "out")

    for record in records.values():
        assert record.stages["profile_s"] > 0
        assert record.profile.untold is None
        assert record.profile.iterations == MOST
        assert any("node_Conv_12" in one.nodes for one in record.profile.layers)


def test_a_suite_can_do_without_profiles(folder):
    records = run(folder, "out", "never", "-k", "fp32")

    assert records["fp32"].profile is None
    assert "profile_s" not in records["fp32"].stages


def test_a_profile_that_fails_says_why_and_the_case_stays_as_it_is(folder, monkeypatch):
    (folder / "sitecustomize.py").write_text(
        "import harness.backends.onnxruntime_trace as t\n"
        "def profiled(*_): raise ValueError('the trace is torn')\n"
        "t.profiled = profiled\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))

    record = run(folder, "out", "always", "-k", "fp32")["fp32"]

    assert record.status == "new"
    assert record.profile.untold == "the trace is torn"


@pytest.mark.alone
def test_a_case_that_lost_its_optimisation_names_what_was_fused_and_so_does_judging_again(folder):
    run(folder, "first", "always", "-k", "fp32")
    accept(folder, "first")
    (folder / "real.yaml").write_text(SUITE.format(profile="always", level="disable"))

    elsewhere = ("--artefacts", str(folder / "elsewhere"))
    main(["run", str(folder / "real.yaml"), "-k", "fp32", "-o", str(folder / "second"), *AT, *elsewhere])
    record = read_run(folder / "second").records[0]

    assert record.status == "regressed"
    assert "slowed: " in record.headline
    assert "(was fused: node_Conv_12 + node_relu_1)" in record.headline
    drawn = details((folder / "second/report.html").read_text())
    layers = [case.get("layers", {}) for chunk in drawn for case in chunk]
    assert "node_Conv_12 + node_relu_1" in [row[5] for found in layers for row in found.get("rows", [])]
    harness(folder, "judge", folder / "second", *AT, "-o", folder / "again")
    assert "(was fused: node_Conv_12 + node_relu_1)" in read_run(folder / "again").records[0].headline


def test_a_baseline_holds_its_slowest_layers_and_gives_them_back(folder):
    records = run(folder, "out")
    accept(folder, "out")
    path = next((folder / "baselines").rglob("real.json"))

    entries = baselines.read(folder / "baselines", path.parent.name, "real")

    for record in records.values():
        kept = entries[record.case.id].profile
        assert [one.name for one in kept.layers] == [one.name for one in record.profile.layers[: BASELINE.layers]]
        assert all(len(one.nodes) <= BASELINE.nodes for one in kept.layers)


def test_a_backend_without_layers_says_so(tmp_path):
    suite = fake_suite(tmp_path)
    harness(tmp_path, "run", suite, "-o", tmp_path / "out")

    assert {"computes nothing" in record.profile.untold for record in read_run(tmp_path / "out").records} == {True}


def test_a_report_shows_the_layers_beside_those_of_the_baseline_and_why_there_are_none():
    now = of(layer(0.31, "B", "conv2", "relu2"), layer(0.1, "C", "conv1"))
    before = of(layer(0.125, "A", "conv2", "relu2", "add1"))

    page = html(made_run(made_record(profile=now, baseline_profile=before)))
    bare = html(made_run(made_record(profile=Profile(untold="no <kernels>"))))

    slowest, other = details(page)[0][0]["layers"]["rows"]
    assert (slowest[0], slowest[3:]) == ("conv2 + relu2", [0.31, 0.125, "conv2 + relu2 + add1"])
    assert (other[0], other[4]) == ("conv1", None)
    assert details(bare)[0][0]["layers"] == {"untold": "no <kernels>"}
