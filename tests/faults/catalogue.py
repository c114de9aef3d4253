"""The list of faults."""

from __future__ import annotations

from faults import disks, ends, worlds
from faults.fault import Fault

FAULTS: tuple[Fault, ...] = (*ends.FAULTS, *disks.FAULTS, *worlds.FAULTS)
