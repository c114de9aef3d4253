"""On a GPU: what is injected into a TensorRT engine is what a duel finds, and the canary is work on the GPU."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing

import numpy as np
import onnx
import pytest

from harness.backends.base import BuildSpec
from harness.backends.tensorrt import TensorRT
from harness.environment import describe
from harness.records import LatencyPlan
from harness.timing.canary import canary
from harness.timing.duel import DuelSettings, duel
from harness.timing.evidence import watch
from harness.timing.inject import slowed, tail
from harness.timing.loop import measure
from harness.timing.sides import LocalSide
from models import attention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(TensorRT().why_not() is not None, reason=str(TensorRT().why_not()))]

SHAPE = (8, 256, 256)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Two sessions on one engine, each bound to the same feeds."""
    folder = tmp_path_factory.mktemp("engine")
    path = folder / "attention.onnx"
    onnx.save(attention(width=256, heads=8), path)
    profile = {"tokens": (SHAPE, SHAPE, SHAPE)}
    spec = BuildSpec("gpu/inject", path, "fp32", profile, {"tokens": "float32", "out": "float32"}, {})
    backend = TensorRT()
    artefact = backend.build(spec, folder)
    with ExitStack() as held:
        sessions = [held.enter_context(closing(backend.open(artefact, spec))) for _ in range(2)]
        yield [session.bind({"tokens": np.ones(SHAPE, np.float32)}) for session in sessions]


def launch(a, b):
    seen = watch(describe().gpus[0].uuid)
    with LocalSide(a) as first, LocalSide(b) as second:
        made = duel(first, second, DuelSettings(), first="a", watch=seen)
    print(f"\n{made}")
    assert made.spoiled is None
    return made


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_an_injected_slowdown_is_what_a_duel_finds(steps, share):
    with slowed(steps[1], share) as slow:
        plain, slower = launch(*steps), launch(steps[0], slow)

    assert slower.log_ratio - plain.log_ratio == pytest.approx(math.log(1 + share), abs=0.2 * share + 0.005)
    assert abs(slower.tail) < 0.02


def test_an_injected_tail_is_what_a_duel_finds(steps):
    with tail(steps[1], 0.05, 2.0) as slow:
        made = launch(steps[0], slow)

    assert made.tail == pytest.approx(0.05, abs=0.03)
    assert abs(made.log_ratio) < 0.02


def test_the_canary_is_timed_by_the_gpus_clock():
    with canary("cuda") as step:
        latency = measure(step, LatencyPlan(min_time_s=0.1))
    print(f"\n{latency.gpu}")

    assert latency.gpu.p50_ms > 0.02
