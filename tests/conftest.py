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
    # tests that run in a job of GitHub mark no lines there and add nothing to its summary
    github = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")
    before = {name: os.environ.get(name) for name in (*own, *github)}
    os.environ.update(own)
    for name in github:
        os.environ.pop(name, None)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
