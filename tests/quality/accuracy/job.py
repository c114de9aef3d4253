"""What is judged: a model at a precision with everything that a rule may compare a candidate with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.backends import BACKENDS
from harness.backends.base import BuildSpec
from harness.errors import CaseError
from harness.judge.accuracy import judge_outputs
from harness.judge.fidelity import judge_fidelity
from harness.metrics.compare import compare
from harness.records import Check
from harness.runner import twins
from quality.accuracy.models import Built
from quality.accuracy.paths import CPU, REFERENCE, Outputs, execute, in_double, spec_of
from quality.accuracy.variants import VariantFile, variant

EAGER = {"fp32": "basic", "tf32": "tf32-all", "fp16": "rounded", "bf16": "rounded", "int8": "basic"}
"""The route that computes node by node, as a framework without a compiler does."""


@dataclass(frozen=True)
class Job:
    """A model at a precision, and what is known of its right outputs."""

    built: Built
    precision: str
    variant: VariantFile
    reference: Outputs
    """fp32, as the harness runs it."""
    double: Outputs
    """The fp32 file in double precision."""
    eager: Outputs
    """The same precision, node by node."""
    twin: twins.Twin


def job(built: Built, precision: str, folder: Path) -> Job | None:
    """Everything about a model at a precision; None where the harness refuses to make the variant."""
    made = variant(built, precision, folder)
    if made is None:
        return None
    routes = {route.name: route for route in CPU[precision]}
    return Job(
        built,
        precision,
        made,
        execute(REFERENCE, built.model, "fp32", built.feeds),
        in_double(built.model, built.feeds),
        execute(routes[EAGER[precision]], made.model, precision, built.feeds),
        _twin(made, precision, built),
    )


def _twin(made: VariantFile, precision: str, built: Built) -> twins.Twin:
    spec: BuildSpec = spec_of(REFERENCE, made.path, precision, built.feeds)
    try:
        return twins.evaluate(BACKENDS.load("onnxruntime-cpu")(), spec, [built.feeds], made.plan.fidelity)
    except CaseError as error:
        return twins.Twin(refused=str(error))


def budget(one: Job, outputs: Outputs) -> list[Check]:
    """The harness's checks of structure and default limits against the fp32 reference."""
    plan = one.variant.plan
    conditioning = {name: noise.rms() for name, noise in one.twin.noise.items() if noise.fine}
    return judge_outputs(plan, compare(plan, [one.reference], [outputs], conditioning))


def unfit(one: Job) -> bool:
    """Whether the precision is not good enough for the model: its very twin is beyond the default budget."""
    return one.twin.refused is None and bool(failed(budget(one, dict(one.twin.outputs[0]))))


def fidelity(one: Job, outputs: Outputs) -> list[Check]:
    """The harness's checks of structure, and those against the precision twin; no budget."""
    structure = [check for check in budget(one, outputs) if check.question == "fidelity"]
    return structure + judge_fidelity(one.variant.plan, twins.measure(one.twin, [outputs]))


def ours(one: Job, outputs: Outputs) -> list[str]:
    """Names of all checks of the harness that fail by default."""
    return [check.name for check in failed([*budget(one, outputs), *fidelity(one, outputs)])]


def failed(checks: Sequence[Check]) -> list[Check]:
    """Those that do not hold."""
    return [check for check in checks if not check.ok]
