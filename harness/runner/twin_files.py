"""A precision twin on disk: its outputs, the noise of every output, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.metrics.fidelity import Noise
from harness.metrics.slices import Array
from harness.runner import REFUSED, tensors
from harness.runner.ties import Ties
from harness.runner.twins import Twin

KINDS = ("spread", "drift", "floor")
NOISE = "noise.f64"
"""The sums of all outputs one after the other: as many small arrays in files of their own take longer to open."""


def keep(folder: Path, made: Twin, **about: Any) -> None:
    """Write a twin to a folder; `about` is kept with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NOISE).open("wb") as stream:
        for values in (sums for one in made.noise.values() for kind in KINDS for sums in getattr(one, kind).values()):
            stream.write(np.ascontiguousarray(values, np.float64).data)
    batches = [{name: made.steady[name][number] for name in made.steady} for number in range(len(made.outputs))]
    tensors.save(folder / "steady", batches)
    scores = [{name: ties.scores[number] for name, ties in made.ties.items()} for number in range(len(made.outputs))]
    tensors.save(folder / "scores", scores)
    tensors.save(folder / "cut", made.cut)
    about["ties"] = {name: {"axis": ties.axis, "reach": ties.reach} for name, ties in made.ties.items()}
    about["noise"] = {
        name: {
            "sizes": {kind: {axis: len(sums) for axis, sums in getattr(one, kind).items()} for kind in KINDS},
            "noise": {"members": one.members, "largest": one.largest, "fine": one.fine, "unit": one.unit},
        }
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
    noise = dict(_noise(np.fromfile(folder / NOISE), about["noise"]))
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


def _noise(values: Array, about: Mapping[str, Any]) -> Iterator[tuple[str, Noise]]:
    start = 0
    for name, one in about.items():
        sums: dict[str, Any] = {kind: {} for kind in KINDS}
        for kind, sizes in one["sizes"].items():
            for axis, size in sizes.items():
                sums[kind][int(axis)] = values[start : start + size]
                start += size
        yield name, Noise(**one["noise"], **sums)
