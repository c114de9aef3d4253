"""What a model file weighs: bytes, bytes when compressed, and how much of its weights is zero."""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from harness.sources.inspect import external_files, identity
from harness.sources.walk import tensors

CHUNK = 2**20
LEVEL = 6
"""Of zlib, whose format zip files and HTTP use as well."""


def model_bytes(model: Path) -> float:
    """Bytes of a file, with those of the weight files beside it."""
    return float(sum(file.stat().st_size for file in _files(model)))


def sizes(model: Path) -> dict[str, float | None]:
    """`model_compressed_bytes` and `weights_zero_share` of an ONNX file.

    Zeros take as much room as other numbers in the file and in memory: what they may win shows when it is compressed,
    and where kernels know the pattern. The share is of stored tensors of two and more axes.
    """
    return dict(_sizes(*identity(model)))


def _files(model: Path) -> list[Path]:
    return [model, *(external_files(model) if model.suffix == ".onnx" else ())]


@lru_cache(maxsize=64)
def _sizes(path: str, *stamp: int) -> dict[str, float | None]:
    del stamp  # only part of the memo's key
    return {
        "model_compressed_bytes": float(sum(_compressed(file) for file in _files(Path(path)))),
        "weights_zero_share": _zeros(Path(path)),
    }


def _compressed(file: Path) -> int:
    """Bytes of a file in zlib's format, never held as a whole."""
    packer, size = zlib.compressobj(LEVEL), 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


def _zeros(model: Path) -> float | None:
    arrays = [numpy_helper.to_array(one) for one in tensors(onnx.load(str(model))) if len(one.dims) > 1]
    total = sum(array.size for array in arrays)
    return 1 - sum(int(np.count_nonzero(array)) for array in arrays) / total if total else None
