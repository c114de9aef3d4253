"""What the cases of a run share, on however many benches: reference outputs, precision twins and variants."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from harness.backends import TWIN_BACKEND
from harness.codec import encode
from harness.records import Failure, Measurement, ModelFile, Plan, Reference, Source
from harness.runner.scratch import scratch

T = TypeVar("T")


class Once(Generic[T]):
    """Values by key that several threads need: the first that asks makes one, the others wait for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._making: dict[str, Lock] = {}
        self._made: dict[str, T] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value of a key; what `make` raises is the asker's alone, and the next one makes it."""
        with self._lock:
            making = self._making.setdefault(key, Lock())
        with making:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    def known(self, key: str) -> T | None:
        """The value of a key, if it is made."""
        return self._made.get(key)

    def forget(self, key: str) -> None:
        """Let it be made anew."""
        self._made.pop(key, None)


class Shared:
    """Folders of what was computed, or why it could not be."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self.folder = self._held.enter_context(scratch())
        self.references: Once[Path | Failure] = Once()
        self.twins: Once[Path] = Once()
        self.variants: Once[ModelFile | Failure] = Once()
        self.exports: Once[str | Failure] = Once()
        self.export_checks: Once[tuple[Measurement, ...] | Failure] = Once()

    def __enter__(self) -> Self:
        return self

    def forget_failures(self, plan: Plan) -> None:
        """Let what failed for a plan be made anew."""
        own: tuple[tuple[Once[Any], str], ...] = (
            (self.references, reference_key(plan)),
            (self.exports, export_key(plan)),
            (self.export_checks, reference_key(in_fp32(plan))),
        )
        for once, key in own:
            if isinstance(once.known(key), Failure):
                once.forget(key)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def export_key(plan: Plan) -> str:
    """Plans with the same key share an export."""
    return json.dumps(encode((_named(plan.source), plan.exporter)), sort_keys=True)


def _named(source: Source) -> Source:
    """A source as the suite names it: a run has one export of each."""
    return replace(source, made=None)


def in_fp32(plan: Plan) -> Plan:
    """The case of the same model and inputs whose reference and twin an export is compared with."""
    case = replace(plan.case, backend=TWIN_BACKEND, precision="fp32", chain=())
    return replace(plan, case=case, files={}, options={}, reference=Reference(), variant=None, changed=False)


def reference_key(plan: Plan) -> str:
    """Plans with the same key share reference outputs."""
    return _key(*_computed(plan), plan.reference)


def twin_key(plan: Plan) -> str:
    """Plans with the same key share a precision twin: the same variant on the same inputs."""
    return _key(*_computed(plan), plan.case.precision, plan.case.chain, plan.fidelity)


def _computed(plan: Plan) -> tuple[Any, ...]:
    """What reference and twin are both computed from: the model at its shapes, and its inputs."""
    shapes = (plan.dimensions, plan.shapes, plan.profile)
    images = plan.flip and plan.flip.axes  # what mirroring may change is only judged
    return _named(plan.source), plan.files, plan.calibration, shapes, plan.inputs, plan.custom_ops, images


def _key(*parts: Any) -> str:
    return sha256(json.dumps(encode(parts), sort_keys=True).encode()).hexdigest()[:32]
