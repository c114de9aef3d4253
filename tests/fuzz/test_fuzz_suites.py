"""Suites of every shape: each is refused with the places of its mistakes, or makes cases that are safe to run."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import corpus
import ledger
import mutations
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.backends import BACKENDS
from harness.cli import main
from harness.codec import decode, encode
from harness.errors import SuiteError
from harness.records import PRECISIONS, Plan
from harness.suites import load

MUTANTS, COMMANDS, GENERATED = 3000, 100, 400
ID = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+@-]+){4,}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus.files(tmp_path_factory.mktemp("suites"))


def outcome(path: Path, root: Path) -> str:
    """How a suite ended; AssertionError where it ended in another way than it may."""
    try:
        plans = load([path])
    except SuiteError as error:
        return _located(path, error)
    for plan in plans:
        _is_safe(plan, root)
    ids = [plan.case.id for plan in plans]
    assert len(ids) == len(set(ids))
    assert ids
    return ledger.VALID


def _located(path: Path, error: SuiteError) -> str:
    for problem in error.problems:
        assert problem.file == str(path), problem
        assert min(problem.line, problem.column) >= 1, problem
        assert problem.message, problem
    return ledger.CLEAR


def _is_safe(plan: Plan, root: Path) -> None:
    assert ID.fullmatch(plan.case.id), plan.case.id
    assert not any(part.strip(".") == "" for part in plan.case.id.split("/")), plan.case.id
    named = [*plan.files.values(), *(spec.file for spec in plan.inputs.values() if spec.file)]
    named += [plan.calibration.file] if plan.calibration else []
    named += [] if plan.source.kind == "url" else [plan.source.path]
    for file in named:
        assert Path(file).resolve().is_relative_to(root), file
    assert plan.interpreter.python is None
    assert decode(Plan, json.loads(json.dumps(encode(plan)))) == plan


def mutant(rng: random.Random) -> bytes:
    """A suite with a change in its data, or in its text."""
    place = rng.randrange(len(corpus.SUITES))
    if rng.random() < 0.5:
        made = mutations.tree(rng, corpus.data(place))
    else:
        made = mutations.text(rng, corpus.SUITES[place], others=corpus.SUITES)
    return made.encode("utf-8", "surrogatepass")


def test_a_damaged_suite_is_refused_with_places_or_makes_safe_cases(folder: Path) -> None:
    path = folder / "mutant.yaml"

    def one(rng: random.Random) -> str:
        path.write_bytes(mutant(rng))
        return outcome(path, folder)

    ledger.each("suite", MUTANTS, one)


def test_a_command_on_a_damaged_suite_ends_with_0_or_2_and_no_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "mutant.yaml"

    def one(rng: random.Random) -> str:
        path.write_bytes(mutant(rng))
        status = main(["check", str(path)])
        told = capsys.readouterr()
        assert status in (0, 2), told.err
        assert "Traceback" not in told.err, told.err
        assert (status == 0) == ("no problem found" in told.out)
        assert not any(char in told.err + told.out for char in "\x1b\u202e\x00")
        assert not re.search(r"^\s*::|##\w*\[", told.err, re.MULTILINE)
        return f"exit {status}"

    ledger.each("check", COMMANDS, one)


Part = st.SearchStrategy[Any]
values: Part = st.one_of(
    st.sampled_from(mutations.HOSTILE_TEXT),
    st.sampled_from([value for value in mutations.HOSTILE_NUMBERS if abs(value) < 10**400]),
    st.booleans(),
    st.none(),
    st.lists(st.sampled_from([0, 1, "a", None]), max_size=3),
    st.dictionaries(
        st.sampled_from(["a", "fp16", "n", "file", "..", "x"]), st.sampled_from([1, "a", None]), max_size=2
    ),
)


def keys(needed: Mapping[str, Part] = MappingProxyType({}), **known: Part) -> Part:
    """A mapping that may have each key, mostly with what belongs there, now and then with anything."""
    whole = {name: mostly(one) for name, one in {**needed, **known}.items()}
    return st.fixed_dictionaries({name: whole[name] for name in needed}, optional={name: whole[name] for name in known})


def mostly(one: Part) -> Part:
    return st.integers(0, 40).flatmap(lambda drawn: values if drawn == 40 else one)


numbers = st.one_of(st.integers(1, 100), st.floats(0.01, 1), mostly(st.integers(1, 9)))
SOURCES = ("m.onnx", "set", "more/*.onnx", "**/n.onnx", "https://a/b")
WRONG = ("../m.onnx", "torch:a:b", "*", "", "http://a/b.onnx", "/etc/hosts.onnx", "set/../../x/*.onnx", "[", "m.onnx/")
words = st.sampled_from(["x", "y", "logits", "ü", "a b"])
name = st.one_of(
    *[st.sampled_from(["a", "b", "c.d", "e-f", "g_h", "i+j"])] * 9, st.sampled_from(["..", "a/b", ".x", "é"])
)
inputs = st.one_of(
    keys({"file": st.just("d.npz")}, key=st.just("images"), slice=st.lists(st.integers(1, 5), min_size=2, max_size=3)),
    keys({"normal": st.tuples(numbers, numbers)}, seed=st.integers(0, 5)),
    keys({"integers": st.tuples(st.integers(-(2**70), 0), st.integers(1, 2**70))}, seed=st.integers(0, 5)),
    keys({"ones": st.just(True)}),
)
shares = st.floats(0, 1)
limits = keys(
    atol=numbers,
    cosine_min=shares,
    rule=st.sampled_from(["sum", "either"]),
    topk=st.integers(1, 9),
    exact=st.booleans(),
)
shape = st.dictionaries(st.sampled_from(["n", "seq", "d.0"]), st.integers(1, 9), min_size=1, max_size=2)
task = keys(
    {"metric": st.just("top1"), "output": words, "labels": keys({"file": st.just("d.npz")}), "min": numbers},
    max_drop=shares,
)
settings_of = {
    "tags": st.lists(words, max_size=2),
    "shapes": st.lists(shape, min_size=1, max_size=3, unique_by=str),
    "profile": st.dictionaries(st.just("n"), st.tuples(st.just(1), st.integers(1, 9), st.integers(9, 20)), min_size=1),
    "inputs": st.dictionaries(words, inputs, max_size=2),
    "accuracy": st.one_of(limits, keys(fp16=limits, outputs=st.dictionaries(words, limits, max_size=1), task=task)),
    "backends": st.lists(st.sampled_from([*BACKENDS, "fake@old"]), min_size=1, max_size=3, unique=True),
    "precisions": st.lists(st.sampled_from(list(PRECISIONS)), min_size=1, max_size=3, unique=True),
    "reference": st.one_of(keys({"file": st.just("d.npz")}), keys({"backend": st.just("fake")})),
    "latency": keys(regression=st.sampled_from(["2%", 0.02]), min_time_s=numbers, budget=keys(p99_ms=numbers)),
    "options": keys(fake=keys(script=st.just("f.yaml")), tensorrt=keys(workspace_mib=st.integers(1, 99))),
    "exclude": st.lists(keys({"reason": words}, backend=st.just("fake")), max_size=2),
    "shape_fuzz": st.integers(0, 20),
    "builds": st.integers(1, 16),
    "fidelity": keys(samples=st.integers(1, 99), members=st.integers(3, 64), enabled=st.booleans()),
    "drift": keys(max_factor=st.floats(1.5, 9), gate=st.booleans()),
}
source = st.one_of(*[st.sampled_from(SOURCES)] * 9, st.sampled_from(WRONG))
model = keys({"name": name, "source": source}, sha256=st.just("ab" * 32), **settings_of)
environments = st.dictionaries(st.sampled_from(["old", "new"]), keys(against=st.just("default")), max_size=2)
suites = keys(
    {"suite": name, "models": st.lists(model, min_size=1, max_size=3, unique_by=str)},
    tags=st.lists(words, max_size=1),
    defaults=keys(**settings_of),
    environments=st.one_of(st.just({"old": {}}), st.just({"old": {"python": "evil"}}), environments),
)


def test_a_suite_made_of_parts_is_refused_with_places_or_makes_safe_cases(folder: Path) -> None:
    path = folder / "generated.yaml"
    (folder / "evil").write_text("#!/bin/sh\n")
    (folder / "evil").chmod(0o755)

    @settings(
        max_examples=round(GENERATED * ledger.TIMES), derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(suites)
    def one(made: dict[str, object]) -> None:
        # JSON is YAML; half a character of a pair is written as what it is
        path.write_bytes(json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        ledger.tried["generated"][outcome(path, folder)] += 1

    one()


def test_what_is_safe_does_not_depend_on_the_working_folder(folder: Path) -> None:
    """The rules above hold for a suite whose folder is the working folder too, where its paths are shown shorter."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        (folder / "here.yaml").write_text("suite: s\nmodels: [{name: m, source: ../../m.onnx}]\n")
        with pytest.raises(SuiteError, match=r"^here\.yaml:2:28: models\[0\]\.source: .* leaves the root"):
            load([folder / "here.yaml"])
    finally:
        os.chdir(before)
