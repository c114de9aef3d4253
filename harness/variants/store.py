"""Where converted variants are kept: made once for a model, a recipe and a converter's version."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from harness.errors import BuildError, CaseError, OutOfMemory, Unsupported
from harness.sources.digest import model_digest
from harness.variants import Variant
from harness.variants.graph import check, save

Made = tuple[Any, tuple[str, ...]]
"""A ModelProto and the notes on it."""
_REFUSALS = ("not supported", "unsupported", "not implemented", "not_implemented")


def kept(precision: str, parts: tuple[str, ...], cache: Path, make: Callable[[], Made]) -> Variant:
    """The variant for a precision and the `parts` that decide on its content; `make` is called when there is none yet.

    Raises BuildError, Unsupported or OutOfMemory when it cannot be made.
    """
    folder = cache / "variants"
    name = _key(precision, parts)
    found = _intact(folder, name)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        with _told(precision):
            made = make()
        _write(folder, name, precision, *made)
        found = _intact(folder, name)
    if found is None:
        raise BuildError(f"{folder / name}.onnx: was changed while it was written; run again")
    return found


def _intact(folder: Path, name: str) -> Variant | None:
    """The kept variant; one whose files are not those that were written is removed, so that it is made again."""
    model, about = folder / f"{name}.onnx", folder / f"{name}.json"
    if not model.is_file():
        return None
    with suppress(CaseError, OSError, ValueError, KeyError, TypeError):
        told = json.loads(about.read_text("utf-8"))
        if model_digest(model) == told["digest"]:
            return Variant(path=model, digest=told["digest"], notes=tuple(told["notes"]))
    for suffix in ("onnx", "data", "json"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    return None


def _key(precision: str, parts: tuple[str, ...]) -> str:
    content = json.dumps([precision, *parts, onnx.__version__, onnxruntime.__version__])
    return hashlib.sha256(content.encode()).hexdigest()[:40]


def _write(folder: Path, name: str, precision: str, model: Any, notes: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        save(model, Path(place), name)
        with _told(precision):
            check(Path(place) / f"{name}.onnx")
        about = {"digest": model_digest(Path(place) / f"{name}.onnx"), "notes": notes}
        (Path(place) / f"{name}.json").write_text(json.dumps(about), "utf-8")
        for suffix in ("json", "data", "onnx"):  # the model comes last: where it stands, all of it is there
            made = Path(place) / f"{name}.{suffix}"
            if made.exists():
                _place(made, folder / made.name)


def _place(made: Path, target: Path) -> None:
    # Of two workers that make the same variant the first one's stays, so that all backends get one and the same file.
    try:
        os.link(made, target)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        made.replace(target)


@contextmanager
def _told(precision: str) -> Iterator[None]:
    """Tells a converter's failure in its own words, as an error of the case."""
    try:
        yield
    except CaseError:
        raise
    except MemoryError:
        raise OutOfMemory(f"host memory ran out while making the {precision} variant") from None
    except Exception as error:
        words = " ".join(str(error).split())
        if isinstance(error, AssertionError) or not words:  # says little without its name
            words = f"{type(error).__name__} {words}".rstrip()
        message = f"cannot make the {precision} variant: {words}; a file of your own can stand under `files`"
        refused = isinstance(error, NotImplementedError) or any(word in words.lower() for word in _REFUSALS)
        raise (Unsupported if refused else BuildError)(message) from error
