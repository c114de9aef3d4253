"""The door to the variants: a file of the user's own, or what the precision's function makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.cache import Cache
from harness.errors import InputError
from harness.records import Plan
from harness.records.plans import ENGINE_SUFFIXES
from harness.sources import Fetched
from harness.sources.digest import file_digest, model_digest
from harness.sources.inspect import ModelInfo, TensorInfo, inspect
from harness.variants import VARIANTS, Variant
from harness.variants.chains import MAKES, STEPS, step_of


def prepare(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The file to build for the plan's precision, from the cache where it was converted before.

    One that came with the plan is used as it is, and an engine of the suite's own too. Raises InputError (no such file,
    other inputs or outputs), Unsupported (the converter refuses an operator or type), BuildError (the conversion
    failed) or OutOfMemory.
    """
    precision = plan.case.precision
    if plan.variant is not None:
        return Variant(Path(plan.variant.path), plan.variant.digest, plan.variant.notes)
    if plan.case.chain:
        return _chained(plan, fetched, info, cache)
    if precision in plan.files:
        file = Path(plan.files[precision])
        return _engine(file, precision) if is_engine(file) else _own(file, precision, info)
    variant: Variant = VARIANTS.load(precision)(plan, fetched, info, cache)
    return variant


def _chained(plan: Plan, fetched: Fetched, info: ModelInfo, cache: Cache) -> Variant:
    """The model after every step of the plan's chain, at its precision; always from the source, never from `files`."""
    precision = plan.case.precision
    notes: tuple[str, ...] = ()
    steps = [step_of(text) for text in plan.case.chain]
    for step in steps:
        made: Variant = STEPS.load(step.name)(step, plan, fetched, info, cache)
        fetched, notes = replace(fetched, model=made.path, sha256=made.digest), (*notes, *made.notes)
    if steps[-1].name not in MAKES:
        made = VARIANTS.load(precision)(plan, fetched, info, cache)
    aside = (f"files.{precision} is not used: a chain begins with the source",) if precision in plan.files else ()
    return replace(made, notes=(*notes, *(note for note in made.notes if note not in notes), *aside))


def is_engine(file: Path) -> bool:
    """Whether a file of the suite's own is an engine, by its name."""
    return file.suffix in ENGINE_SUFFIXES


def _engine(file: Path, precision: str) -> Variant:
    return Variant(file, file_digest(file), (f"{precision} is the suite's own engine {file.name}: nothing is built",))


def _own(file: Path, precision: str, info: ModelInfo) -> Variant:
    own = inspect(file)
    wrong = [*_unlike("input", info.inputs, own.inputs), *_unlike("output", info.outputs, own.outputs)]
    if wrong:
        raise InputError(
            f"{file} (files.{precision}): {'; '.join(wrong)}: a variant keeps the model's names, types and ranks"
        )
    return Variant(path=file, digest=model_digest(file), notes=(f"{precision} is the suite's own file {file.name}",))


def _unlike(role: str, wanted: Sequence[TensorInfo], found: Sequence[TensorInfo]) -> Iterator[str]:
    """What a file has otherwise than the model, tensor by tensor."""
    mine, theirs = ({tensor.name: tensor for tensor in side} for side in (found, wanted))
    for name, tensor in theirs.items():
        if name not in mine:
            yield f"it has no {role} {_told(tensor)}"
        elif not _fits(tensor, mine[name], fixed=role == "input"):
            yield f"{role} {_told(mine[name])} is {_told(tensor)} in the model"
    yield from (f"{role} {_told(mine[name])} is none of the model's" for name in mine if name not in theirs)


def _fits(wanted: TensorInfo, found: TensorInfo, *, fixed: bool) -> bool:
    """Whether type and rank are the same where both are known; of inputs also the sizes that both fix."""
    if (wanted.dtype, wanted.kind) != (found.dtype, found.kind):
        return False
    if wanted.dims is None or found.dims is None:
        return True
    pairs = zip(wanted.dims, found.dims, strict=False)
    differ = fixed and any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
    return len(wanted.dims) == len(found.dims) and not differ


def _told(tensor: TensorInfo) -> str:
    dims = "of unknown rank" if tensor.dims is None else f"[{', '.join(str(d or '?') for d in tensor.dims)}]"
    return f"'{tensor.name}' {tensor.dtype} {dims}"
