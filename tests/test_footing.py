"""When two artefacts are the very same thing, and when something beside them is not."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.backends import RUNTIMES
from harness.backends.base import BuildSpec
from harness.backends.onnxruntime import _infer_version
from harness.baselines import Entry
from harness.records import Digests, Environment, Latency, Outcome, Quantiles
from harness.runner.footing import footing
from harness.runner.measure import loaded_with
from plans import plan

LATENCY = Latency(Quantiles(1.0, 1.1, 1.2, 1.0, (0.9, 1.1), 100), None, "host", {})
DIGESTS = Digests(model="m", variant="v", inputs="i")
VERSIONS = {"onnxruntime": "1.23", "libnvinfer": "101303", "driver": "580"}
SPEC = BuildSpec("c", Path("m.onnx"), "fp32", {}, {}, {})
HERE = Environment("host", "cpu", (), VERSIONS, "cpu-x1")


def on(backend: str, then: dict, now: dict, versions: dict = VERSIONS):
    entry = Entry(LATENCY, {}, DIGESTS, versions, "r", None, "2026-01-01", "me", "why", options=then)
    outcome = Outcome(latency=LATENCY, digests=DIGESTS, attested={"options": now})
    return footing(replace(plan(), case=replace(plan().case, backend=backend)), outcome, entry, HERE, None)


@pytest.mark.parametrize(
    ("key", "words"), [("custom_ops_sha256", "library of operators"), ("profile", "profile of shapes")]
)
def test_what_sessions_are_made_from_beside_the_artefact_is_seen_and_not_timed_in_turns(key, words):
    backend = "onnxruntime-tensorrt"
    assert on(backend, {key: ["a"]}, {key: ["a"]}).same

    found = on(backend, {key: ["a"]}, {key: ["b"]})
    assert not found.same
    assert not found.in_turns
    assert f"another {words} than was accepted" in found.why_stored
    assert not on(backend, {}, {key: ["b"]}).same


def test_what_was_accepted_without_a_time_is_not_passed_as_the_same():
    entry = Entry(LATENCY, {}, DIGESTS, VERSIONS, "r", None, "2026-01-01", "me", "why", options={}, timed="earlier")
    outcome = Outcome(latency=LATENCY, digests=DIGESTS, attested={"options": {}})

    found = footing(replace(plan(), case=replace(plan().case, backend="tensorrt")), outcome, entry, HERE, None)

    assert not found.same
    assert not found.in_turns
    assert found.why_stored == "the accepted artefact was not timed; the time is that of run earlier"


def test_another_tensorrt_below_onnxruntime_is_another_version():
    found = on("onnxruntime-tensorrt", {}, {}, {**VERSIONS, "libnvinfer": "101200"})

    assert found.why_stored.startswith("libnvinfer 101200 -> 101303")
    assert "libnvinfer" not in RUNTIMES["onnxruntime-cuda"]


def test_a_library_of_operators_is_told_by_what_it_holds(tmp_path):
    library = tmp_path / "ops.so"
    seen = []
    for content in ("one", "two", "one"):
        library.write_text(content)
        seen.append(loaded_with(plan(options={"custom_ops": [str(library)]}), SPEC)["custom_ops_sha256"])

    assert seen[0] == seen[2] != seen[1]
    assert loaded_with(plan(), SPEC) == {}


def test_the_version_of_a_loaded_libnvinfer_is_what_it_says_itself(tmp_path):
    library = tmp_path / "libnvinfer.so.10"
    source = tmp_path / "version.c"
    source.write_text("int getInferLibVersion(void) { return 101303; }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert _infer_version(Path("/proc/self/maps").read_text()) is None
    loaded = ctypes.CDLL(str(library))

    assert loaded.getInferLibVersion() == 101303
    assert _infer_version(Path("/proc/self/maps").read_text()) == "101303"


def test_a_profile_is_told_only_where_sessions_are_built_from_it():
    spec = replace(SPEC, profile={"x": ((1, 4), (2, 4), (3, 4))})

    def told(backend: str) -> dict:
        return loaded_with(replace(plan(), case=replace(plan().case, backend=backend)), spec)

    assert told("onnxruntime-tensorrt") == {"profile": {"x": [[1, 4], [2, 4], [3, 4]]}}
    assert told("onnxruntime-cuda") == {}
