"""What is timed again of a PyTorch model is the very export that was judged, whatever was exported of it since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from harness.cache import Cache
from harness.commands import admitted
from harness.records import (
    DEFAULT_ENVIRONMENT,
    Contestant,
    Digests,
    Environment,
    Export,
    Latency,
    LatencyPlan,
    Outcome,
    Quantiles,
    Source,
)
from harness.runner import decided, footing, screen, selftest
from harness.runner.again import Again
from harness.runner.footing import Footing, as_measured, contestant
from harness.runner.hand import Hand
from harness.runner.steps import Steps
from harness.runner.turns import Turns
from harness.sources.exported import KIND, key
from plans import plan

ONCE = Latency(Quantiles(1.0, 1.1, 1.2, 1.0, (0.9, 1.1), 100), None, "host", {})
SOURCE = Source("torch", "torch:nets:net", export=Export({}, (), 17, {}))
PLAN = plan(source=SOURCE, latency=LatencyPlan(min_time_s=0.01, min_count=8, warmup_s=0))
PLAN = replace(PLAN, case=replace(PLAN.case, backend="onnxruntime-cpu"), dimensions={"n": 2})
OUTCOME = Outcome(latency=ONCE, digests=Digests(model="m", variant="v", inputs="i"), attested={"options": {}})


def export(folder: Path, name: str) -> str:
    """Keep a network whose input has that name as the export of the source, the last one; gives its digest."""
    values = [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["n", 4]) for one in (name, "y")]
    graph = helper.make_graph([helper.make_node("Relu", [name], ["y"])], "g", values[:1], values[1:])
    file = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    cache = Cache(folder / "cache")
    digest = cache.keep(KIND, {"made": name}, file, {}).digest
    for source in (SOURCE, replace(SOURCE, made=digest)):
        cache.keep(KIND, key(source), file, {"weights": name}, replace=True)
    return digest


@pytest.fixture
def measured(tmp_path):
    """A worker's parts by their class, and a case that was measured before its model was exported once more."""
    digest = export(tmp_path, "before")
    steps = Steps(tmp_path / "cache", tmp_path, lambda _: None)
    own = replace(PLAN, source=replace(SOURCE, made=digest))
    steps.reference(own, tmp_path / "reference")
    outcome = steps.measure(own, tmp_path / "reference", None, None)
    export(tmp_path, "since")
    return lambda kind: kind(tmp_path / "cache", tmp_path, lambda _: None), outcome, digest


def test_the_digest_of_the_model_is_that_of_its_export(measured):
    _, outcome, digest = measured

    assert outcome.error is None
    assert outcome.digests.model == digest
    assert as_measured(PLAN, outcome.digests).source.made == digest


def test_a_model_that_is_a_file_is_named_as_it_was():
    own = plan()

    assert as_measured(own, OUTCOME.digests) is own


def duelled(part, own, one):
    return part(Turns).duel(own, one, one, "a").launches


def held(part, own, one):
    hand = part(Hand)
    try:
        return hand.hold(own, one)
    finally:
        hand.release()


def windowed(part, own, one):
    return part(Again).window(own, one)


@pytest.mark.parametrize("again", [duelled, held, windowed])
def test_a_worker_times_what_was_judged_and_not_the_last_export_of_its_name(measured, again):
    part, outcome, _ = measured
    one = contestant(outcome.digests, outcome.attested["options"])

    assert again(part, as_measured(PLAN, outcome.digests), one)
    with pytest.raises(RuntimeError, match="since"):  # its input has another name than the one that is fed
        again(part, PLAN, one)


class Asked(Exception):
    """What would be timed."""


def test_cases_that_take_turns_do_so_with_what_was_judged(monkeypatch):
    def fought(matches, *_, **__):
        raise Asked(matches[0].source.made)

    monkeypatch.setattr(decided, "spread_duels", fought)
    judged = SimpleNamespace(match=lambda own, _: own)
    one = decided.Held(PLAN, OUTCOME, Footing(a=Contestant("a", {}), b=Contestant("b", {})))

    with pytest.raises(Asked, match=r"^m$"):
        next(decided.decided([one], judged, None))


def test_so_does_the_other_environment(monkeypatch):
    monkeypatch.setattr(footing.artefacts, "has", lambda *_: True)
    other = replace(PLAN, case=PLAN.case.moved("other"))

    found = footing.across(PLAN, OUTCOME, other, OUTCOME, Path())

    assert found.in_turns
    assert found.other.source.made == "m"


def test_a_case_that_is_measured_once_more_is_what_was_judged():
    def ask(kind, operation, **asked):
        raise Asked(asked["plan"]["source"]["made"])

    with pytest.raises(Asked, match=r"^m$"):
        screen._once_more((PLAN, OUTCOME, None, None), SimpleNamespace(ask=ask))


def test_the_selftest_times_what_it_built(monkeypatch):
    monkeypatch.setattr(selftest.artefacts, "has", lambda *_: True)
    bench = SimpleNamespace(outcome=lambda _: OUTCOME)

    ((one,), left_out) = selftest.build([PLAN], bench, SimpleNamespace(cache=Path()))

    assert left_out == {}
    assert one.plan.source.made == "m"


def test_a_case_is_admitted_by_what_was_judged(monkeypatch):
    here = Environment("host", "cpu", (), {}, "cpu-x1")
    monkeypatch.setattr(admitted, "_here", lambda *_: {DEFAULT_ENVIRONMENT: here})
    monkeypatch.setattr(admitted, "_timed_otherwise", lambda *_: False)
    monkeypatch.setattr(admitted, "plan_digest", lambda _: "p")
    monkeypatch.setattr(admitted.artefacts, "has", lambda *_: True)
    record = SimpleNamespace(case=PLAN.case, environment=DEFAULT_ENVIRONMENT, plan_digest="p", **vars(OUTCOME))

    ((one,), refused) = admitted._candidates({PLAN.case.id: PLAN}, here, [record], SimpleNamespace(cache=Path()))

    assert refused == {}
    assert one.plan.source.made == "m"
