"""What a base installation weighs, and how long the command takes to start: of checkouts, this one by default.

python tests/benchmarks/footprint.py [CHECKOUT …]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

ROUNDS = 25
NOT_OURS = ("pip", "setuptools", "_distutils_hack")
"""Of a bare virtual environment."""


def main(checkouts: list[Path]) -> None:
    """Print a row for each."""
    for checkout in checkouts:
        with tempfile.TemporaryDirectory(prefix="trt-harness-footprint-") as place:
            _tell(checkout, Path(place))


def _tell(checkout: Path, place: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", checkout], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    others = [one for one in packages.iterdir() if not one.name.startswith(NOT_OURS)]
    distributions = sum(1 for one in others if one.suffix == ".dist-info")
    pause_ms, start_ms = _started([python, "-c", "pass"], [place / "bin/harness", "--help"])
    print(f"{checkout}: {distributions} distributions, {sum(map(_mb, others)):.0f} MB, of them harness "
          f"{_mb(packages / 'harness'):.2f} MB; harness --help {start_ms:.0f} ms, python -c pass {pause_ms:.0f} ms: "
          f"{start_ms / pause_ms:.2f} times")  # fmt: skip


def _started(*commands: list[str | Path]) -> list[float]:
    """The median of each, taken in turns, after two that are not counted."""
    took: list[list[float]] = [[] for _ in commands]
    for _ in range(ROUNDS + 2):
        for command, times in zip(commands, took, strict=True):
            begin = perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(perf_counter() - begin)
    return [statistics.median(times[2:]) * 1e3 for times in took]


def _mb(place: Path) -> float:
    """Without compiled code, which is made of the rest."""
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files if one.suffix != ".pyc") / 1e6


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [Path(__file__).parents[2]])
