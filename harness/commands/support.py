"""`harness doctor --model`: which of the runtimes that are here take a model, in which precisions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.backends import BACKENDS, OF_MODULES, RUNTIMES, SCRIPTED, TWIN_BACKEND
from harness.commands.places import cache_folder, check_model, pythons
from harness.commands.support_text import told, told_model
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.inputs import proposals
from harness.inputs.outline import Outline
from harness.records import (
    GATE_ERROR_KINDS,
    PRECISIONS,
    Case,
    Failure,
    FidelityPlan,
    Interpreter,
    LatencyPlan,
    Location,
    Plan,
    Reference,
    Source,
)
from harness.records.support import Answer, Estimate, Facts, Fit, Made, Parsed
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.settings import Settings
from harness.runner.start import OWN
from harness.runner.supply import Refused

EXIT_NONE, EXIT_LOST = 1, 3
QUICK: Mapping[str, Mapping[str, int]] = {
    name: {"optimization_level": 0} for name in ("tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt")
}
"""Options with which an engine is built soon: whether it can be built is asked, not how fast it is."""

OF_FILES = tuple(name for name in BACKENDS if name not in SCRIPTED | OF_MODULES)


@dataclass(frozen=True)
class Question:
    """A model, and how it is fed."""

    model: Path
    outline: Outline
    shape: Mapping[str, int] = field(default_factory=dict)

    def plan(self, backend: str, precision: str, interpreter: Interpreter = OWN) -> Plan:
        """What is asked of one runtime; nothing is compared or timed."""
        name = f"doctor/{self.model.stem}/{backend}/{precision}/static"
        place = Location(str(self.model), 1)
        made = Case(name, "doctor", self.model.stem, backend, precision, "static", (), place, interpreter.name)
        return Plan(
            case=made,
            source=Source("file", str(self.model)),
            dimensions=self.shape,
            shapes=(self.shape,),
            profile=None,
            files={},
            inputs={name: one.spec for name, one in proposals.inputs(self.outline).items()},
            calibration=None,
            reference=Reference(),
            limits={},
            output_limits={},
            task=None,
            latency=LatencyPlan(enabled=False),
            options=QUICK.get(backend, {}),
            fidelity=FidelityPlan(enabled=False),
            interpreter=interpreter,
        )

    @property
    def as_it_is(self) -> str:
        """The precision whose file is the model itself."""
        return "as-is" if self.outline.only_as_is else "fp32"


def support(asked: argparse.Namespace) -> int:
    """Ask and tell; 0 where a runtime takes the model, 1 where none does, 3 where none is here or all were lost."""
    model = _file(asked.model)
    for name in asked.precisions:
        if name not in PRECISIONS:
            raise UsageError(f"--precision: unknown precision '{name}'{did_you_mean(name, PRECISIONS)}")
    places = [OWN, *(Interpreter(name, python) for name, python in pythons(asked.environments).items())]
    settings = Settings(cache_folder(asked.artefacts), asked.timeout)
    with Bench(settings) as bench:
        facts, question = _question(bench, model)
        question, ran = _with_shape(bench, question, dict(asked.sizes))
        files = [_made(bench, question, name) for name in _precisions(asked.precisions, question)]
    told_model(asked.model, facts, question.outline, question.shape, files, ran=ran)
    answers = []
    for backend, interpreter in ((name, place) for place in places for name in OF_FILES):
        with Bench(settings) as bench:  # processes of its own: what one runtime does to them is not seen by another
            answers.append(_answer(bench, question, backend, interpreter, files))
        told(answers[-1], facts, files)
    return status(answers)


def _file(model: Path) -> Path:
    check_model(model)
    try:
        str(model.absolute()).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{str(model)!a}: is no UTF-8, which runtimes need of a name: rename it") from None
    return model.absolute()


def _question(bench: Bench, model: Path) -> tuple[Facts, Question]:
    try:
        return bench.facts(model), Question(model, bench.outline(model))
    except WorkerFailed as lost:
        kind = UsageError if lost.failure.kind in GATE_ERROR_KINDS else HarnessError
        raise kind(lost.failure.message) from None


def _with_shape(bench: Bench, question: Question, given: Mapping[str, int]) -> tuple[Question, bool]:
    """With the first proposed sizes that it runs with; whether there are such, or sizes are not what it lacks.

    Those that are given stay; UsageError names one that the model does not have.
    """
    outline = question.outline
    known = proposals.dimensions(outline, proposals.TRIED[0])
    for name in given:
        if name not in known:
            none = "" if known else "; it has no symbolic dimensions"
            raise UsageError(f"--size: the model has no dimension '{name}'{did_you_mean(name, known) or none}")
    proposed = [{**(shapes[0] if shapes else {}), **given} for shapes in proposals.shapes(outline)]
    tried = [replace(question, shape=shape) for number, shape in enumerate(proposed) if shape not in proposed[:number]]
    if not any(one.shape for one in tried):
        return tried[0], True
    for one in tried:
        try:
            bench.support(Fit, one.plan(TWIN_BACKEND, one.as_it_is), "fits")
        except WorkerFailed as lost:
            if lost.failure.kind not in ("build", "input"):
                break
            continue
        return one, True
    return tried[0], _is_refused(bench, tried[0])


def _is_refused(bench: Bench, question: Question) -> bool:
    """Whether the runtime that tries sizes does not take the model with any."""
    try:
        return bool(bench.support(Parsed, question.plan(TWIN_BACKEND, question.as_it_is), "parse").reason)
    except WorkerFailed:
        return True


def _precisions(asked: Sequence[str], question: Question) -> Sequence[str]:
    everything = ["as-is"] if question.outline.only_as_is else ["fp32", "tf32", "fp16", "bf16", "int8"]
    return list(dict.fromkeys(asked)) or everything


def _made(bench: Bench, question: Question, precision: str) -> Made:
    """The file of a precision with what it needs, or why there is none."""
    plan = question.plan(TWIN_BACKEND, precision)
    try:
        file = bench.supply.variant(plan)
        made = Made(precision, file, bench.facts(Path(file.path)))
    except Refused as refusal:
        return Made(precision, failure=Failure("unsupported", "prepare", str(refusal)))
    except WorkerFailed as lost:
        return Made(precision, failure=lost.failure)
    try:
        return replace(made, needs=bench.support(Estimate, replace(plan, variant=file), "estimate"))
    except WorkerFailed as lost:
        return replace(made, failure=lost.failure)


def _answer(bench: Bench, question: Question, backend: str, interpreter: Interpreter, files: Sequence[Made]) -> Answer:
    """What one runtime says; whatever goes wrong is in the answer."""
    plan = question.plan(backend, question.as_it_is, interpreter)
    answer = Answer(plan.case.runs_on, RUNTIMES[backend][0])
    try:
        if reason := bench.why_not(backend, interpreter):
            return replace(answer, absent=reason)
        versions = bench.environment(interpreter.name).versions
        answer = replace(answer, version=versions.get(answer.package, "unknown"))
        answer = replace(answer, parsed=bench.support(Parsed, plan, "parse"))
    except WorkerFailed as lost:
        return replace(answer, lost=lost.failure)
    if answer.parsed is None or answer.parsed.reason:
        return answer
    plans = ((one, question.plan(backend, one.precision, interpreter)) for one in files)
    return replace(answer, fits=tuple(_fits(bench, one, plan) for one, plan in plans))


def _fits(bench: Bench, made: Made, plan: Plan) -> Fit | Failure:
    if made.file is None:
        return made.failure or Failure("harness", "prepare", "no file was made")
    try:
        return bench.support(Fit, replace(plan, variant=made.file), "fits")
    except WorkerFailed as lost:
        return lost.failure


def status(answers: Sequence[Answer]) -> int:
    """The exit status: 0 where one takes the model, 1 where none does, 3 where none said anything of it."""
    if any(isinstance(fit, Fit) for answer in answers for fit in answer.fits):
        return 0
    return EXIT_NONE if any(map(_refuses, answers)) else EXIT_LOST


def _refuses(answer: Answer) -> bool:
    """Whether a runtime said no, which is more than that it is not here or was lost."""
    parsed = answer.parsed is not None and bool(answer.parsed.reason)
    return parsed or any(kind in GATE_ERROR_KINDS for kind in _kinds(answer))


def _kinds(answer: Answer) -> Iterator[str]:
    yield from (answer.lost.kind,) if answer.lost else ()
    yield from (fit.kind for fit in answer.fits if isinstance(fit, Failure))
