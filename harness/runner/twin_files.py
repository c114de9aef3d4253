"""A precision twin on disk: its outputs, the noise of every output, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.metrics.fidelity import Noise
from harness.runner import REFUSED, tensors
from harness.runner.ties import Ties
from harness.runner.twins import Twin

KINDS = ("spread", "drift", "floor")


def keep(folder: Path, made: Twin, **about: Any) -> None:
    """Write a twin to a folder; `about` is kept with it."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, one in enumerate(made.noise.values()):
        arrays: dict[str, Any] = {
            f"{kind}{axis}": values for kind in KINDS for axis, values in getattr(one, kind).items()
        }
        np.savez(folder / f"noise-{position}.npz", **arrays)
    batches = [{name: made.steady[name][number] for name in made.steady} for number in range(len(made.outputs))]
    tensors.save(folder / "steady", batches)
    scores = [{name: ties.scores[number] for name, ties in made.ties.items()} for number in range(len(made.outputs))]
    tensors.save(folder / "scores", scores)
    tensors.save(folder / "cut", made.cut)
    about["ties"] = {name: {"axis": ties.axis, "reach": ties.reach} for name, ties in made.ties.items()}
    about["noise"] = {
        name: {"members": one.members, "largest": one.largest, "fine": one.fine, "unit": one.unit}
        for name, one in made.noise.items()
    }
    tensors.save(folder, made.outputs, notes=made.notes, independent=made.independent, **about)


def kept(folder: Path) -> tuple[Twin, dict[str, Any]]:
    """The twin in a folder, its outputs mapped, and what else was written about it."""
    if (folder / REFUSED).exists():
        return Twin(refused=(folder / REFUSED).read_text("utf-8")), {}
    return _read(folder, (folder / "index.json").stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(folder: Path, changed_ns: int) -> tuple[Twin, dict[str, Any]]:
    """The same again for all the questions that one case asks."""
    del changed_ns  # only part of the memo's key
    outputs, about = tensors.load(folder)
    files = {name: folder / f"noise-{position}.npz" for position, name in enumerate(about["noise"])}
    noise = {name: _noise(files[name], one) for name, one in about["noise"].items()}
    masks, _ = tensors.load(folder / "steady")
    steady = {name: [batch[name] for batch in masks] for name in (masks[0] if masks else ())}
    scores, _ = tensors.load(folder / "scores")
    ties = {name: Ties(scores=[batch[name] for batch in scores], **one) for name, one in about["ties"].items()}
    cut, _ = tensors.load(folder / "cut")
    return Twin(outputs, noise, steady, tuple(about["notes"]), about["independent"], None, ties, cut), about


def noise_rms(folder: Path | None) -> dict[str, float]:
    """What float32 rounding does to every output, as RMS in its unit; none where it is rounded to less, or no twin."""
    noise = kept(folder)[0].noise if folder else {}
    return {name: one.rms() for name, one in noise.items() if one.fine}


def _noise(file: Path, about: Mapping[str, Any]) -> Noise:
    with np.load(file) as arrays:
        parts = {
            kind: {int(name.removeprefix(kind)): arrays[name] for name in arrays.files if name.startswith(kind)}
            for kind in KINDS
        }
    return Noise(
        members=about["members"], largest=about["largest"], fine=about["fine"], unit=about.get("unit", 1.0), **parts
    )
