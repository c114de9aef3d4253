"""Attestation: what the judge makes of the settings and layers in a record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from harness import suites
from harness.codec import decode, encode
from harness.judge import judge
from harness.judge.attestation import GPU_BACKENDS, judge_attestation
from harness.metrics.compare import compare
from harness.records import AttestationPlan, Outcome
from harness.runner.digests import plan_digest
from models import conv_net
from plans import plan

WEAK = {"typing": "weak", "tf32": False}
CUDA = {"tf32": False}
OUTPUT = np.linspace(-1, 1, 40).reshape(4, 10)


def group(kind: str, storage: str, compute: str, count: int = 1) -> dict:
    return {"kind": kind, "storage": storage, "compute": compute, "count": count}


def verdict(precision, told, *groups, backend="tensorrt", **attestation):
    """All checks of a case that ran these layers, and the reasons of those that failed."""
    asked = plan(precision, attestation=AttestationPlan(**attestation))
    asked = replace(asked, case=replace(asked.case, backend=backend))
    if groups:
        told = {**told, "layers": list(groups), "rows": []}
    checks = judge_attestation(asked, Outcome(attested=told))
    assert {check.question for check in checks} <= {"attestation"}
    return checks, [check.reason for check in checks if not check.ok]


@pytest.mark.parametrize(
    ("precision", "told", "groups"),
    [
        ("fp32", WEAK | {"allowed": []}, [group("conv", "fp32", "fp32", 5)]),
        ("fp32", WEAK | {"allowed": []}, [group("conv", "fp32", "unknown", 5)]),
        ("tf32", {"typing": "weak", "tf32": True, "allowed": []}, [group("conv", "fp32", "tf32", 2)]),
        ("tf32", {"typing": "weak", "tf32": True, "allowed": []}, [group("conv", "fp32", "fp32", 2)]),
        ("tf32", {"typing": "weak", "tf32": True, "allowed": []}, [group("conv", "fp32", "unknown", 2)]),
        ("fp16", WEAK | {"allowed": ["fp16"]}, [group("conv", "fp16", "fp16"), group("matmul", "fp32", "fp32", 9)]),
        ("fp16", WEAK | {"allowed": ["fp16"]}, [group("conv", "fp16", "unknown")]),
        ("fp16", WEAK | {"allowed": ["fp16"]}, [group("fused", "fp16", "unknown")]),
        ("int8", WEAK | {"allowed": ["int8"]}, [group("conv", "int8", "int8"), group("fused", "unknown", "unknown")]),
    ],
)
def test_healthy_engines_pass(precision, told, groups):
    assert verdict(precision, told, *groups)[1] == []


@pytest.mark.parametrize(
    ("precision", "told", "groups", "words"),
    [
        ("fp32", WEAK | {"allowed": []}, [group("conv", "fp32", "fp32", 4), group("conv", "fp32", "tf32")], "1 of 5"),
        ("fp32", WEAK | {"allowed": []}, [group("matmul", "fp16", "unknown", 3)], "3 in fp16"),
        ("fp32", {"typing": "weak", "tf32": True, "allowed": []}, [group("conv", "fp32", "unknown")], "TF32 is on"),
        ("fp32", WEAK | {"allowed": ["fp16"]}, [group("conv", "fp32", "fp32")], "was allowed fp16"),
        ("tf32", WEAK | {"allowed": []}, [group("conv", "fp32", "fp32")], "TF32 is off"),
        ("tf32", {"typing": "weak", "tf32": True, "allowed": []}, [group("conv", "fp16", "fp16")], "1 in fp16"),
        ("fp16", WEAK | {"allowed": ["fp16"]}, [group("conv", "fp32", "fp32", 3)], "none of 3"),
        ("fp16", WEAK | {"allowed": ["fp16"]}, [group("conv", "fp32", "unknown", 3)], "3 in fp32"),
        ("fp16", WEAK | {"allowed": []}, [group("conv", "fp16", "fp16", 3)], "its flag is off"),
        ("int8", WEAK | {"allowed": ["int8"]}, [group("conv", "fp16", "fp16", 3)], "none of 3"),
        ("fp8", {"typing": "strong", "tf32": False}, [group("matmul", "bf16", "bf16", 3)], "none of 3"),
    ],
)
def test_what_ran_otherwise_fails_and_says_in_what(precision, told, groups, words):
    reasons = verdict(precision, told, *groups)[1]

    assert reasons
    assert words in " ".join(reasons)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
@pytest.mark.parametrize(
    ("told", "groups"),
    [
        ({"typing": "weak"}, [group("fused", "unknown", "unknown")]),
        ({"typing": "weak"}, [group("fused", "fp32", "unknown")]),
        ({"typing": "weak", "untold": "the engine inspector cannot be read"}, []),
        ({}, []),
    ],
)
def test_a_precision_of_which_nothing_is_seen_fails_and_says_what_to_do(precision, told, groups):
    assert "attestation: {unknown: pass}" in verdict(precision, told, *groups)[1][0]
    assert verdict(precision, told, *groups, unknown="pass")[1] == []


@pytest.mark.parametrize(
    ("precision", "told", "backend", "words"),
    [
        ("fp16", {"typing": "weak", "allowed": ["fp16"]}, "tensorrt", "{precision_constraints: obey}}"),
        ("fp16", {"typing": "weak", "allowed": ["fp16"], "precision_constraints": "prefer"}, "tensorrt", "obey}}"),
        ("fp16", {"typing": "weak", "allowed": ["fp16"], "precision_constraints": "obey"}, "tensorrt", None),
        ("fp16", {"typing": "strong", "allowed": []}, "tensorrt", None),
        ("int8", {"typing": "weak", "allowed": ["int8"]}, "tensorrt", None),
        ("fp16", {}, "onnxruntime-cuda", None),
    ],
)
def test_a_runtime_that_took_another_precision_fails_with_the_ways_out(precision, told, backend, words):
    reason = verdict(precision, told, group("conv", "fp32", "fp32", 5), backend=backend)[1][-1]

    assert "`attestation: {min_share: 0}`" in reason
    assert words in reason if words else "precision_constraints" not in reason


@pytest.mark.parametrize("groups", [[group("conv", "fp32", "fp32", 5)], [group("fused", "fp32", "unknown")]])
def test_a_share_of_0_lets_a_runtime_choose_but_not_switch_the_precision_off(groups):
    allowed = WEAK | {"allowed": ["fp16"]}

    assert verdict("fp16", allowed, *groups, min_share=0.0)[1] == []
    assert verdict("fp16", WEAK | {"allowed": []}, *groups, min_share=0.0)[1] != []


def test_unknown_that_passes_excuses_no_layer_that_tells():
    groups = [group("conv", "fp32", "fp32", 20), group("fused", "fp16", "unknown")]

    assert "none of 21" in verdict("fp16", CUDA, *groups, unknown="pass")[1][0]


def test_an_opaque_region_is_no_evidence_beside_layers_that_tell():
    assert verdict("fp16", CUDA, group("conv", "fp32", "fp32", 20), group("fused", "fp16", "unknown"))[1] != []


def test_a_strongly_typed_network_speaks_for_an_engine_that_does_not():
    told = {"typing": "strong", "tf32": False, "network": [group("matmul", "fp16", "unknown", 8)]}
    hidden = group("fused", "unknown", "unknown", 2)

    assert verdict("fp16", told, hidden)[1] == []
    assert "8 in fp16" in verdict("int8", told, hidden)[1][0]


@pytest.mark.parametrize(("tf32", "words"), [(False, "1 in fp32"), (True, "1 in unknown")])
def test_a_network_of_fp32_may_run_in_tf32_where_that_is_allowed(tf32, words):
    told = {"typing": "strong", "tf32": tf32, "allowed": [], "network": [group("conv", "fp32", "unknown")]}

    checks, reasons = verdict("fp32", told, group("fused", "unknown", "unknown"))

    assert words in checks[-1].reason
    assert bool(reasons) is tf32


def test_a_weakly_typed_network_would_prove_nothing():
    told = WEAK | {"allowed": ["fp16"]}

    assert verdict("fp16", told, group("fused", "unknown", "unknown"))[1] != []


@pytest.mark.parametrize(("share", "failed"), [(0.9, False), (0.95, True)])
def test_min_share_is_of_all_layers(share, failed):
    groups = [group("conv", "fp16", "fp16", 9), group("matmul", "fp32", "fp32", 1)]

    checks, reasons = verdict("fp16", WEAK | {"allowed": ["fp16"]}, *groups, min_share=share)

    assert bool(reasons) is failed
    assert (checks[-1].value, checks[-1].limit) == (0.9, share)


def test_min_share_counts_what_is_hidden_unless_the_suite_lets_it_pass():
    groups = [group("conv", "fp16", "fp16", 1), group("fused", "unknown", "unknown", 1)]

    assert verdict("fp16", CUDA, *groups, min_share=0.6)[1] != []
    assert verdict("fp16", CUDA, *groups, min_share=0.6, unknown="pass")[1] == []


def test_pairs_around_products_in_floats_pass_with_words_and_fail_a_share():
    groups = [group("conv", "int8", "fp32", 3), group("matmul", "int8", "fp32", 2)]

    checks, reasons = verdict("int8", CUDA, *groups, backend="onnxruntime-cuda")

    assert reasons == []
    assert "5 have int8 values and multiply them in floats" in checks[-1].reason
    assert verdict("int8", CUDA, *groups, backend="onnxruntime-cuda", min_share=0.1)[1] != []


def test_a_file_that_holds_fp16_runs_unchanged_at_fp32_in_onnxruntime():
    assert verdict("fp32", CUDA, group("conv", "fp16", "fp16", 3), backend="onnxruntime-cuda")[1] == []
    assert verdict("fp32", CUDA, group("conv", "fp32", "fp16", 3), backend="onnxruntime-cuda")[1] != []


def test_the_cpu_tells_what_it_computes_in_and_passes():
    checks, reasons = verdict("fp16", {}, group("conv", "fp16", "fp32", 3), backend="onnxruntime-cpu")

    assert reasons == []
    assert "3 in fp32, from values stored in 3 in fp16" in checks[0].reason


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_a_model_without_products_has_nothing_to_attest(backend):
    assert verdict("fp16", {"layers": [], "rows": []}, backend=backend)[1] == []


@pytest.mark.parametrize(("backend", "precision"), [("fake", "fp16"), ("tensorrt", "as-is")])
def test_nothing_is_asked_where_no_precision_is(backend, precision):
    assert verdict(precision, {}, backend=backend)[0] == []


def test_a_failed_attestation_fails_a_case_that_is_accurate():
    asked = plan("fp16")
    asked = replace(asked, case=replace(asked.case, backend="tensorrt"))
    told = WEAK | {"allowed": ["fp16"], "layers": [group("conv", "fp32", "fp32", 3)]}
    outcome = Outcome(measurements=compare(asked, [{"y": OUTPUT}], [{"y": OUTPUT}]), attested=told)

    made = judge(asked, decode(Outcome, encode(outcome)), known=False)

    assert made.status == "failed"
    assert made.headline.startswith("attestation/layers: fp16 was asked for; none of 3")


def test_a_suite_says_what_must_be_seen_and_a_model_refines_it(tmp_path):
    for name in ("a", "b"):
        onnx.save(conv_net(), tmp_path / f"{name}.onnx")
    (tmp_path / "suite.yaml").write_text(
        "suite: s\ndefaults: {attestation: {min_share: 0}}\nmodels:\n"
        "  - {name: a, source: a.onnx}\n  - {name: b, source: b.onnx, attestation: {unknown: pass}}\n"
    )

    found = {made.case.model: made.attestation for made in suites.load([tmp_path / "suite.yaml"], tmp_path)}

    assert found == {"a": AttestationPlan(0, "fail"), "b": AttestationPlan(0, "pass")}


def test_what_must_be_seen_can_change_without_measuring_again():
    assert plan_digest(plan()) == plan_digest(plan(attestation=AttestationPlan(0.5, "pass")))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"fuzzed": True}, False),
        ({"shapes": ({"n": 4}, {"n": 8})}, False),
        ({"profile": {"n": (1, 4, 8)}}, False),
        ({"shapes": ({"n": 2}, {"n": 4})}, False),
    ],
)
def test_measurements_hold_only_for_the_engine_and_the_batches_they_were_taken_on(changes, same):
    before = plan(dimensions={"n": 4}, shapes=({"n": 4},))

    assert (plan_digest(before) == plan_digest(replace(before, **changes))) == same


def test_shapes_inside_a_profile_of_the_suites_own_leave_its_engine_as_it_is():
    before = plan(dimensions={"n": 4}, shapes=({"n": 4},), profile={"n": (1, 4, 8)})

    assert plan_digest(before) == plan_digest(replace(before, shapes=({"n": 4}, {"n": 8})))


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime-cuda"])
def test_an_fp32_record_without_a_word_about_what_ran_fails(backend):
    assert verdict("fp32", {}, backend=backend)[1]
    assert verdict("fp32", WEAK | {"allowed": []}, backend=backend)[1] == []
