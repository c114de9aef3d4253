"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def _locks_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests wait for no other user of this machine, and keep nobody waiting."""
    folder = tmp_path_factory.mktemp("locks")
    before = os.environ.get("TRT_HARNESS_LOCKS")
    os.environ["TRT_HARNESS_LOCKS"] = str(folder)
    yield folder
    if before is None:
        del os.environ["TRT_HARNESS_LOCKS"]
    else:
        os.environ["TRT_HARNESS_LOCKS"] = before
