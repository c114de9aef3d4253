"""Extension points: a table from name to "module:attribute", loaded on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from harness.errors import UsageError, did_you_mean


class Registry(Mapping[str, str]):
    """Named entries of one kind; `load(name)` imports the one that is asked for and no other."""

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def __getitem__(self, name: str) -> str:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def load(self, name: str) -> Any:
        """The registered object; UsageError names the nearest entry when there is none."""
        if name not in self._table:
            raise UsageError(f"unknown {self.kind} '{name}'{did_you_mean(name, self._table)}")
        module, _, attribute = self._table[name].partition(":")
        return getattr(import_module(module), attribute)
