"""Suites: every mistake is told, with its line and column, all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SuiteError, UsageError
from harness.suites import load


def told(folder: Path, text: str, *files: str) -> list[str]:
    """What is told about a suite, as line:column: path: message."""
    for file in ("m.onnx", "d.npz", *files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    path = folder / "s.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError) as caught:
        load([path])
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def told_of(folder: Path, model: str, *files: str, source: str = "m.onnx") -> list[str]:
    """What is told about a suite with one model, without the places."""
    text = f"suite: s\nmodels:\n  - {{name: m, source: {source}{', ' if model else ''}{model}}}\n"
    return [problem.split(": ", 1)[1] for problem in told(folder, text, *files)]


def test_five_mistakes_are_told_in_one_go_with_their_places(tmp_path: Path) -> None:
    text = """\
suite: s
models:
  - name: a
    source: missing.onnx
    latency: {regresion: 2%}
  - name: b
    source: m.onnx
    backends: [onnxruntime-cpu, tensorrrt]
    shapes:
      - n: many
  - name: c
    source: m.onnx
    shapes: [{n: 64}]
    profile: {n: [1, 8, 32]}
"""
    assert told(tmp_path, text) == [
        "4:13: models[0].source: no such file: 'missing.onnx'",
        "5:15: models[0].latency.regresion: unknown key 'regresion', did you mean 'regression'?",
        "8:33: models[1].backends[1]: unknown backend 'tensorrrt', did you mean 'tensorrt'?",
        "10:12: models[1].shapes[0].n: must be a whole number, not 'many'",
        "14:14: models[2].profile: 'n' spans 1 to 32 and leaves out 64, which shapes asks for",
    ]


def test_problems_of_all_files_are_told_together(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("suite: s\nmodels: []\n")
    with pytest.raises(SuiteError) as caught:
        load([tmp_path])
    assert [(Path(problem.file).name, problem.message) for problem in caught.value.problems] == [
        ("a.yaml", "is empty"),
        ("b.yaml", "is empty"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: is empty; a suite needs 'suite:' and 'models:'"),
        ("- suite: s\n", "1:1: must be a mapping with 'suite:' and 'models:'"),
        ("suite: s\n", "1:1: models: the required key 'models' is missing"),
        ("suite: s\nmodels: [\n", "3:1: not valid YAML: while parsing a flow node"),
        ("suite: s\n\tmodels: []\n", "2:1: not valid YAML: while scanning for the next token"),
        ("suite: s\nmodels: a\x00b\n", "2:10: not valid YAML: special characters are not allowed"),
        ("suite: s\nmodels:\n", "2:1: models: has no value"),
        ("suite: s\n---\nsuite: t\n", "2:1: holds a second document; one a file"),
        (
            "suite: !!python/name:os.system s\nmodels: []\n",
            "1:8: suite: the tag 'tag:yaml.org,2002:python/name:os.system' is not",
        ),
        ("suite: s\nmodels: *a\n", "2:9: the alias '*a' has no anchor that ends before it"),
        ("suite: s\nmodels: &a [*a]\n", "2:13: the alias '*a' has no anchor that ends before it"),
        ('suite: "\\ud800"\n', "1:8: holds half of a surrogate pair"),
        ("suite: s\n? [a]\n: b\n", "2:3: a key must be plain text"),
        ("suite: s\nmodels: " + "[" * 100, "2:69: is nested deeper than 60 levels"),
        ("suite: s\ndefaults: {<<: {tags: [a]}}\nmodels: []\n", "2:12: defaults: merge keys '<<' are not YAML 1.2"),
    ],
)
def test_what_is_no_suite_is_told_where(tmp_path: Path, text: str, message: str) -> None:
    assert told(tmp_path, text)[0].startswith(message)


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    levels = [f"  - &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 9)]
    text = f"suite: s\nmodels:\n  - &a0 [{', '.join(['x'] * 10)}]\n{''.join(levels)}"
    assert told(tmp_path, text) == ["8:5: holds more than 1000000 values when its aliases are written out"]


def test_a_duplicate_key_names_both_places(tmp_path: Path) -> None:
    text = "suite: s\nmodels:\n  - name: a\n    source: m.onnx\n    name: b\n"
    assert told(tmp_path, text) == [f"5:5: models[0].name: duplicate key 'name', first at {tmp_path}/s.yaml:3:5"]


def test_a_duplicate_model_name_names_both_places(tmp_path: Path) -> None:
    text = "suite: s\nmodels:\n  - {name: a, source: m.onnx}\n  - {name: a, source: none.onnx}\n"
    assert told(tmp_path, text) == [
        f"4:12: models[1].name: duplicate model name 'a', first at {tmp_path}/s.yaml:3:12",
        "4:23: models[1].source: no such file: 'none.onnx'",
    ]


def test_a_case_of_two_files_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("suite: s\nmodels: [{name: m, source: m.onnx, precisions: [fp32, fp16]}]\n")
    with pytest.raises(SuiteError) as caught:
        load([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path}/b.yaml:2:10: case 's/m/onnxruntime-cpu/fp32/static' (and 1 more) "
        f"is already made by {tmp_path}/a.yaml:2:10"
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("colour: red", "models[0].colour: unknown key 'colour'; known: accuracy, attestation, backends"),
        ("sourc: x", "models[0].sourc: unknown key 'sourc', did you mean 'source'?"),
        ("environments: {a: b}", "models[0].environments: unknown key 'environments'"),
        ("builds: 0", "models[0].builds: must be greater than or equal to 1, not 0"),
        ("shape_fuzz: -1", "models[0].shape_fuzz: must be greater than or equal to 0, not -1"),
        ("tags: fast", "models[0].tags: must be a list, not 'fast'"),
        ("tags: [1]", "models[0].tags[0]: must be text, not 1"),
        ("backends: []", "models[0].backends: is empty"),
        ("backends: [fake, fake]", "models[0].backends: holds 'fake' twice"),
        ("precisions: [fp61]", "models[0].precisions[0]: unknown precision 'fp61', did you mean 'fp16'?"),
        ("shapes: []", "models[0].shapes: is empty"),
        ("shapes: [{}]", "models[0].shapes[0]: is empty"),
        ("shapes: [{n: -1}]", "models[0].shapes[0].n: must be greater than or equal to 1, not -1"),
        ("shapes: [{n: true}]", "models[0].shapes[0].n: must be a whole number, not true"),
        ("shapes: [{n m: 1}]", "models[0].shapes[0].n m: 'n m' cannot be part of a case id"),
        ("shapes: [{n: 1}, {n: 1}]", "models[0].shapes: holds {n: 1} twice"),
        (
            "profile: {n: [4, 2, 8]}",
            "models[0].profile.n: must be [min, opt, max] with min <= opt <= max, not [4, 2, 8]",
        ),
        ("profile: {n: [1, 2]}", "models[0].profile.n: must have 3 items, not 2"),
        (
            "profile: {n: [2, 2, 4]}",
            "models[0].profile: 'n' spans 2 to 4 and leaves out 1, which shapes asks for (not set: 1)",
        ),
        ("files: {fp9: m.onnx}", "models[0].files.fp9: unknown precision 'fp9', did you mean 'fp8'?"),
        ("files: {int8: q.onnx}", "models[0].files.int8: no such file: 'q.onnx'"),
        ("inputs: {x: {}}", "models[0].inputs.x: needs exactly one of file, audio, images"),
        ("inputs: {x: {ones: true, normal: [0, 1]}}", "models[0].inputs.x: sets normal and ones; give exactly one of"),
        ("inputs: {x: {ones: false}}", "models[0].inputs.x.ones: must be true, not false"),
        ("inputs: {x: {ones: true, seed: 1}}", "models[0].inputs.x: 'seed' means nothing beside 'ones'"),
        (
            "inputs: {x: {uniform: [1, 1]}}",
            "models[0].inputs.x.uniform: must be [low, high] with low < high, not [1.0, 1.0]",
        ),
        (
            "inputs: {x: {normal: [0, -1]}}",
            "models[0].inputs.x: normal must be [mean, standard deviation], and -1.0 is",
        ),
        ("inputs: {x: {file: d.csv}}", "models[0].inputs.x.file: 'd.csv' must end in .npz or .npy or .pb"),
        ("inputs: {x: {file: e.npz}}", "models[0].inputs.x.file: no such file: 'e.npz', did you mean 'd.npz'?"),
        (
            "inputs: {x: {file: d.npz, slice: [0, 4, 0]}}",
            "models[0].inputs.x.slice: must have a step of at least 1, not 0",
        ),
        ("int8: {calibration: {key: x}}", "models[0].int8.calibration: needs exactly one of file, raw"),
        ("reference: {file: r.npz}", "models[0].reference.file: no such file: 'r.npz'"),
        ("reference: {file: d.npz, precision: fp32}", "models[0].reference: 'file' stands alone"),
        ("reference: {stored: true}", "models[0].reference: '"),
        (
            "accuracy: {cosin_min: 1}",
            "models[0].accuracy.cosin_min: unknown key 'cosin_min', did you mean 'cosine_min'?",
        ),
        ("accuracy: {atol: -1}", "models[0].accuracy.atol: must be greater than or equal to 0, not -1"),
        ("accuracy: {atol: .inf}", "models[0].accuracy.atol: must be a finite number, not inf"),
        ("accuracy: {rule: any}", "models[0].accuracy.rule: must be 'sum' or 'either', not 'any'"),
        ("accuracy: {fp16: {fp32: {}}}", "models[0].accuracy.fp16.fp32: unknown key 'fp32'"),
        ("accuracy: {outputs: {y: {task: {}}}}", "models[0].accuracy.outputs.y.task: unknown key 'task'"),
        (
            "accuracy: {task: {metric: topp1, output: y, labels: {file: d.npz}}}",
            "models[0].accuracy.task.metric: unknown task metric 'topp1', did you mean 'top1'?",
        ),
        (
            "accuracy: {task: {metric: top1, output: y, labels: {file: e.npz}}}",
            "models[0].accuracy.task.labels.file: no such file: 'e.npz', did you mean 'd.npz'?",
        ),
        (
            "latency: {regression: 2}",
            "models[0].latency.regression: must be a share between 0 and 1 such as 2% or 0.02",
        ),
        ("latency: {regression: two%}", "models[0].latency.regression: must be a share between 0 and 1"),
        ("latency: {regression: -2%}", "models[0].latency.regression: must be a share between 0 and 1"),
        ("latency: {flush_l2: true, depth: 2}", "models[0].latency: flush_l2 empties the cache between iterations"),
        ("latency: {streams: 0}", "models[0].latency.streams: must be greater than or equal to 1"),
        (
            "resources: {engine_mb: 1}",
            "models[0].resources.engine_mb: unknown key 'engine_mb', did you mean 'engine_mib'?",
        ),
        ("resources: {build_s: 0}", "models[0].resources.build_s: must be greater than 0"),
        ("latency: {budget: {p95_ms: 1}}", "models[0].latency.budget.p95_ms: unknown key 'p95_ms', did you mean 'p9"),
        ("latency: null", "models[0].latency: has no value"),
        ("options: {tensort: {}}", "models[0].options.tensort: unknown key 'tensort', did you mean 'tensorrt'?"),
        ("options: {tensorrt: {level: 3}}", "models[0].options.tensorrt.level: unknown key 'level'"),
        (
            "options: {tensorrt: {precision_constraints: none}}",
            "models[0].options.tensorrt.precision_constraints: must be 'prefer' or 'obey', not 'none'",
        ),
        (
            "options: {tensorrt-rtx: {precision_constraints: obey}}",
            "models[0].options.tensorrt-rtx: 'precision_constraints' means nothing here: TensorRT for RTX is always",
        ),
        (
            "inputs: {x: {ones: true}}, int8: {calibration: {raw: m.onnx}}",
            "models[0].int8.calibration.raw: is prepared as an input is, and none is made from raw files",
        ),
        (
            "int8: {calibration: {raw: m.onnx, key: x}}",
            "models[0].int8.calibration: 'key' means nothing beside 'raw'",
        ),
        ("options: {fake: {script: f.yaml}}", "models[0].options.fake.script: no such file: 'f.yaml'"),
        ("exclude: [{backend: fake}]", "models[0].exclude[0].reason: the required key 'reason' is missing"),
        ("sha256: abc", "models[0].sha256: must be 64 hexadecimal digits, not 3 characters 'abc'"),
    ],
)
def test_a_wrong_value_is_told_with_its_path(tmp_path: Path, model: str, message: str) -> None:
    (problem,) = told_of(tmp_path, model)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://example.org/m.onnx", "must be an https:// address"),
        (
            "torch:package.module:factory",
            "allows it: --allow-code torch:package.module:factory",
        ),
        ("d.npz", "must end in .onnx"),
        ("empty", "the folder 'empty' holds no model.onnx"),
        ("'*.nothing'", "'*.nothing' matches no .onnx file and no folder with a model.onnx"),
        ("'a b/*'", "the match 'a b/c d.onnx' cannot be part of a case id"),
        ("'twins/*'", "the matches 'twins/t' and 'twins/t.onnx' would both be named 't'"),
        ("../m.onnx", "'../m.onnx' leaves the root"),
        ("../*.onnx", "'..' leaves the root"),
        ("'*/../../*.onnx'", "has '..' behind a wildcard"),
        ("/etc/hostname.onnx", "'/etc/hostname.onnx' leaves the root"),
        ('"m\\0.onnx"', "null"),
        ("5", "must be text"),
    ],
)
def test_a_source_that_is_no_model_is_told(tmp_path: Path, source: str, message: str) -> None:
    files = ("empty/readme.md", "a b/c d.onnx", "twins/t.onnx", "twins/t/model.onnx")
    (problem,) = told_of(tmp_path, "", *files, source=source)
    assert problem.startswith("models[0].source: ")
    assert message in problem


def test_an_address_without_digest_is_told(tmp_path: Path) -> None:
    problems = told_of(tmp_path, "", source="https://example.org/m.onnx")
    assert problems == ["models[0].sha256: is required for a source that is downloaded"]


def test_a_glob_takes_no_digest(tmp_path: Path) -> None:
    problems = told_of(tmp_path, f"sha256: {'ab' * 32}", source="'*.onnx'")
    assert problems == ["models[0].sha256: cannot hold for a glob: name the files one by one"]


@pytest.mark.parametrize("source", ["link.onnx", "folder", "'link*'"])
def test_a_link_may_not_leave_the_root(tmp_path: Path, source: str) -> None:
    outside, suite = tmp_path / "outside.onnx", tmp_path / "suite"
    outside.touch()
    (suite / "folder").mkdir(parents=True)
    for link in ("link.onnx", "folder/model.onnx"):
        (suite / link).symlink_to(outside)
    (problem,) = told_of(suite, "", source=source)
    assert "leaves the root" in problem


def test_the_root_that_is_given_bounds_the_paths(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "m.onnx").touch()
    path = tmp_path / "suites" / "s.yaml"
    path.parent.mkdir()
    path.write_text("suite: s\nmodels: [{name: m, source: ../m.onnx}]\n")
    assert load([path])
    with pytest.raises(SuiteError, match="leaves the root"):
        load([path], root=path.parent)


def test_a_suite_outside_the_root_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "s.yaml").write_text("suite: s\nmodels: []\n")
    with pytest.raises(UsageError, match="lies outside the root"):
        load([tmp_path / "s.yaml"], root=tmp_path / "root")


def test_a_problem_of_the_defaults_is_told_at_the_defaults(tmp_path: Path) -> None:
    text = "suite: s\ndefaults: {profile: {n: [2, 4, 8]}}\nmodels: [{name: m, source: m.onnx, shapes: [{n: 1}]}]\n"
    (problem,) = told(tmp_path, text)
    assert problem.startswith("2:21: defaults.profile: 'n' spans 2 to 8 and leaves out 1")
    assert problem.endswith("(in model 'm')")


@pytest.mark.parametrize("key", ["name", "source", "sha256"])
def test_defaults_cannot_name_a_model(tmp_path: Path, key: str) -> None:
    text = f"suite: s\ndefaults: {{{key}: m}}\nmodels: [{{name: m, source: m.onnx}}]\n"
    (problem,) = told(tmp_path, text)
    assert problem.startswith(f"2:12: defaults.{key}: unknown key")


@pytest.mark.parametrize("name", ["a/b", "a b", "ü", ""])
def test_names_that_break_ids_are_told(tmp_path: Path, name: str) -> None:
    problems = told(tmp_path, f"suite: '{name}'\nmodels: [{{name: '{name}', source: m.onnx}}]\n")
    assert [problem.split("'")[0] for problem in problems] == ["1:8: suite: ", "2:17: models[0].name: "]


def test_text_that_is_not_utf_8_is_told_where(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"suite: s\nmodels: \xff\n")
    with pytest.raises(SuiteError, match=r"s\.yaml:2:9: is not UTF-8 text"):
        load([path])


def test_paths_that_lead_nowhere_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load([tmp_path / "none.yaml", tmp_path])
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/none.yaml: no such file or folder",
        f"{tmp_path}: holds no suite (a .yaml or .yml file with a top-level 'suite:')",
    ]
