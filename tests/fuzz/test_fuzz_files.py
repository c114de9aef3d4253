"""Damaged models and arrays: refused by name, or read as what they say they are, in bounded memory."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import corpus
import ledger
import mutations
import onnx
import pytest

from harness.cache import KEY_FILE, Cache
from harness.errors import CaseError
from harness.inputs.feeds import feeds
from harness.inputs.files import read_array
from harness.inputs.tables import outline
from harness.records import Source
from harness.runner.bench import Bench
from harness.runner.settings import Settings
from harness.sources.digest import model_digest
from harness.sources.inspect import inspect
from models import conv_net
from plans import CASE, plan
from toy import small_model

MODELS, ARRAYS, KEPT, MEASURED = 4000, 6000, 800, 60
ENDS = {"input", "build", "unsupported", "out-of-memory", "crash", "timeout"}
"""How a runtime may end over a damaged model; anything else is a mistake of the harness."""


def mutant(rng: random.Random, sources: Sequence[onnx.ModelProto]) -> bytes:
    model = rng.choice(sources)
    if rng.random() < 0.7:
        model = mutations.message(rng, model)
    data: bytes = model.SerializeToString()
    return data if rng.random() < 0.6 else mutations.damaged(rng, data)


def test_a_damaged_model_is_refused_by_name_or_fed_in_bounded_memory(tmp_path: Path) -> None:
    sources, numbers = corpus.models(), count()
    (tmp_path / "m.data").write_bytes(bytes(8))

    def one(rng: random.Random) -> str:
        path = tmp_path / f"{next(numbers)}.onnx"  # what is known of a file is kept by its name
        path.write_bytes(mutant(rng, sources))
        try:
            info = inspect(path)
            outline(path)
            model_digest(path)
        except CaseError as error:
            return ledger.refused(error, f"{path}: ")
        finally:
            path.rename(tmp_path / "m.onnx")
        try:
            fed = feeds(plan(source=Source("file", str(path))), info, ())
        except CaseError as error:
            return ledger.refused(error, "put '")
        assert [*fed.batches[0]] == [tensor.name for tensor in info.inputs]
        return ledger.VALID

    ledger.each("onnx", MODELS, one)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pb"])
def test_a_damaged_array_is_refused_by_name_or_read(tmp_path: Path, suffix: str) -> None:
    sources, path = corpus.arrays()[suffix], tmp_path / f"a{suffix}"

    def one(rng: random.Random) -> str:
        path.write_bytes(mutations.damaged(rng, rng.choice(sources)))
        try:
            array = read_array(path, "images" if suffix == ".npz" else None)
        except CaseError as error:
            return ledger.refused(error, str(path))
        assert array.dtype != object or all(isinstance(text, str | bytes) for text in array.ravel().tolist())
        assert array.nbytes <= 64 * 2**20
        return ledger.VALID

    ledger.each(suffix, ARRAYS // 3, one)


def test_a_damaged_cache_is_a_miss_or_gives_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "key"))
    made, key, about, moments = small_model(tmp_path / "m.onnx"), {"model": "a"}, {"notes": ["b"]}, count(10**18)
    content = made.read_bytes()  # the file itself becomes a part of the cache
    Cache(tmp_path / "cache").keep("variants", key, made, about)
    sound = {file: file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file()}
    assert len(sound) == 2

    def put(file: Path, data: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        moment = next(moments)  # a digest is remembered as long as the time of change is the same
        os.utime(file, ns=(moment, moment))

    def one(rng: random.Random) -> str:
        for file, data in sound.items():
            put(file, data)
        file = rng.choice(sorted(sound))
        put(file, mutations.damaged(rng, sound[file]))
        found = Cache(tmp_path / "cache").find("variants", key)
        if found is None:
            return "a miss"
        assert (found.path.read_bytes(), found.about) == (content, about)
        return ledger.VALID

    ledger.each("cache", KEPT, one)


def test_a_runtime_that_is_given_a_damaged_model_costs_a_case_and_tells_why(tmp_path: Path) -> None:
    sources, numbers = [conv_net()], count()

    def one(rng: random.Random) -> str:
        path = tmp_path / f"m{next(numbers)}.onnx"
        path.write_bytes(mutant(rng, sources))
        precision = rng.choice(("fp32", "fp16", "bf16"))
        case = replace(CASE, id=f"s/{path.stem}/onnxruntime-cpu/{precision}/static", backend="onnxruntime-cpu")
        made = plan(precision, source=Source("file", str(path)))
        made = replace(
            made,
            case=replace(case, precision=precision),
            latency=replace(made.latency, enabled=False),
            fidelity=replace(made.fidelity, enabled=False),
        )
        found = bench.outcome(made)
        kind = found.error.kind if found.error else "skipped" if found.skipped else "measured"
        assert kind in {*ENDS, "skipped", "measured"}, found.error
        assert found.error is None or found.error.message
        return kind

    with Bench(Settings(tmp_path / "cache", 60.0)) as bench:
        ledger.each("runtime", MEASURED, one)
