"""Defaults merged into a model: mappings by key, lists replaced."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from harness.suites.entries import ModelEntry, Settings
from harness.suites.fields import Choice

E = TypeVar("E", bound=BaseModel)


def with_defaults(model: ModelEntry, defaults: Settings | None) -> ModelEntry:
    """The model with what it leaves open taken from the defaults."""
    if defaults is None:
        return model
    given = {name: getattr(defaults, name) for name in defaults.model_fields_set}
    return model.model_copy(update={name: _merged(value, _own(model, name)) for name, value in given.items()})


_ABSENT = object()


def _own(entry: BaseModel, name: str) -> Any:
    return getattr(entry, name) if name in entry.model_fields_set else _ABSENT


def _merged(base: Any, near: Any) -> Any:
    """`near` over `base`; a choice of another kind replaces the base's, so that no two kinds mix."""
    if near is _ABSENT:
        return base
    if isinstance(base, dict) and isinstance(near, dict):
        return base | {key: _merged(base.get(key, _ABSENT), value) for key, value in near.items()}
    if isinstance(base, BaseModel) and isinstance(near, BaseModel):
        other_kind = isinstance(base, Choice) and isinstance(near, Choice) and base.kind() != near.kind()
        return near if other_kind else _overlaid(base, near)
    return near


def _overlaid(base: E, near: BaseModel) -> E:
    update = {name: _merged(_own(base, name), getattr(near, name)) for name in near.model_fields_set}
    return base.model_copy(update=update)
