"""The limit that would have passed, as a check that failed tells it."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def at_most(value: float) -> str:
    """A limit in few digits that the value does not exceed."""
    return _rounded(value, ROUND_CEILING)


def at_least(value: float) -> str:
    """A limit in few digits that the value reaches."""
    return _rounded(value, ROUND_FLOOR)


def _rounded(value: float, direction: str) -> str:
    return f"{float(Context(prec=5, rounding=direction).create_decimal(Decimal(value))):g}"


def would_pass(**limits: str) -> str:
    """The end of the reason of a check that failed."""
    return f"; would pass at {', '.join(f'{name}: {limit}' for name, limit in limits.items())}"
