"""Numbers, times and foreign text in the form that reports show them."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NONE = "–"  # noqa: RUF001 - a dash in place of a number
_MIB = 1024 * 1024
_UNITS = ("_per_s", "_ms", "_mib", "_bytes", "_us", "_s")  # the first that a name ends in


def number(value: float | None) -> str:
    """Four significant digits; shares just below 1 keep the digits that tell them apart."""
    if value is None or not math.isfinite(value):
        return NONE
    if 0.9 <= abs(value) < 1:
        decimals = min(9, max(4, math.ceil(-math.log10(1 - abs(value))) + 1))
        return f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    mantissa, exponent, power = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa


def digits(value: float | None) -> str:
    """Four significant digits with trailing zeros kept, for columns whose header names the unit."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:#.4g}".rstrip(".") if 1e-3 <= abs(value) < 1e5 else number(value)


def milliseconds(value: float | None) -> str:
    """A latency in milliseconds with the unit that reads best."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) < 0.9995:
        return f"{digits(value * 1e3)} µs"
    return f"{digits(value)} ms" if abs(value) < 9999.5 else seconds(value / 1e3)


def seconds(value: float | None) -> str:
    """A duration in seconds with the unit that reads best."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if abs(value) < 119.5:
        return f"{value:.3g} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def change(ratio: float | None) -> str:
    """A ratio as a signed change in percent: 1.031 is "+3.1 %"."""
    if ratio is None or not math.isfinite(ratio):
        return NONE
    percent = (ratio - 1) * 100
    text = f"{percent:+.0f}" if abs(percent) >= 99.5 else f"{percent:+.1f}"
    return "0.0 %" if float(text) == 0 else f"{text} %".replace("-", "−")  # noqa: RUF001 - a typographic minus


def times(ratio: float) -> str:
    """A ratio with as many digits as tell it from 1, and a small one from nothing: "2.00x", "0.996x", "0.0025x"."""
    off = abs(ratio - 1)
    if 0 < off < 0.005:
        return f"{ratio:.{min(9, math.ceil(-math.log10(off)))}f}x"
    return f"{ratio:.3g}x" if ratio < 0.1 else f"{ratio:.2f}x"


def quantity(name: str, value: float | None) -> tuple[str, str]:
    """A measure whose name ends in its unit, as a label and a text: build_s and 31.2 are "build" and "31.2 s"."""
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    label = name.removesuffix(unit).replace("_", " ")
    if value is None:
        return label, NONE
    texts = {
        "_per_s": f"{number(value)}/s",
        "_s": seconds(value),
        "_ms": milliseconds(value),
        "_us": milliseconds(value / 1e3),
        "_mib": f"{number(value)} MiB",
        "_bytes": f"{number(value / _MIB)} MiB" if value >= _MIB else f"{number(value / 1024)} KiB",
        "": number(value),
    }
    return label, texts[unit]


def value_text(value: Any) -> str:
    """Any JSON value as short text."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value_text(item)}" for key, item in value.items()) or NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def moment(text: str) -> str:
    """An ISO 8601 time as minutes in UTC; anything else stays as it is."""
    parsed = time_of(text)
    return parsed.strftime("%Y-%m-%d %H:%M UTC") if parsed else text


def between(started: str, finished: str) -> str:
    """The time from one ISO 8601 time to another."""
    first, last = time_of(started), time_of(finished)
    return seconds((last - first).total_seconds()) if first and last else NONE


def time_of(text: str) -> datetime | None:
    """A time in UTC, which one without an offset is; None for what is none, or lies before the year 1 there."""
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


_SYNTAX = re.compile(r"([\\`*_|~\[\]!])")
_LINKS = re.compile(r"(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)
_NAMES = re.compile(r"@(?=[\w.-])|(?<!&)#(?=\d)|GH-(?=\d)|:(?=[\w+\\-]*[a-z][\w+\\-]*:)", re.IGNORECASE)
"""Mentions, issues and smileys: code hosts look for them in the rendered text, so an entity would not hide them."""


def markdown(text: str) -> str:
    """One line of foreign text that Markdown shows as it is: no markup, no link, no mention, no table cell."""
    escaped = _LINKS.sub(lambda found: f"&#{ord(found[0])};", html.escape(_SYNTAX.sub(r"\\\1", text), quote=False))
    return _NAMES.sub(r"\g<0>&#8203;", escaped)


def excerpt(log: str, lines: int = 60, characters: int = 8000) -> str:
    """The end of a log, where the reason usually stands, and how much was left out."""
    kept = "\n".join(log.rstrip().splitlines()[-lines:])[-characters:]
    left_out = len(log.rstrip()) - len(kept)
    return f"[{left_out} characters before this left out]\n{kept}" if left_out > 0 else kept
