"""How much memory one array may take: what a file or a shape claims is refused with figures before it is taken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from harness.errors import OutOfMemory


def most_bytes() -> int:
    """Half of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_room(what: str, shape: Sequence[int], item_bytes: int) -> None:
    """OutOfMemory where an array of that shape would take more than one may."""
    size = math.prod(shape) * item_bytes
    if size > most_bytes():
        dims = ", ".join(map(str, shape))
        raise OutOfMemory(
            f"{what}: [{dims}] would take {told(size)}, more than half of this machine's {told(2 * most_bytes())}; "
            "use smaller shapes or fewer rows"
        )


def told(size: int) -> str:
    """A number of bytes with the unit that reads best; any size, also one that no float holds."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 10_000:
            return f"{size} {unit}"
        size >>= 10
    return f"{size} EiB" if size < 10_000 else "more bytes than can be counted"
