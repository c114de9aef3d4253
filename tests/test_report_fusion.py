"""The page of a case says which nodes became which layer, and adds up their times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import latency, record, run
from harness.records import Fused, Fusion, LayerTime, Profile, Unnamed
from harness.report import html
from harness.report import payload as packed
from harness.report.fusion import fusion, precision
from pages import details

LAYERS = (
    Fused("conv + relu", "CaskConvolution", "fp16", "fp16", "h16816", ("conv", "relu"), ms=0.75),
    Fused("{ForeignNode[a...b]}", "Myelin", "fp32", "unknown", nodes=("a",), opaque=True, ms=0.2),
    Fused("Reformatting CopyNode", "Reformat", "fp32", "unknown", ms=None),
)
TOLD = Fusion(LAYERS, 9, (Unnamed("constant", 1, ("w",)), Unnamed("region", 5, ("b", "c"))), 2, 0.05)
TIMES = Profile((LayerTime("conv + relu", "CaskConvolution", 0.75, 0.75),), 1.0, 20, "gpu")


def test_every_layer_has_a_row_with_nodes_precision_kernel_and_time() -> None:
    found = details(html(run(record(fusion=TOLD, profile=TIMES))))[0][0]["fusion"]

    assert found["rows"] == [
        [["conv", "relu"], 0, "conv + relu", "CaskConvolution", "fp16", "h16816", False, 0.75],
        [["a"], 0, "{ForeignNode[a...b]}", "Myelin", "fp32", "", True, 0.2],
        [[], 0, "Reformatting CopyNode", "Reformat", "fp32", "", False, None],
    ]
    assert (found["nodes"], found["others"]) == (9, [2, 0.05])
    assert found["unnamed"] == [["constant", 1, ["w"]], ["region", 5, ["b", "c"]]]


def test_the_sum_of_the_layers_stands_beside_the_latency_on_the_same_clock() -> None:
    one = record(fusion=TOLD, profile=TIMES)

    times = fusion(one)["times"]

    assert (times["total_ms"], times["clock"], times["iterations"]) == (1.0, "gpu", 20)
    assert times["p50_ms"] == pytest.approx(one.latency.gpu.p50_ms)
    assert fusion(record(fusion=TOLD, profile=TIMES, latency=replace(latency(), gpu=None)))["times"]["p50_ms"] is None


def test_times_are_added_up_by_precision() -> None:
    assert fusion(record(fusion=TOLD, profile=TIMES))["times"]["by"] == [["fp16", 0.75], ["fp32", 0.2]]


def test_layers_that_were_not_timed_have_no_times() -> None:
    untimed = replace(TOLD, layers=tuple(replace(layer, ms=None) for layer in LAYERS), others_ms=None)

    assert fusion(record(fusion=untimed))["times"] is None


def test_a_record_of_an_older_version_has_no_fusion() -> None:
    assert "fusion" not in details(html(run(record())))[0][0]


def test_in_a_large_run_what_passed_travels_without_it(monkeypatch) -> None:
    monkeypatch.setattr(packed, "LARGE", 1)
    failed, passed = record("s/a/tensorrt/fp16/n-1", "failed", fusion=TOLD), record(fusion=TOLD)

    assert ["fusion" in one for one in details(html(run(failed, passed)))[0]] == [True, False]


@pytest.mark.parametrize(
    ("storage", "compute", "words"),
    [
        ("fp16", "fp16", "fp16"),
        ("fp32", "tf32", "fp32 / tf32"),
        ("int8", "unknown", "int8"),
        ("unknown", "fp16", "unknown / fp16"),
        ("unknown", "unknown", ""),
    ],
)
def test_what_is_not_told_of_a_precision_is_not_written(storage, compute, words) -> None:
    assert precision(Fused("a", "b", storage, compute)) == words
