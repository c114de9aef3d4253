"""Where converted variants are kept: made once for a model, a recipe and a converter's version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnxruntime

from harness.artefacts import ONNX_NAME
from harness.cache import Cache
from harness.errors import BuildError, CaseError, OutOfMemory, Unsupported
from harness.variants import Variant
from harness.variants.graph import check, save

Made = tuple[Any, tuple[str, ...]]
"""A ModelProto and the notes on it."""
_REFUSALS = ("not supported", "unsupported", "not implemented", "not_implemented")
_NAME = ONNX_NAME.removesuffix(".onnx")
"""Weights beside a model are named after it, and its digest holds their names."""


def kept(precision: str, parts: tuple[str, ...], cache: Cache, make: Callable[[], Made]) -> Variant:
    """The variant for a precision and the `parts` that decide on its content; `make` is called when there is none yet.

    All backends get one and the same file: of two workers that make it the first one's is kept. Raises BuildError,
    Unsupported or OutOfMemory when it cannot be made, CaseError when the disk does not take it.
    """
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    key = {"precision": precision, "parts": parts, "versions": versions}
    found = cache.find("variants", key)
    if found is None:
        with _told(precision):
            model, notes = make()
        try:
            with cache.workplace() as place:
                save(model, place, _NAME)
                with _told(precision):
                    check(place / ONNX_NAME)
                found = cache.keep("variants", key, place / ONNX_NAME, {"notes": notes})
        except OSError as error:
            raise CaseError(
                f"{cache.folder}: the {precision} variant cannot be kept: {error.strerror}; make room, or choose "
                "another folder with --artefacts"
            ) from error
    return Variant(found.path, found.digest, tuple(found.about["notes"]))


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
