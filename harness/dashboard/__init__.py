"""A static site over the runs of a store: `state` reads them, the others work out what a page shows, `site` writes.

Nothing here decides on a run: what is told is what the runs decided, and how it changed over time.
"""

from harness.dashboard.site import write
from harness.dashboard.state import Group, Track, collect

__all__ = ["Group", "Track", "collect", "write"]
