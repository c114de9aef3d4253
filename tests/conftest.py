"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session", autouse=True)
def _places_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests wait for no other user of this machine, keep nobody waiting, and leave no key in the home folder."""
    own = {
        "TRT_HARNESS_LOCKS": str(tmp_path_factory.mktemp("locks")),
        "TRT_HARNESS_CACHE_KEY": str(tmp_path_factory.mktemp("state") / "cache.key"),
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
