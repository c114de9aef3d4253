"""Damaged models and arrays: refused by name, or read as what they say they are, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import corpus
import ledger
import mutations
import onnx
import pytest

from harness.errors import CaseError
from harness.inputs.feeds import feeds
from harness.inputs.files import read_array
from harness.inputs.tables import outline
from harness.records import Reference, Source
from harness.runner.runner import Bench, Settings
from harness.sources.digest import model_digest
from harness.sources.inspect import inspect
from models import conv_net
from plans import CASE, plan

MODELS, ARRAYS, MEASURED = 4000, 6000, 60
ENDS = {"input", "build", "unsupported", "out-of-memory", "crash", "timeout"}
"""How a runtime may end over a damaged model; anything else is a mistake of the harness."""


def mutants(kind: str, count: int, sources: list[onnx.ModelProto]) -> Iterator[tuple[str, bytes]]:
    for name, rng in ledger.mutants(kind, count):
        model = rng.choice(sources)
        if rng.random() < 0.7:
            model = mutations.message(rng, model)
        data = model.SerializeToString()
        yield name, data if rng.random() < 0.6 else mutations.damaged(rng, data)


def test_a_damaged_model_is_refused_by_name_or_fed_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    (tmp_path / "m.data").write_bytes(bytes(8))
    for name, data in mutants("onnx", MODELS, corpus.models()):
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        try:
            info = inspect(path)
            outline(path)
            model_digest(path)
        except CaseError as error:
            ledger.refused("onnx", error, f"{path}: ", name)
            continue
        try:
            fed = feeds(plan(source=Source("file", str(path))), info, ())
        except CaseError as error:
            ledger.refused("onnx", error, "put '", name)
            continue
        assert [*fed.batches[0]] == [tensor.name for tensor in info.inputs], name
        ledger.ended("onnx", ledger.VALID)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pb"])
def test_a_damaged_array_is_refused_by_name_or_read(tmp_path: Path, suffix: str) -> None:
    sources, path = corpus.arrays()[suffix], tmp_path / f"a{suffix}"
    for name, rng in ledger.mutants(suffix, ARRAYS // 3):
        path.write_bytes(mutations.damaged(rng, rng.choice(sources)))
        try:
            array = read_array(path, "images" if suffix == ".npz" else None)
        except CaseError as error:
            ledger.refused(suffix, error, str(path), name)
            continue
        assert array.dtype != object or all(isinstance(one, (str, bytes)) for one in array.ravel().tolist()), name
        assert array.nbytes <= 64 * 2**20, name
        ledger.ended(suffix, ledger.VALID)


def test_a_runtime_that_is_given_a_damaged_model_costs_a_case_and_tells_why(tmp_path: Path) -> None:
    (tmp_path / "m.data").write_bytes(bytes(8))
    settings = Settings(tmp_path / "cache", 60.0)
    with Bench(settings) as bench:
        for name, data in mutants("runtime", MEASURED, [conv_net()]):
            path = tmp_path / f"{name.replace('/', '-')}.onnx"
            path.write_bytes(data)
            precision = "fp16" if int(name.rpartition("/")[2]) % 2 else "fp32"
            case = replace(CASE, id=f"s/{path.stem}/onnxruntime-cpu/{precision}/static", backend="onnxruntime-cpu")
            made = plan(precision, source=Source("file", str(path)), reference=Reference())
            made = replace(
                made,
                case=replace(case, precision=precision),
                latency=replace(made.latency, enabled=False),
                fidelity=replace(made.fidelity, enabled=False),
            )
            found = bench.outcome(made)
            kind = found.error.kind if found.error else "skipped" if found.skipped else "measured"
            assert kind in {*ENDS, "skipped", "measured"}, (name, found.error)
            assert found.error is None or found.error.message, name
            ledger.ended("runtime", kind)
