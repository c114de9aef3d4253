"""PyTorch models exported and run beside their exports; needs PyTorch, which only workers import."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.records import Record
from harness.store import read_run
from toy import harness, small_model

LACKING = [name for name in ("torch", "onnxscript") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"{', '.join(LACKING)} is not installed: pip install 'trt-harness[torch]'"
)

NETS = '''
import os

import torch
from torch import nn

SCALE = 1.0


class Net(nn.Module):
    """A convolution, a batch norm and a product, with two outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 5)

    def forward(self, image, mask):
        hidden = torch.relu(self.norm(self.conv(image))).flatten(1)
        return {"logits": self.last(hidden) * mask[:, :1], "hidden": hidden}


class Otherwise(Net):
    """Something else while it is exported."""

    def forward(self, image, mask):
        outputs = super().forward(image, mask)
        if torch.compiler.is_exporting():
            outputs["logits"] = outputs["logits"] * 1.01
        return outputs


def net():
    return Net()


def otherwise():
    return Otherwise()


def unseeded():
    made = Net()
    made.last.bias.data[0] = int.from_bytes(os.urandom(2)) / 65536
    return made


def function():
    return lambda image, mask: image


def broken():
    raise RuntimeError("no weights here")
'''
SUITE = """
suite: s
environments: {{other: {{}}}}
defaults:
  latency: {{min_time_s: 0.05, min_count: 64, warmup_s: 0.02}}
  shapes: [{{n: 4}}]
  options: {{pytorch-cpu: {{threads: 1}}, onnxruntime-cpu: {{threads: 1}}}}
  export: {{inputs: {{image: {{dims: [n, 3, 8, 8]}}, mask: {{dims: [n, 5]}}}}}}
models:
{models}
"""
ALLOW = [word for name in ("net", "otherwise", "unseeded", "function", "broken", "absent") for word in
         ("--allow-code", f"torch:nets:{name}")]  # fmt: skip


def run(folder: Path, models: str, *more: object, out: str = "out", status: int = 0) -> dict[str, Record]:
    """The records of a run by backend and precision."""
    path = folder / "s.yaml"
    path.write_text(SUITE.format(models=models))
    found = harness(folder, "run", path, "-o", folder / out, "--allow-code", folder / "net.pt2", *ALLOW, *more)
    records = read_run(folder / out).records
    assert found == status, [record.headline for record in records]
    return {record.case.id.removeprefix("s/").removesuffix("/n-4"): record for record in records}


def prepared(folder: Path) -> Path:
    (folder / "pyproject.toml").touch()
    (folder / "nets.py").write_text(NETS)
    return folder


@pytest.fixture
def folder(tmp_path):
    return prepared(tmp_path)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """One run of a model in PyTorch and ONNX Runtime, and of an ONNX file in PyTorch."""
    folder = prepared(tmp_path_factory.mktemp("torch"))
    small_model(folder / "m.onnx")
    models = """
  - name: net
    source: torch:nets:net
    backends: [onnxruntime-cpu, pytorch-cpu]
    precisions: [fp32, tf32, fp16, int8]
  - {name: file, source: m.onnx, backends: [pytorch-cpu]}
  - {name: pruned, source: torch:nets:net, variants: [prune-30%], backends: [onnxruntime-cpu, pytorch-cpu]}
"""
    return folder, run(folder, models)


def check(record: Record, name: str):
    return next(one for one in record.checks if one.name == name)


def test_a_model_is_exported_and_runs_in_onnxruntime_with_the_suite_s_dimensions(beside):
    _, records = beside

    for precision in ("fp32", "fp16", "int8"):
        record = records[f"net/onnxruntime-cpu/{precision}"]
        assert record.status == "new", record.headline
        assert {m.output for m in record.measurements if m.output} == {"logits", "hidden"}


def test_every_case_of_a_model_tells_that_its_export_is_what_pytorch_computes(beside):
    _, records = beside

    for name in ("net/onnxruntime-cpu/fp16", "net/pytorch-cpu/fp32", "pruned/onnxruntime-cpu/fp32+prune-30"):
        found = check(records[name], "export")
        assert found.ok
        assert found.value <= 1
        assert "checks of the export against PyTorch in fp32 hold" in found.reason


def test_pytorch_is_timed_and_attested_at_fp32_and_fp16(beside):
    _, records = beside

    for precision in ("fp32", "fp16"):
        record = records[f"net/pytorch-cpu/{precision}"]
        assert record.status == "new", record.headline
        assert record.latency.decided_on == "host"
        assert record.latency.host.samples >= 64
        assert {(one["kind"], one["compute"]) for one in record.attested["layers"]} == {
            ("conv", precision),
            ("matmul", precision),
        }
    assert records["net/pytorch-cpu/fp16"].headline.endswith(
        "fidelity was not checked: PyTorch rounds where the module does, not where its export does"
    )
    assert check(records["net/pytorch-cpu/fp32"], "logits/twin_spread").ok
    assert records["net/pytorch-cpu/fp16"].attested["precision_by"] == "module.to(torch.float16)"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("net/pytorch-cpu/int8", "int8 is a property of the ONNX file (quantised nodes), which PyTorch does not run"),
        ("net/pytorch-cpu/tf32", "CPUs have no TF32"),
        ("pruned/pytorch-cpu/fp32+prune-30", "PyTorch runs no ONNX files"),
        ("file/pytorch-cpu/fp32", "PyTorch runs no ONNX files: the model's source must be torch:package.module"),
    ],
)
def test_what_pytorch_cannot_run_is_skipped_with_the_reason(beside, case, words):
    record = beside[1][case]

    assert record.status == "skipped"
    assert words in record.headline


def exports(folder: Path) -> set[str]:
    """The exports that are kept, by their digests."""
    found = folder.glob("cache/index/exports/*.json")
    return {file.read_text().partition('"digest": "')[2][:64] for file in found}


def test_an_export_is_made_again_only_when_code_or_weights_are_others(folder):
    model = "  - {name: net, source: torch:nets:net, latency: {enabled: false}}"
    run(folder, model)
    first = exports(folder)
    (same,) = run(folder, model, out="same").values()
    kept = exports(folder)
    (folder / "nets.py").write_text(NETS.replace("nn.Conv2d(3, 4, 3)", "nn.Conv2d(3, 4, 3, bias=False)"))
    (other,) = run(folder, model, out="other").values()

    assert len(first) == 1
    assert kept == first
    assert same.digests.model in first
    assert len(exports(folder)) == 2
    assert other.digests.model != same.digests.model


def test_an_export_that_is_not_what_pytorch_computes_fails_every_case(folder):
    model = "  - {name: net, source: torch:nets:otherwise, backends: [onnxruntime-cpu, pytorch-cpu]}"

    records = run(folder, model, status=1)

    for record in records.values():
        assert record.status == "failed"
        assert "the export is not what PyTorch computes" in record.headline


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("function", "gives a function, and must give a torch.nn.Module"),
        ("broken", "the factory failed: RuntimeError: no weights here"),
        ("absent", "nets has no 'absent'"),
    ],
)
def test_a_factory_that_makes_no_usable_model_is_an_error_of_the_input(folder, factory, words):
    model = f"  - {{name: net, source: 'torch:nets:{factory}', backends: [pytorch-cpu]}}"

    (record,) = run(folder, model, status=1).values()

    assert record.status == "error"
    assert record.error.kind == "input"
    assert words in record.headline


def test_the_suite_must_tell_the_inputs_that_the_model_takes(folder):
    keys = "export: {inputs: {picture: {dims: [n, 3, 8, 8]}, mask: {dims: [n, 5]}}}"

    (record,) = run(folder, f"  - {{name: net, source: torch:nets:net, {keys}}}", status=1).values()

    assert record.error.kind == "input"
    assert "the model does not take the inputs under `export`" in record.headline


def save_program(folder: Path, fixed: str = "") -> None:
    """Write net.pt2 from a process of its own."""
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); import nets; n = torch.export.Dim('batch');"
        "shapes = {'image': {0: n}, 'mask': {0: n}};"
        f"shapes = {fixed or 'shapes'};"
        "inputs = {'image': torch.randn(2, 3, 8, 8), 'mask': torch.ones(2, 5)};"
        "program = torch.export.export(nets.net().eval(), (), inputs, dynamic_shapes=shapes);"
        "torch.export.save(program, sys.argv[1] + '/net.pt2')"
    )
    import subprocess

    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(folder)], check=True, timeout=300)


def test_an_exported_program_runs_as_a_factory_does(folder):
    save_program(folder)

    records = run(folder, "  - {name: net, source: net.pt2, backends: [onnxruntime-cpu, pytorch-cpu]}")

    assert [record.status for record in records.values()] == ["new", "new"]
    assert all(check(record, "export").ok for record in records.values())


def test_a_dimension_that_is_fixed_in_a_program_is_an_error_that_names_it(folder):
    save_program(folder, fixed="None")

    keys = "export: {outputs: [logits, hidden]}"
    (record,) = run(folder, f"  - {{name: net, source: net.pt2, {keys}}}", status=1).values()

    assert record.error.kind == "input"
    assert "axis 0 of 'image' is n in the suite and 2 in what was exported" in record.headline


def test_a_compiled_model_tells_its_graphs_and_is_right(folder):
    (record,) = run(folder, "  - {name: net, source: torch:nets:net, backends: [pytorch-compiled-cpu]}").values()

    assert record.status == "new", record.headline
    assert record.attested["mode"] == "compile"
    assert record.attested["graphs"] >= 1


def test_mirrored_images_are_judged_for_pytorch_and_its_export_alike(folder):
    keys = "backends: [onnxruntime-cpu, pytorch-cpu], invariance: {flip: {axes: {image: 3}}}, latency: {enabled: false}"

    records = run(folder, f"  - {{name: net, source: torch:nets:net, {keys}}}")

    assert [record.status for record in records.values()] == ["new", "new"]
    assert all(check(record, "flip/logits/twin_spread").ok for record in records.values())


def test_pytorch_can_be_the_reference(folder):
    model = "  - {name: net, source: torch:nets:net, reference: {backend: pytorch-cpu}, latency: {enabled: false}}"

    (record,) = run(folder, model).values()

    assert record.status == "new", record.headline
    assert record.reference == "pytorch-cpu fp32"


def test_what_was_accepted_passes_as_the_same_and_other_weights_are_not_timed_in_turns(folder, monkeypatch):
    monkeypatch.chdir(folder)
    model = "  - {name: net, source: torch:nets:net, backends: [pytorch-cpu]}"
    run(folder, model)
    assert harness(folder, "accept", folder / "out", "--reason", "first", *ALLOW) == 0
    (same,) = run(folder, model, out="same").values()
    (folder / "nets.py").write_text(NETS.replace("SCALE = 1.0", "SCALE = 2.0"))

    (other,) = run(folder, model, out="other", status=0).values()

    assert same.status == "passed"
    assert "same" in same.headline
    assert other.duel is None
    assert other.status in ("passed", "inconclusive", "improved")


def test_an_environment_with_pytorch_exports_for_one_without(folder, monkeypatch):
    hidden = folder / "elsewhere" / "torch"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not in the harness environment')\n")
    own = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(hidden.parent), own])))
    model = (
        "  - {name: net, source: torch:nets:net, backends: [onnxruntime-cpu, pytorch-cpu, pytorch-cpu@other], "
        "export: {environment: other}}"
    )

    records = run(folder, model, "--environment", f"other={sys.executable}")

    assert records["net/onnxruntime-cpu/fp32"].status == "new"
    assert records["net/pytorch-cpu@other/fp32"].status == "new"
    assert "not in the harness environment" in records["net/pytorch-cpu/fp32"].headline


def test_a_factory_that_makes_other_weights_in_another_process_is_told(folder):
    model = "  - {name: net, source: torch:nets:unseeded, backends: [pytorch-cpu@other]}"

    (record,) = run(folder, model, "--environment", f"other={sys.executable}", status=1).values()

    assert record.error.kind == "input"
    assert "made other weights than those that were exported" in record.headline
