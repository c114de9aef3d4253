"""Precisions for which the model's file is built as it is."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant


def unchanged(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Path) -> Variant:  # noqa: ARG001
    """The model itself; the backend's settings make the precision."""
    return Variant(path=fetched.model, digest=fetched.sha256)


def only_from_files(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Path) -> Variant:  # noqa: ARG001
    """Always InputError: there is no conversion to this precision."""
    precision = plan.case.precision
    raise InputError(
        f"{precision} is not made from the model; name a file of your own as `files: {{{precision}: …}}`, "
        f"or leave {precision} out of `precisions`"
    )
