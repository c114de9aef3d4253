"""Values of options, as the command line gives them; argparse tells what is wrong."""

from __future__ import annotations

import argparse
from datetime import date


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def count(text: str) -> int:
    """Not one launch, from which nothing follows."""
    if not text.isdigit() or text == "1":
        raise argparse.ArgumentTypeError(f"'{text}' is neither 0 nor a whole number above 1")
    return int(text)


def size(text: str) -> tuple[str, int]:
    """A symbolic dimension and its size."""
    name, _, value = text.partition("=")
    if not (name and value.isdigit() and int(value) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=N with N from 1, for example batch=8")
    return name, int(value)


def shard(text: str) -> tuple[int, int]:
    """Part I of N."""
    number, _, parts = text.partition("/")
    if not (number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N with I from 1 to N, for example 1/3")
    return int(number), int(parts)


def day(text: str) -> str:
    """A date."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no date: write it as 2026-03-31") from None


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return value


def duration(text: str) -> float:
    """Seconds from 90, 90s, 10m or 2h."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    return seconds(text[:-1] if unit else text) * (unit or 1)


def share(text: str) -> float:
    """A share from 0.5% or 0.005; 0 allows nothing."""
    try:
        value = float(f"{text[:-1]}e-2") if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share such as 0.5% or 0.005")
    return value
