"""Inputs made from raw files: prepared once, kept by what decides, and every mistake told with its place."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from harness.cache import Cache
from harness.cli import main
from harness.errors import InputError, SuiteError
from harness.inputs import PREPARATIONS, prepared
from harness.inputs.feeds import feeds
from harness.inputs.kinds import KINDS
from harness.records import Plan
from harness.runner.digests import plan_digest
from harness.sources.inspect import inspect
from harness.suites import load
from harness.suites.prepared import KEYS
from raw import colours, suite

pytest.importorskip("PIL")


def told(path: Path) -> list[str]:
    """What is wrong with a suite, by the name of the file."""
    with pytest.raises(SuiteError) as caught:
        load([path])
    return [f"{Path(one.file).name}:{one.line}:{one.column}: {one.message}" for one in caught.value.problems]


def fed(plan: Plan, cache: Cache | None = None) -> np.ndarray:
    return feeds(plan, inspect(Path(plan.source.path)), (), cache).batches[0]["image"]


def test_every_preparation_has_its_keys_and_its_kind() -> None:
    assert set(PREPARATIONS) == set(KINDS) == set(KEYS)
    for name, kind in KINDS.items():
        assert name in KEYS[name].model_fields
        assert kind.arrays
        assert kind.suffixes == {suffix.lower() for suffix in kind.suffixes}


def test_files_are_streamed_in_the_order_of_their_names_with_their_labels(tmp_path: Path) -> None:
    plan = load([colours(tmp_path)])[0]
    made = feeds(plan, inspect(Path(plan.source.path)), ())
    assert [len(batch["image"]) for batch in made.batches] == [4, 3]
    assert made.labels is not None
    assert made.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_slice_takes_rows_and_their_labels(tmp_path: Path) -> None:
    colours(tmp_path)
    plan = load([suite(tmp_path, "slice: [1, 5], ")])[0]
    made = feeds(plan, inspect(Path(plan.source.path)), ())
    assert made.labels is not None
    assert made.labels.tolist() == [1, 2, 0, 1]
    np.testing.assert_array_equal(made.batches[0]["image"][:3], fed(load([suite(tmp_path)])[0])[1:4])


def test_files_are_decoded_once_and_again_only_when_something_decides_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, cache, calls = load([colours(tmp_path)])[0], Cache(tmp_path / "cache"), []
    real = prepared.PREPARATIONS.load("images")

    def counted(*arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        return real(*arguments)

    counted.__module__ = real.__module__
    monkeypatch.setattr(prepared.PREPARATIONS, "load", lambda _: counted)
    first = fed(plan, cache)
    np.testing.assert_array_equal(fed(plan, cache), first)
    assert len(calls) == 1
    fed(load([suite(tmp_path, "mean: [0.5, 0.5, 0.5], ")])[0], cache)
    assert len(calls) == 2
    (tmp_path / "val/0.png").write_bytes((tmp_path / "val/1.png").read_bytes())
    assert not np.array_equal(fed(plan, cache), first)
    assert len(calls) == 3
    (tmp_path / "labels.csv").write_text((tmp_path / "labels.csv").read_text().replace("0.png,0", "0.png,1"))
    fed(plan, cache)
    assert len(calls) == 4


def test_another_version_of_the_decoder_makes_other_inputs(tmp_path: Path) -> None:
    plan, cache = load([colours(tmp_path)])[0], Cache(tmp_path / "cache")
    fed(plan, cache)
    spec = plan.inputs["image"]
    assert spec.preparation is not None
    other = replace(spec, preparation=replace(spec.preparation, versions={"pillow": "1.0"}))
    with pytest.raises(InputError, match=r"pillow is .* here and 1\.0 where the run began"):
        fed(replace(plan, inputs={"image": other}), cache)


def test_a_decoder_that_is_missing_is_told_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load([colours(tmp_path)])[0]
    monkeypatch.setattr(prepared, "versions", lambda _: {})
    with pytest.raises(InputError, match=r"pillow: pip install 'trt-harness\[images\]'"):
        fed(plan)


def test_an_environment_without_the_decoder_takes_what_another_one_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, cache = load([colours(tmp_path)])[0], Cache(tmp_path / "cache")
    first = fed(plan, cache)
    monkeypatch.setattr(prepared, "versions", lambda _: {})
    np.testing.assert_array_equal(fed(plan, cache), first)


def test_the_decoder_and_its_version_are_noted(tmp_path: Path) -> None:
    plan = load([colours(tmp_path)])[0]
    notes = feeds(plan, inspect(Path(plan.source.path)), ()).notes
    assert f"input 'image': images prepared with pillow {version('pillow')}" in notes


def test_checking_a_suite_decodes_nothing(tmp_path: Path) -> None:
    words = "import sys; from pathlib import Path; from harness.suites import load; load([Path(sys.argv[1])]); "
    words += "print([name for name in ('PIL', 'tokenizers', 'numpy', 'onnx') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", words, str(colours(tmp_path))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_digest_of_a_plan_is_the_same_with_another_decoder(tmp_path: Path) -> None:
    plan = load([colours(tmp_path)])[0]
    spec = plan.inputs["image"]
    assert spec.preparation is not None
    other = replace(plan, inputs={"image": replace(spec, preparation=replace(spec.preparation, versions={}))})
    assert plan_digest(plan) == plan_digest(other)


def test_mistakes_in_a_table_of_labels_are_told_with_its_lines(tmp_path: Path) -> None:
    path = colours(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,cat\n1.png,1\n22.png,1\n3.png,0\n")
    assert told(path) == [
        "labels.csv:3:1: 'cat' is no class: whole numbers from 0 on are",
        "labels.csv:4:1: '1.png' is labelled twice, first in line 3",
        "labels.csv:5:1: there is no file '22.png', did you mean '2.png'?",
        "labels.csv:6:1: 5 labels for 7 files: '2.png' (and 3 more) has none",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0.png;0\n", "must have two columns, file and label, not 1"),
        (b"0.png,\xff\n", "cannot be read as a CSV table"),
        (b'0.png,"0\n', "cannot be read as a CSV table"),
    ],
    ids=["columns", "encoding", "quotes"],
)
def test_a_table_that_cannot_be_read_is_told_at_its_key(tmp_path: Path, content: bytes, words: str) -> None:
    path = colours(tmp_path)
    (tmp_path / "labels.csv").write_bytes(content)
    problem = told(path)[0]
    assert problem.startswith("colours.yaml:9:45: ")
    assert words in problem


def test_files_without_a_byte_and_folders_without_files_are_told_before_anything_runs(tmp_path: Path) -> None:
    path = colours(tmp_path)
    (tmp_path / "val/3.png").write_bytes(b"")
    assert told(path) == ["colours.yaml:9:23: '3.png' is empty (0 bytes) or cannot be read"]
    for file in (tmp_path / "val").iterdir():
        file.unlink()
    assert "holds no file that ends in .bmp, .jpeg" in told(path)[0]


def test_raw_files_cannot_lead_out_of_the_root_or_their_folder(tmp_path: Path) -> None:
    path = colours(tmp_path / "root")
    (tmp_path / "secret.png").write_bytes((tmp_path / "root/val/0.png").read_bytes())
    (tmp_path / "root/val/9.png").symlink_to(tmp_path / "secret.png")
    assert "9.png: is a link that leads out of its folder" in told(path)[0]
    (tmp_path / "root/val/9.png").unlink()
    path.write_text(path.read_text().replace("images: val", "images: ../"))
    assert "leaves the root" in told(path)[0]


def test_a_task_takes_the_labels_of_the_only_input_that_has_some(tmp_path: Path) -> None:
    path = colours(tmp_path)
    task = load([path])[0].task
    assert task is not None
    assert (task.labels_input, task.labels_file) == ("image", None)
    path.write_text(path.read_text().replace(", labels: labels.csv", ""))
    assert told(path) == ["colours.yaml:12:13: the required key 'labels' is missing, and no input brings any"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("feeds: {pixels: image}, ", "images make no array 'pixels'; known: image"),
        ("seed: 3, ", "'seed' means nothing beside 'images'"),
        ("resize: 4, ", "resize is the shorter side before a crop: at least as long as `size`"),
        ("std: [1, 0, 1], ", "divides, so no value can be 0"),
        ("dtype: uint8, mean: [0, 0, 0], ", "'mean' means nothing beside 'dtype: uint8'"),
        ("sizes: 3, ", "unknown key 'sizes', did you mean 'size'?"),
        ("crop: centre, ", "must be 'center' or 'none', not 'centre'"),
    ],
)
def test_settings_that_do_not_fit_are_told_in_the_suite(tmp_path: Path, settings: str, words: str) -> None:
    colours(tmp_path)
    problems = told(suite(tmp_path, settings))
    assert words in problems[0]
    assert problems[0].startswith("colours.yaml:9:")


def verdicts(path: Path) -> list[str]:
    """Status and headline of every case of a run."""
    place = Path(mkdtemp(dir=path.parent))
    main(["run", str(path), "--artefacts", str(path.parent / "cache"), "-o", str(place / "out")])
    run = json.loads((place / "out/run.json").read_text())
    return [f"{record['status']}: {record['headline']}" for record in run["records"]]


def test_a_planted_mistake_is_caught_by_the_task_and_the_headline_tells_whom_to_blame(tmp_path: Path) -> None:
    colours(tmp_path)
    assert verdicts(suite(tmp_path, precisions="fp32, int8")) == ["new: accuracy within limits; not timed"] * 2
    (told,) = verdicts(suite(tmp_path, "channels: bgr, "))
    assert told == (
        "failed: task/top1: top1 0.2857 < 0.9, 0.2857 of the reference as well: look at inputs, their preparation, "
        "labels or the model; would pass at min: 0.28571"
    )


def test_files_that_cannot_be_decoded_are_named_with_the_place_in_the_suite(tmp_path: Path) -> None:
    path = colours(tmp_path)
    for name in ("1.png", "4.png"):
        (tmp_path / "val" / name).write_bytes(b"no image")
    (told,) = verdicts(path)
    assert "colours.yaml:4:5: inputs.image: 1.png: cannot be decoded" in told
    assert "4.png: cannot be decoded" in told


def test_a_cache_that_takes_nothing_costs_time_and_a_warning_only(tmp_path: Path) -> None:
    plan = load([colours(tmp_path)])[0]
    (tmp_path / "cache").touch()
    cache = Cache(tmp_path / "cache")
    np.testing.assert_array_equal(fed(plan, cache), fed(plan))
    assert any("prepared inputs cannot be kept" in words for words in cache.told())
