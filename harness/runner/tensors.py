"""Reference outputs on disk: one .npy a tensor, mapped when read if it is large, an index with names and dtypes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16 and its like with NumPy
import numpy as np
from numpy.typing import NDArray

from harness.codec import parsed
from harness.errors import InputError

Tensor = NDArray[np.generic]
FILE = re.compile(r"[0-9]+-[0-9]+\.npy")
"""Names of the files; others that an index names are not read."""
MAPPED = 1 << 20
"""Bytes of a file from which on it is mapped: small ones are read in half the time."""


def save(folder: Path, batches: Sequence[Mapping[str, Tensor]], **about: Any) -> None:
    """Write the outputs of every batch; `about` goes into the index, which is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    index = [
        {name: _save_one(folder, f"{i}-{j}", value) for j, (name, value) in enumerate(outputs.items())}
        for i, outputs in enumerate(batches)
    ]
    (folder / "index.json").write_text(json.dumps({**about, "batches": index}))


def _read(file: Path) -> Tensor:
    raw: Tensor = np.load(file, mmap_mode="r" if file.stat().st_size >= MAPPED else None, allow_pickle=False)
    return raw


def load(folder: Path, read: Callable[[Path], Tensor] = _read) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
    """The outputs of every batch, and what the index says about them; any error where a file is gone or damaged."""
    about = parsed((folder / "index.json").read_text(), constants=True)
    batches = [
        {name: _load_one(folder, entry, read) for name, entry in outputs.items()} for outputs in about.pop("batches")
    ]
    return batches, about


def load_kept(folder: Path, read: Callable[[Path], Tensor]) -> list[dict[str, Tensor]]:
    """The outputs of every batch in a folder from elsewhere; InputError where a file of them is gone or damaged.

    `read` reads one file: `read_array` of the inputs holds what it claims in bounds.
    """
    try:
        return load(folder, read)[0]
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        words = f"{folder / 'index.json'}: is no index of tensors: {type(error).__name__}: {error}"
        raise InputError(words) from None


def _save_one(folder: Path, stem: str, value: Tensor) -> dict[str, Any]:
    if value.dtype.kind in "OUST":
        return {"strings": value.astype(str).tolist(), "shape": list(value.shape)}
    native = value.dtype.isbuiltin == 1  # NumPy's files know no other types
    raw = value if native else value.view(f"u{value.dtype.itemsize}")
    np.save(folder / f"{stem}.npy", raw, allow_pickle=False)
    return {"file": f"{stem}.npy", "dtype": value.dtype.name}


def _load_one(folder: Path, entry: Mapping[str, Any], read: Callable[[Path], Tensor]) -> Tensor:
    if "strings" in entry:
        return np.array(entry["strings"], dtype=object).reshape(entry["shape"])
    file = folder / entry["file"]
    if not FILE.fullmatch(entry["file"]) or file.is_symlink():
        raise ValueError(f"'{entry['file']}' is no tensor of this folder")
    raw = read(file)
    dtype = np.dtype(str(entry["dtype"]))
    return raw if raw.dtype == dtype else raw.view(dtype)
