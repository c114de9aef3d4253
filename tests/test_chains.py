"""Rules of variants and their chains: how suites write them, what cases they make, how those are judged."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import plans
from harness import suites
from harness.errors import SuiteError
from harness.judge import judge
from harness.records import Measurement, Outcome, Task
from harness.registry import Registry
from harness.runner.bench import Bench
from harness.runner.settings import Settings
from harness.runner.shared import twin_key
from harness.variants.chains import EXACT, MAKES, NUMBERED, STEPS, chain_of, spelt, step_of
from models import attention

ROOT = Path(__file__).parents[1]
EXAMPLES = [text.replace("-N", "-3") for text in spelt()]


def cases(models: str):
    text = f"suite: s\nmodels:\n  - {{name: m, source: digits_cnn.onnx, {models}}}\n"
    return suites.plans_of(text, ROOT / "suites" / "digits" / "s.yaml", ROOT)


def ids(models: str) -> list[str]:
    return [plan.case.id.split("/")[3] for plan in cases(models)]


# --- how they are written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_step_is_found_by_what_is_written(text):
    assert step_of(text).text == text
    assert callable(STEPS.load(step_of(text).name))


def test_tables_speak_of_steps_that_there_are():
    assert isinstance(STEPS, Registry)
    assert {*NUMBERED, *MAKES} <= {*STEPS}
    assert not EXACT & {*MAKES}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["prune-2:5"], "unknown variant 'prune-2:5', did you mean 'prune-2:4'?"),
        (["int8"], "'int8' alone is a precision: name it in `precisions`"),
        (["int8", "prune-2:4"], "'int8' makes the file that is built: it must be the last of its chain"),
        (["prune-2:4", "prune-2:4"], "does a step twice"),
        ([], "a chain has 1 to 8 steps, not 0"),
    ],
)
def test_a_chain_that_means_nothing_is_refused_in_words(texts, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        chain_of(texts)


def test_a_mistake_in_a_chain_is_told_at_its_place():
    with pytest.raises(SuiteError, match=r"s\.yaml:3:\d+: models\[0\]\.variants\[1\]: unknown variant 'prun'"):
        cases("variants: [prune-2:4, [prun, int8]]")


# --- the cases ----------------------------------------------------------------------------------------------------


def test_cases_without_variants_keep_their_ids():
    assert [plan.case.id for plan in cases("precisions: [fp32, int8], shapes: [{n: 2}]")] == [
        "s/m/onnxruntime-cpu/fp32/n-2",
        "s/m/onnxruntime-cpu/int8/n-2",
    ]


def test_a_chain_is_built_at_every_precision_after_the_plain_model():
    assert ids("variants: [prune-2:4], precisions: [fp32, int8]") == [
        "fp32",
        "int8",
        "fp32+prune-2-4",
        "int8+prune-2-4",
    ]


def test_a_chain_with_a_precision_is_built_at_that_one_alone():
    assert ids("variants: [[prune-2:4, int8]], precisions: [fp32, fp16]") == ["fp32", "fp16", "int8+prune-2-4"]


def test_what_two_chains_make_alike_is_one_case():
    made = ids("variants: [prune-2:4, [prune-2:4, int8]], precisions: [fp32, int8]")
    assert made == ["fp32", "int8", "fp32+prune-2-4", "int8+prune-2-4"]


def test_the_id_holds_only_what_a_file_name_may_hold():
    for text in EXAMPLES:
        made = cases(f"variants: ['{text}']")[-1].case
        assert made.chain == (text,)
        assert not set(made.id) & set(':%*?"<>|\\ ')


def test_no_two_steps_make_one_id():
    made = [replace(plans.CASE, chain=(text,)).built_as for text in EXAMPLES]
    assert len({*made}) == len(made)


def test_an_exclusion_names_a_step_or_the_plain_model():
    left = "exclude: [{variant: prune-2:4, precision: int8, reason: slow}, {variant: none, precision: fp16, reason: x}]"
    found = cases(f"variants: [prune-2:4], precisions: [fp16, int8], {left}")
    assert {plan.case.built_as: plan.excluded for plan in found} == {
        "fp16": "x", "int8": None, "fp16+prune-2-4": None, "int8+prune-2-4": "slow",
    }  # fmt: skip


def test_twins_are_of_the_variants_own_file():
    plain = plans.plan()
    chained = replace(plain, case=replace(plain.case, chain=("prune-2:4",)))
    assert twin_key(plain) != twin_key(chained)


# --- their limits -------------------------------------------------------------------------------------------------


def test_limits_of_a_precision_are_not_those_of_what_changes_the_model():
    found = cases(
        "variants: [prune-2:4], precisions: [fp32], accuracy: {max_abs: 9, fp32: {atol: 1.0e-5}, "
        "variants: {fp32+prune-2-4: {cosine_min: 0.9}}, outputs: {logits: {max_rel: 3, fp32: {max_rel: 1}}}}"
    )
    plain, pruned = (plan.limits for plan in found)
    assert plain == {"max_abs": 9, "atol": 1e-5}
    assert pruned == {"max_abs": 9, "cosine_min": 0.9}
    assert [plan.output_limits["logits"]["max_rel"] for plan in found] == [1, 3]


def test_limits_of_a_variant_that_there_is_not_are_a_mistake():
    with pytest.raises(SuiteError, match=r"no case is built as 'fp32\+prune', did you mean 'fp32\+prune-2-4'"):
        cases("variants: [prune-2:4], accuracy: {variants: {fp32+prune: {cosine_min: 0.9}}}")


def measured(sqnr: float) -> Outcome:
    return Outcome(
        measurements=(
            Measurement("y", "dtype_mismatches", 0.0, {"expected": "float32"}),
            Measurement("y", "sqnr_db", sqnr),
            Measurement("y", "top1", 0.9),
            Measurement("y", "top1_reference", 1.0),
        )
    )


@pytest.mark.parametrize(("sqnr", "status"), [(11.0, "new"), (9.0, "failed")])
def test_what_changes_the_model_is_judged_by_a_coarse_limit(sqnr, status):
    assert judge(plans.plan(changed=True), measured(sqnr), known=False).status == status


@pytest.mark.parametrize(("drop", "status"), [(0.2, "new"), (0.05, "failed")])
def test_what_changes_the_model_is_judged_by_its_task_where_there_is_one(drop, status):
    plan = plans.plan(changed=True, task=Task("top1", "y", "labels.npz", max_drop=drop))
    assert judge(plan, measured(-5.0), known=False).status == status


# --- measured -----------------------------------------------------------------------------------------------------


def outcome(tmp_path, models: str, built: str) -> Outcome:
    """One case alone, measured without time, as `harness run -k` does it."""
    plan = next(one for one in cases(f"{models}, latency: {{enabled: false}}") if one.case.built_as == built)
    with Bench(Settings(tmp_path / "cache", 600)) as bench:
        return bench.outcome(plan)


def test_a_variant_is_compared_with_the_plain_model_also_where_it_runs_alone(tmp_path):
    """And its backend with the variant's own file: what pruning did is no fault of the backend."""
    found = outcome(
        tmp_path, "variants: ['prune-90%'], inputs: {image: {uniform: [0, 1]}}, shapes: [{n: 8}]", "fp32+prune-90"
    )
    values = {one.metric: one.value for one in found.measurements if one.output == "logits"}
    assert values["sqnr_db"] < 10
    assert values["twin_spread"] < 5
    assert found.digests.variant != found.digests.model


def test_what_the_file_weighs_is_measured(tmp_path):
    found = outcome(tmp_path, "variants: [[prune-2:4, weights-int8]], shapes: [{n: 2}]", "as-is+prune-2-4+weights-int8")
    plain = (ROOT / "suites" / "digits" / "digits_cnn.onnx").stat().st_size
    assert found.measures["model_bytes"] < plain / 3
    assert found.measures["model_compressed_bytes"] < found.measures["model_bytes"]
    assert 0.45 < found.measures["weights_zero_share"] < 0.55


def test_a_variant_without_a_use_is_skipped_with_its_reason(tmp_path):
    found = outcome(tmp_path, "variants: [fold-bn]", "fp32+fold-bn")
    assert found.skipped == "cannot make the fold-bn variant: the model has no BatchNormalization"


def test_a_models_own_stored_weights_are_multiplied_as_onnx_runtime_does_by_itself(tmp_path):
    onnx.save(attention(128), tmp_path / "m.onnx")
    text = "{name: m, source: m.onnx, precisions: [as-is], variants: [weights-int4]}"
    plain, ours = suites.plans_of(f"suite: s\nmodels:\n  - {text}", tmp_path / "s.yaml", tmp_path)
    assert "weight_only_products" not in plain.options
    assert ours.options == {"weight_only_products": "float"}


@pytest.mark.parametrize(("options", "computes"), [("", True), (", weight_only_products: int8", False)])
def test_products_with_stored_weights_are_in_float_unless_the_suite_lets_them_round(tmp_path, options, computes):
    """By itself ONNX Runtime rounds the activations to int8 there, which is not what the file says."""
    onnx.save(attention(128), tmp_path / "m.onnx")
    text = f"""
suite: s
models:
  - {{name: m, source: m.onnx, shapes: [{{n: 4, seq: 16}}], variants: [weights-int4], latency: {{enabled: false}},
     options: {{onnxruntime-cpu: {{threads: 1{options}}}}}}}
"""
    plan = suites.plans_of(text, tmp_path / "s.yaml", tmp_path)[-1]
    with Bench(Settings(tmp_path / "cache", 600)) as bench:
        verdict = judge(plan, bench.outcome(plan), known=False)
    assert all(check.ok for check in verdict.checks if check.question == "fidelity") is computes
