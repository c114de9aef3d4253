"""The suites of raw files that ship with the project: they pass, and what is planted in their preparation is caught."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main

pytest.importorskip("PIL")
pytest.importorskip("tokenizers")
pytest.importorskip("av")

SUITES = Path(__file__).parents[1] / "suites"
PLANTED = [
    ("images", "mean: [0.55, 0.5, 0.45]", "mean: [0.0, 0.0, 0.0]"),
    ("images", "channels: rgb", "channels: bgr"),
    ("video", "channels: rgb", "channels: bgr"),
    ("video", "crop: center", "crop: none"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def records(suite: Path, cache: Path, out: Path, chosen: str) -> list[dict[str, Any]]:
    main(["run", str(suite), "-k", chosen, "--artefacts", str(cache), "-o", str(out)])
    return json.loads((out / "run.json").read_text())["records"]


@pytest.mark.alone
@pytest.mark.parametrize("name", ["images", "text", "video"])
def test_a_shipped_suite_passes_in_fp32_fp16_and_int8_with_its_task(name: str, cache: Path, tmp_path: Path) -> None:
    found = records(SUITES / name, cache, tmp_path / "out", "onnxruntime-cpu")
    assert {record["case"]["precision"] for record in found} == {"fp32", "fp16", "int8"}
    for record in found:
        assert record["status"] == "new", record["headline"]
        assert "fidelity was not checked" not in record["headline"]
        assert any(check["question"] == "task" and check["value"] is not None for check in record["checks"])


def other_tokenizer(folder: Path) -> None:
    """The same pieces with other numbers: such as a tokenizer of another training has."""
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text())
    pieces = told["model"]["vocab"]
    words = [piece for piece in pieces if not piece.startswith("[")]
    pieces.update(zip(words, [pieces[word] for word in [*words[7:], *words[:7]]], strict=True))
    file.write_text(json.dumps(told))


def test_another_tokenizer_is_caught_by_the_task_in_the_headline(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    shutil.copytree(SUITES / "text", folder)
    (folder / "pyproject.toml").touch()
    other_tokenizer(folder)
    for record in records(folder / "text.yaml", cache, tmp_path / "out", "onnxruntime-cpu and fp32"):
        assert record["status"] == "failed"
        assert record["headline"].startswith("task/")
        assert "look at inputs, their preparation, labels or the model" in record["headline"]


@pytest.mark.parametrize(("name", "right", "planted"), PLANTED)
def test_a_planted_mistake_is_caught_by_the_task_in_the_headline(
    name: str, right: str, planted: str, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / name
    shutil.copytree(SUITES / name, folder)
    if name != "images":  # whose network others read
        shutil.copytree(SUITES / "images", tmp_path / "images")
    suite = folder / f"{name}.yaml"
    text = suite.read_text()
    assert right in text
    suite.write_text(text.replace(right, planted).replace("latency: {", "latency: {enabled: false, "))
    (tmp_path / "pyproject.toml").touch()
    for record in records(suite, cache, tmp_path / "out", "onnxruntime-cpu and fp32"):
        assert record["status"] == "failed"
        assert record["headline"].startswith("task/")
        assert "look at inputs, their preparation, labels or the model" in record["headline"]


@pytest.mark.alone
def test_the_film_is_streamed_as_it_arrives_and_is_small(cache: Path, tmp_path: Path) -> None:
    (record,) = records(SUITES / "video", cache, tmp_path / "out", "onnxruntime-cpu and fp32")
    checks = {check["name"]: check["ok"] for check in record["checks"] if check["question"] == "resource"}
    assert {*checks} == {f"resource/video_{name}" for name in ("fps", "drop_share", "p90_ms", "unpaced_fps")}
    assert record["trials"][0]["queries"] + record["measures"]["video_drops"] >= 64
    assert record["trials"][0]["rate_per_s"] == pytest.approx(25)
    assert sum(file.stat().st_size for file in (SUITES / "video").iterdir()) < 200_000
