"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester", "stores"]


@pytest.fixture(scope="session", autouse=True)
def _places_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests wait for no other user of this machine, keep nobody waiting, and leave no key in the home folder."""
    with pytest.MonkeyPatch.context() as own:
        own.setenv("TRT_HARNESS_LOCKS", str(tmp_path_factory.mktemp("locks")))
        own.setenv("TRT_HARNESS_CACHE_KEY", str(tmp_path_factory.mktemp("state") / "cache.key"))
        # tests that run in a job of GitHub mark no lines there and add nothing to its summary, nor to a store
        for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "HARNESS_STORE"):
            own.delenv(name, raising=False)
        own.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # a thousand processes would compile everything anew
        own.delenv("PYTEST_XDIST_WORKER", raising=False)  # a session that a test starts is no part of this one
        yield
