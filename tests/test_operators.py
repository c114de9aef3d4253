"""The operator tests that the onnx package carries, on ONNX Runtime's CPU provider: each compared, or refused by it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from ruamel.yaml import YAML

from harness.records import Record
from harness.sources.inspect import ModelInfo, inspect
from harness.store import read_run
from operators.write import write
from toy import harness

HERE = Path(__file__).parent / "operators"
KNOWN = YAML(typ="safe").load(HERE / "known.yaml")
OURS = re.compile(r"(sequence|optional) inputs are not supported yet|is a list, not a tensor: not supported yet")
"""The harness's own words for values that are not tensors."""


@dataclass(frozen=True)
class Ran:
    """One run over the tests in a folder."""

    folder: Path
    names: list[str]
    records: dict[str, Record]

    def info(self, name: str) -> ModelInfo:
        return inspect(self.folder / "node" / name / "model.onnx")

    def operator(self, name: str) -> str:
        return str(onnx.load(self.folder / "node" / name / "model.onnx").graph.node[-1].op_type)

    def passed(self) -> list[str]:
        return [name for name, record in self.records.items() if record.status == "new"]


def run_all(folder: Path, out: str) -> dict[str, Record]:
    assert harness(folder, "run", folder / "operators.yaml", "-o", folder / out) == 1
    found = read_run(folder / out).records
    return {record.case.model.removeprefix("node/"): record for record in found}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("operators")
    (folder / "pyproject.toml").touch()
    names = write(folder)
    return Ran(folder, names, run_all(folder, "out"))


def spoil(file: Path) -> None:
    """Change the largest element of a stored output, or the rank of an output that has no element."""
    proto = TensorProto.FromString(file.read_bytes())
    values = numpy_helper.to_array(proto).copy()
    if not values.size:
        spoilt = values[..., None]
    elif values.dtype == object:
        spoilt = np.array([f"{text}x" for text in values.ravel()], dtype=object).reshape(values.shape)
    else:
        spoilt = _changed(values)
    file.write_bytes(numpy_helper.from_array(spoilt, proto.name).SerializeToString())


def _changed(values: np.ndarray) -> np.ndarray:
    numbers = values.astype(np.complex128).ravel()
    place = int(np.argmax(np.where(np.isfinite(numbers), np.abs(numbers), -1)))
    flat = values.ravel().astype(values.dtype)
    flat[place] = np.zeros(1, values.dtype)[0] if numbers[place] else np.ones(1, values.dtype)[0]
    return flat.reshape(values.shape)


@pytest.fixture(scope="module")
def spoilt(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One test that passed for each operator and type of output, with its first output changed."""
    folder = tmp_path_factory.mktemp("spoilt")
    (folder / "pyproject.toml").touch()
    shutil.copy(ran.folder / "operators.yaml", folder)
    chosen = {(ran.operator(name), ran.info(name).outputs[0].dtype): name for name in reversed(ran.passed())}
    for name in chosen.values():
        shutil.copytree(ran.folder / "node" / name, folder / "node" / name)
        spoil(folder / "node" / name / "test_data_set_0/output_0.pb")
    return Ran(folder, list(chosen.values()), run_all(folder, "out"))


def test_every_test_has_a_verdict_or_a_reason(ran):
    assert len(ran.names) > 1000
    assert sorted(ran.records) == sorted(ran.names)
    assert {record.status for record in ran.records.values()} == {"new", "failed", "error", "skipped"}
    assert all(record.headline.strip() for record in ran.records.values())
    for name in ran.passed():
        assert any(check.question == "budget" for check in ran.records[name].checks), name


def test_the_tests_that_differ_are_those_that_are_explained(ran):
    found = {
        name: sorted({check.output for check in record.checks if not check.ok})
        for name, record in ran.records.items()
        if record.status == "failed"
    }

    assert found == {name: known["outputs"] for name, known in KNOWN["differs"].items()}


def test_the_errors_are_those_that_are_explained_and_none_is_the_harness_s(ran):
    found = {name: record.error.kind for name, record in ran.records.items() if record.error}

    assert found == {name: known["kind"] for name, known in KNOWN["errors"].items()}
    assert set(found.values()) <= {"build", "input"}
    assert all("[ONNXRuntimeError]" in ran.records[name].error.message for name in found)


def refusals(ran: Ran) -> Iterator[tuple[str, str]]:
    for name, record in ran.records.items():
        if record.status == "skipped" and not OURS.search(record.headline):
            yield name, record.headline


def test_every_refusal_is_in_onnxruntime_s_words_and_as_many_as_are_known(ran):
    words = {**KNOWN["skips"], **KNOWN["skips_without_locale"]}
    found = Counter()
    for name, headline in refusals(ran):
        fitting = [text for text in words if text in headline]
        assert len(fitting) == 1, f"{name}: {headline}"
        assert "[ONNXRuntimeError]" in headline
        found[fitting[0]] += 1

    if not any(text in found for text in KNOWN["skips_without_locale"]):
        words = KNOWN["skips"]
    assert found == words


def test_sequences_and_optionals_are_what_the_harness_itself_leaves_out(ran):
    found = {name for name, record in ran.records.items() if OURS.search(record.headline)}
    refused = {name for name, _ in refusals(ran)} | set(KNOWN["errors"])
    others = {name for name in ran.names if any(value.kind != "tensor" for value in _values(ran.info(name)))}

    assert found
    assert found == others - refused


def _values(info: ModelInfo) -> list[Any]:
    return [*info.inputs, *info.outputs]


LOW = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "int4",
    "uint4",
    "int2",
    "uint2",
)


@pytest.mark.parametrize("dtype", ["string", "float16", "float64", "bool", "uint64", "int8", *LOW])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_tensors_of_every_type_are_fed_and_compared(ran, side, dtype):
    assert any(value.dtype == dtype for name in ran.passed() for value in getattr(ran.info(name), side))


@pytest.mark.parametrize("special", [np.isnan, np.isposinf, np.isneginf], ids=lambda f: f.__name__)
def test_outputs_with_nan_and_infinities_are_compared(ran, special):
    assert any(
        values.dtype.kind == "f" and values.dtype.isbuiltin == 1 and special(values).any()
        for name in ran.passed()
        for values in _stored(ran.folder / "node" / name)
    )


def _stored(folder: Path) -> Iterator[np.ndarray]:
    for file in folder.glob("test_data_set_0/output_*.pb"):
        yield numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes()))


def test_no_spoilt_output_passes(spoilt):
    assert len(spoilt.names) > 200
    assert sorted(spoilt.records) == sorted(spoilt.names)
    assert [name for name, record in spoilt.records.items() if record.status != "failed"] == []


def test_the_readme_explains_every_test_that_is_listed():
    text = (HERE / "README.md").read_text()
    listed = {**KNOWN["differs"], **KNOWN["errors"]}

    assert [name for name in listed if f"`{name}`" not in text] == []
    assert {known["why"] for known in listed.values()} == set(re.findall(r"^## (\S+)$", text, re.MULTILINE))
