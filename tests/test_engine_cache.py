"""An engine is built once, found by all that decides on it, and loaded only where somebody vouches for it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from time import time

import onnx
import pytest

from harness.backends.base import Artefact
from harness.backends.onnxruntime import Cpu
from harness.backends.tensorrt_session import _bytes
from harness.environment import describe
from harness.errors import InputError, Unsupported
from harness.records import Gpu, LatencyPlan, Record, Reference, Source
from harness.runner import workshop
from harness.runner.probes import Probes
from harness.runner.stages import Stages
from harness.runner.steps import Steps
from harness.sources.digest import file_digest
from harness.store import read_run
from models import conv_net
from plans import plan
from test_cache import flip
from toy import harness

SUITE = """
suite: rtx
models:
  - name: net
    source: net.onnx
    backends: [tensorrt-rtx]
    precisions: [fp16]
    shapes: [{n: 2}]
    latency: {enabled: false}
"""


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder, self._runs = folder, 0
        (folder / "pyproject.toml").touch()
        onnx.save(conv_net(), folder / "net.onnx")

    def run(self, *options: object, more: str = "") -> Record:
        (self.folder / "net.yaml").write_text(SUITE + more)
        self._runs += 1
        harness(self.folder, "run", self.folder / "net.yaml", "-o", self.folder / f"{self._runs}", *options)
        (record,) = read_run(self.folder / f"{self._runs}").records
        return record

    def kept(self, record: Record) -> Path:
        return self.folder / "cache" / "artefacts" / str(record.digests.engine) / "model.engine"


@pytest.fixture
def project(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    return Project(tmp_path)


def warnings(record: Record) -> list[str]:
    return [note for note in record.notes if note.startswith("cache: ")]


def test_an_engine_is_built_kept_and_found_and_a_changed_byte_makes_it_built_afresh(project, capfd):
    built, found = project.run(), project.run()
    assert "cache" not in built.attested
    assert found.attested["cache"].startswith("engine built ")
    assert found.digests.engine == built.digests.engine
    assert found.measures == built.measures
    assert found.stages["build_s"] < built.stages["build_s"]
    assert {**found.attested, "cache": ""} == {**built.attested, "cache": ""}

    flip(project.kept(found))
    afresh, again = project.run(), project.run()
    assert "cache" not in afresh.attested
    (warning,) = warnings(afresh)
    assert str(built.digests.engine) in warning
    assert capfd.readouterr().err.count(warning) == 1
    assert again.digests.engine == afresh.digests.engine
    assert "cache" in again.attested
    assert warnings(again) == []


class Builder:
    """Measures on onnxruntime-cpu as if it built engines, by steps of their own each time, and counts the builds."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self._built = folder, 0
        onnx.save(conv_net(), folder / "m.onnx")
        made = plan(source=Source("file", str(folder / "m.onnx")), dimensions={"n": 2}, reference=Reference("stored"))
        self.plan = replace(
            made, case=replace(made.case, backend="onnxruntime-cpu"), latency=LatencyPlan(enabled=False)
        )
        monkeypatch.setattr(Cpu, "recipe", "cpu/1")
        monkeypatch.setattr(Cpu, "build", self._build)

    def _build(self, spec, folder):
        self._built += 1
        path = folder / "model.onnx"
        shutil.copyfile(spec.model, path)
        return Artefact(path, file_digest(path), {"engine_bytes": 1.0}, {"requested": spec.precision})

    def builds(self, kind=Steps, **changes) -> int:
        """How many builds it takes."""
        before, own = self._built, kind(self.folder / "cache", self.folder, lambda _: None)
        asked = replace(self.plan, **changes)
        stages = Stages(lambda _: None, None)
        prepared = own.prepare(asked, stages)
        for number in range(1, asked.builds + 1):
            own.build(Cpu(), prepared, stages, number)
        return self._built - before


@pytest.fixture
def builder(tmp_path, monkeypatch):
    return Builder(tmp_path, monkeypatch)


def test_builds_are_found_by_what_decides_on_them_and_made_afresh_where_that_is_asked_for(builder):
    assert (builder.builds(), builder.builds()) == (1, 0)
    assert builder.builds(kept_since=time()) == 1
    assert (builder.builds(builds=3), builder.builds(builds=3)) == (3, 3)
    assert (builder.builds(options={"threads": 2}), builder.builds(options={"threads": 2})) == (1, 0)
    assert builder.builds(profile={"n": (1, 2, 4)}) == 1
    assert (builder.builds(Probes), builder.builds(Probes)) == (1, 1)
    assert builder.builds() == 0


@pytest.mark.parametrize(
    "other",
    [
        {"versions": {"polygraphy": "0.1"}},
        {"gpus": (Gpu("T4", "GPU-1", "570.86", "7.5", 15000),)},
    ],
)
def test_another_machine_or_version_builds_its_own(builder, monkeypatch, other):
    builder.builds()
    here = describe()
    monkeypatch.setattr(workshop, "describe", lambda: replace(here, **other))
    assert builder.builds() == 1
    assert builder.builds() == 0


def test_another_release_of_one_driver_branch_finds_what_was_built(builder, monkeypatch):
    here, gpu = describe(), Gpu("T4", "GPU-1", "570.86", "7.5", 15000)
    for driver, count in (("570.86.10", 1), ("570.124.06", 0), ("580.65", 1)):
        monkeypatch.setattr(workshop, "describe", lambda: replace(here, gpus=(replace(gpu, driver=driver),)))  # noqa: B023
        assert builder.builds() == count


def test_an_engine_that_cannot_be_kept_is_used_all_the_same(builder):
    (builder.folder / "cache").mkdir()
    (builder.folder / "cache" / "index").touch()  # a file where the folder should be
    assert (builder.builds(), builder.builds()) == (1, 1)


def test_an_engine_file_of_the_suites_is_loaded_only_where_somebody_vouches_for_it(project):
    built = project.run()
    shutil.copyfile(project.kept(built), project.folder / "own.engine")
    shutil.rmtree(project.folder / "cache")
    own = "    files: {fp16: own.engine}\n"

    refused = project.run(more=own)
    assert refused.error.kind == "input"
    assert "--trust-engine" in refused.error.message
    trusted = project.run("--trust-engine", project.folder / "own.engine", more=own)
    assert trusted.error is None
    assert trusted.digests.engine == built.digests.engine
    assert "fp16 is the suite's own engine own.engine: nothing is built" in trusted.notes


def test_an_engine_file_is_no_model_for_other_backends(tmp_path):
    onnx.save(conv_net(), tmp_path / "net.onnx")
    (tmp_path / "own.plan").write_bytes(b"engine")
    made = plan("fp16", source=Source("file", str(tmp_path / "net.onnx")), files={"fp16": str(tmp_path / "own.plan")})
    made = replace(
        made, case=replace(made.case, backend="onnxruntime-cpu"), trusted=(file_digest(tmp_path / "own.plan"),)
    )
    own = Steps(tmp_path / "cache", tmp_path, lambda _: None)

    assert "own.plan is an engine, which only tensorrt" in own.measure(made, None, None, None).skipped
    with pytest.raises(Unsupported, match="no graph"):
        own.twin(made, tmp_path / "twin")


def test_only_the_very_bytes_that_were_vouched_for_are_deserialised(tmp_path):
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(InputError, match="is not the engine that was vouched for"):
        _bytes(Artefact(engine, "0" * 64))
    with pytest.raises(InputError):
        _bytes(Artefact(engine))
