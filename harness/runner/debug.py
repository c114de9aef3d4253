"""`harness debug`, the parent's part: where a failing case went wrong, which nodes mend it, and the proof of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.codec import decode, encode
from harness.errors import UsageError
from harness.judge import first_line, judge
from harness.records import Outcome
from harness.runner.findings import SCHEMA, Distance, Findings, Mend, Node, Part, Survey
from harness.runner.inquiry import Inquiry, failing
from harness.runner.minimise import minimise
from harness.runner.narrow import MARKS, Narrowing, Question, locate, rank, touching
from harness.runner.question import IS_RIGHT, WITHIN, asked, farthest, settled

UNMENDED: Mapping[str, str] = {
    "fp32": "it is computed in fp32 already",
    "tf32": "TF32 is a setting of the whole build",
}


def investigate(inquiry: Inquiry) -> Findings | None:
    """Everything about a failing case but its slice; None when it passes."""
    plan = inquiry.plan
    outcome = inquiry.bench.outcome(plan)
    if outcome.error is not None or outcome.skipped is not None:
        raise UsageError(f"{plan.case.id}: {_unmeasured(outcome)}; there are no outputs to look into")
    failed = failing(plan, outcome)
    if not failed:
        verdict = judge(plan, outcome, known=False)
        if verdict.status == "failed":
            raise UsageError(f"{plan.case.id}: fails, but not by a tensor that is off: {verdict.headline}")
        return None
    survey = inquiry.survey()
    question, notes = asked(plan, survey, failed)
    about = Findings(
        schema=SCHEMA,
        case=plan.case.id,
        backend=plan.case.backend,
        precision=plan.case.precision,
        headline=f"{failed[0].name}: {failed[0].reason}",
        cause="unknown",
        verdict="",
        yardstick=question.yardstick,
        notes=notes,
        settings={
            "environment": encode(inquiry.bench.environment()),
            "options": dict(plan.options),
            "digests": encode(outcome.digests),
            "attested": dict(outcome.attested),
        },
    )
    plainly = failing(plan, decode(Outcome, survey.plain))
    if plainly and not any(check.metric.startswith("twin") for check in failed):
        why = f"{plainly[0].name}: {plainly[0].reason}"
        model = "the file as it is" if plan.case.precision == "as-is" else "the model in fp32"
        words = f"no matter of precision or backend: {model}, node by node on the CPU, fails as well ({why})"
        told = f"{words}: look at the reference, the inputs and the weights"
        return replace(about, cause="reference", verdict=told, builds=inquiry.used)
    return _narrowed(inquiry, survey, question, about)


def _unmeasured(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.error.kind} in {outcome.error.stage}: {first_line(outcome.error.message)}"
    return f"skipped: {first_line(outcome.skipped or '')}"


def _narrowed(inquiry: Inquiry, survey: Survey, question: Question, about: Findings) -> Findings:
    half = max(2, inquiry.builds // 2)
    look = inquiry.look(half)
    finals = dict(survey.finals)
    if question.stands_for is not None:
        probe = look(survey.above[question.stands_for][:MARKS])
        finals |= probe.distances if probe else {}
        question = farthest(question, survey, finals)
        if question.far(finals.get(question.output)) <= WITHIN[question.yardstick]:
            why = probe.refused if probe is not None else "no build was left"
            return replace(about, verdict=_unparted(question, survey, why), builds=inquiry.used)
    question = settled(question, inquiry.plan.case.precision, finals)
    state = Narrowing(question, {spot.tensor: spot for spot in survey.spots}, look)
    state.distances |= finals
    locate(state)
    rank(state, lambda: inquiry.allowed(half))
    ranking = state.ranking()
    first = state.spots[state.first]
    mend = _mend(inquiry, survey, state)
    cause, verdict = _verdict(inquiry, survey, state, mend)
    return replace(
        about,
        cause=cause,
        verdict=verdict,
        first=state.first,
        first_node=first.node,
        tensors={name: state.distances[name] for name in state.spots if name in state.distances},
        ranking=tuple(ranking),
        mend=mend,
        notes=(*about.notes, *_limits_of(survey), *state.notes),
        builds=inquiry.used,
    )


def _unparted(question: Question, survey: Survey, refused: str | None) -> str:
    """Why nothing is searched for an output without floats."""
    names = ", ".join(f"'{name}'" for name in survey.above[question.stands_for or ""][:MARKS])
    if refused is not None:
        return f"'{question.stands_for}' fails, and {names}, of which it is computed, cannot be looked at: {refused}"
    return (
        f"'{question.stands_for}' fails though {names}, of which it is computed, {IS_RIGHT[question.yardstick]}: "
        "either it chooses between values so near each other that rounding decides, or what stands between is wrong"
    )


def _limits_of(survey: Survey) -> list[str]:
    """What could not be compared."""
    twin = [f"there is no precision twin: {survey.untwinned}"] if survey.untwinned else []
    words = "the file names its tensors otherwise than the model: only its outputs are compared with fp32"
    return twin + ([words] if survey.strange else [])


def _verdict(inquiry: Inquiry, survey: Survey, state: Narrowing, mend: Mend) -> tuple[str, str]:
    plan, node = inquiry.plan, state.spots[state.first].node
    where = f"first at '{state.first}' ({node.op} {node.name})"
    if state.question.yardstick == "twin":
        words = f"{plan.case.backend} does not compute what the {plan.case.precision} file says, {where}"
        return "backend", words + _also_the_file(state.distances.get(state.question.output))
    if survey.own_file and mend.nodes is None:
        return "file", f"the suite's own {plan.case.precision} file is not the model, {where}"
    return "precision", (
        f"{plan.case.backend} computes what the {plan.case.precision} file says, and that is not the model, {where}"
    )


def _also_the_file(distance: Distance | None) -> str:
    """Says so where the file alone is about as far from the fp32 model as the candidate."""
    if distance is None or distance.file is None or distance.relative is None or distance.file < distance.relative / 2:
        return ""
    return f"; the file alone is {distance.file:.3g} off the fp32 model, the candidate {distance.relative:.3g}"


def _mend(inquiry: Inquiry, survey: Survey, state: Narrowing) -> Mend:
    """The smallest set of nodes found that mends the case in fp32."""
    precision, keepable = inquiry.plan.case.precision, {node.tensor: node for node in survey.keepable}
    if not keepable:
        return Mend(
            None, False, UNMENDED.get(precision, "the file has no node in a lower precision that can be raised")
        )
    if survey.own_file and precision in ("fp16", "bf16") and inquiry.test(()):
        words = f"the {precision} file that the harness converts from the model passes: the fault is in the suite's own"
        return Mend(None, False, f"{words} file, not in the precision", tuple(inquiry.trials))
    everything = inquiry.test(tuple(keepable), "fp32")
    if not everything:
        why = inquiry.trials[-1].words if everything is False else "no build was left"
        words = "with every node in fp32 the case fails as well: no matter of precision" if why else ""
        told = words if everything is False else "not searched"
        return Mend(None, False, f"{told} ({why})", tuple(inquiry.trials))
    ranked, likely = suspects(survey, state.ranking())
    small = minimise(ranked, likely, inquiry.test)
    early = "" if small.minimal else f", the search stopped after {inquiry.used} builds: the set is sufficient only"
    words = f"{len(small.members)} of {len(keepable)} nodes{early}"
    return Mend(tuple(keepable[name] for name in small.members), small.minimal, words, tuple(inquiry.trials))


def suspects(survey: Survey, ranking: Sequence[Part]) -> tuple[list[str], int]:
    """The nodes that can be kept in fp32, most suspect first, and how many to begin with.

    Those that make or read what fp16 cannot hold come first, in the order of the graph; then those that add most.
    """
    keepable = [node.tensor for node in survey.keepable]
    beyond = {spot.tensor for spot in survey.spots if spot.beyond}
    likely = [name for name in dict.fromkeys(touching(survey.spots, beyond)) if name in keepable]
    rest = [node.tensor for part in ranking for node in _likely_first(part)]
    order = dict.fromkeys([*likely, *(name for name in rest if name in keepable), *keepable])
    return list(order), max(1, len(likely))


def _likely_first(part: Part) -> Sequence[Node]:
    return part.nodes[::-1]  # the part's tensor is made by the last of them
