"""What the runtimes say of a model, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.backends.documented import NOT_KNOWN, with_support
from harness.backends.layers import UNKNOWN
from harness.commands.results import tell
from harness.foreign import plain
from harness.inputs.outline import Outline
from harness.records import Failure
from harness.records.support import Answer, Facts, Fit, Made, Parsed

LONGEST = 600
MOST_NODES = 20
_PLACE = re.compile(r"\s*/\S+\.(?:h|cc):\d+ .*?\)\s(?=[A-Z])")


def told_model(
    path: Path, facts: Facts, outline: Outline, shape: Mapping[str, int], files: Sequence[Made], *, ran: bool
) -> None:
    """Print the model, and what it needs by its graph at each precision."""
    others = "".join(f", {plain(domain, LONGEST)} {version}" for domain, version in sorted(facts.domains.items()))
    tell(f"model    {plain(str(path))}: opset {facts.opset}{others}, IR version {facts.ir}, {facts.nodes} nodes")
    if outline.only_as_is:
        tell(f"         {_words(outline.only_as_is)}: no other precisions are made of it")
    sizes = ", ".join(f"{name}={size}" for name, size in shape.items())
    guessed = "" if ran else "; ONNX Runtime ran it with no sizes that were tried: --size NAME=N says better ones"
    if sizes:
        tell(f"sizes    {sizes}{guessed}")
    tell("memory by the graph (an estimate: weights + tensors alive at one time; no scratch memory)")
    for one in files:
        tell(f"  {one.precision:6s} {_estimate(one)}")


def _estimate(one: Made) -> str:
    if one.needs is None:
        why = _words(one.failure.message) if one.failure else ""
        return f"not known: {why}" if one.file else f"no file: {why}"
    needs = one.needs
    least = "at least " if needs.unknown else ""
    untold = f"; the graph does not tell the size of {needs.unknown} tensors" if needs.unknown else ""
    total = needs.weights_mib + needs.activations_mib
    parts = f"weights {needs.weights_mib:.2f}, activations {needs.activations_mib:.2f}"
    return f"{least}{total:.2f} MiB: {parts}{untold}"


def told(answer: Answer, facts: Facts, files: Sequence[Made]) -> None:
    """Print what one runtime says; `facts` are the model's."""
    if answer.absent:
        tell(f"\n{answer.runs_on}: absent: {_words(answer.absent)}")
        return
    tell(f"\n{answer.runs_on} {answer.version}".rstrip())
    if answer.lost is not None:
        tell(f"  {_failed(answer.lost)}")
    if answer.parsed is not None:
        for line in (*_parsed(answer.parsed), *_fits(answer, files)):
            tell(f"  {line}")
    if not any(isinstance(fit, Fit) for fit in answer.fits):
        tell(f"  version  {with_support(answer.package, answer.version, facts.opset, facts.ir)}")


def _parsed(parsed: Parsed) -> Iterator[str]:
    yield f"parses   no: {_words(parsed.reason)}" if parsed.reason else "parses   yes"
    for node in parsed.refused[:MOST_NODES]:
        yield f"node     {plain(node.name, LONGEST)} ({plain(node.operator, LONGEST)}): {_words(node.reason)}"
    if len(parsed.refused) > MOST_NODES:
        yield f"node     and {len(parsed.refused) - MOST_NODES} more"
    yield from (f"note     {_words(note)}" for note in parsed.notes)


def _fits(answer: Answer, files: Sequence[Made]) -> Iterator[str]:
    for reason in dict.fromkeys(fit.only_built for fit in answer.fits if isinstance(fit, Fit) and fit.only_built):
        yield f"runs     not here: {_words(reason)}"
    for made, fit in zip(files, answer.fits, strict=False):
        if isinstance(fit, Fit):
            yield f"{made.precision:8s} {_taken(fit, made.precision)}"
        else:
            yield f"{made.precision:8s} {_failed(fit)}"
            yield from _later(answer, made)


def _later(answer: Answer, made: Made) -> Iterator[str]:
    """The version that is documented to take a file which this one refused; nothing where none is."""
    if made.facts is not None:
        found = with_support(answer.package, answer.version, made.facts.opset, made.facts.ir)
        if not found.startswith(NOT_KNOWN):
            yield f"         its file: {found}"


def _taken(fit: Fit, precision: str) -> str:
    others = set(fit.computes) - {precision, UNKNOWN} if precision != "as-is" else set()
    computes = [f"computes in {', '.join(fit.computes)}"] if others else []
    return "; ".join(["builds" if fit.only_built else "runs", *computes, *_measured(fit.measures)])


def _measured(measures: Mapping[str, float | None]) -> Iterator[str]:
    engine = measures.get("engine_bytes")
    if engine is not None:
        yield f"engine {engine / 2**20:.2f} MiB"
    for key, name in (("host_mib", "host"), ("device_mib", "device")):
        size = measures.get(key)
        if size is not None:
            yield f"{name} memory {size:.1f} MiB (measured)"


def _failed(failure: Failure) -> str:
    kinds = {"unsupported": "no", "build": "no", "input": "no"}
    return f"{kinds.get(failure.kind, failure.kind)}: {_words(failure.message)}"


def _words(text: str) -> str:
    """What a runtime says, without the place in its sources."""
    return plain(_PLACE.sub(" ", " ".join(text.split())), LONGEST)
