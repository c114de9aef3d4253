"""The door to the variants: a file of the user's own, or what the precision's function makes."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.digest import model_digest
from harness.sources.inspect import ModelInfo, inspect
from harness.variants import VARIANTS, Variant


def prepare(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Path) -> Variant:
    """The file to build for the plan's precision, kept in `cache`/variants where it had to be converted.

    Raises InputError (no such file, other inputs or outputs), Unsupported (the converter refuses an operator or type),
    BuildError (the conversion failed) or OutOfMemory.
    """
    precision = plan.case.precision
    if precision in plan.files:
        return _own(Path(plan.files[precision]), precision, info)
    variant: Variant = VARIANTS.load(precision)(plan, fetched, info, cache)
    return variant


def _own(file: Path, precision: str, info: ModelInfo) -> Variant:
    own = inspect(file)
    for role, wanted, found in (("inputs", info.inputs, own.inputs), ("outputs", info.outputs, own.outputs)):
        expected = {tensor.name: tensor.dtype for tensor in wanted}
        if expected != {tensor.name: tensor.dtype for tensor in found}:
            told = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in found)
            raise InputError(
                f"{file} (files.{precision}): its {role} are {told}; the model's are "
                f"{', '.join(f'{name} {dtype}' for name, dtype in expected.items())}: a variant keeps names and types"
            )
    return Variant(path=file, digest=model_digest(file), notes=(f"{precision} is the suite's own file {file.name}",))
