"""A real browser for the tests of the report: Debian's chromium and playwright; skipped where either is absent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opening import WIDE, Open, Opened

from harness.records import Run
from harness.report import html


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'trt-harness[browser]'")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the report of a run, or its file, from disk; the test fails on any error and any request of the page."""
    seen: list[Opened] = []

    def open_(run: Run | Path, fragment: str = "", viewport: dict[str, int] = WIDE, **options: Any) -> Opened:
        path = run if isinstance(run, Path) else tmp_path / "report.html"
        if isinstance(run, Run):
            path.write_text(html(run), "utf-8")
        page = chromium.new_context(viewport=viewport, **options).new_page()
        one = Opened(page)
        page.on("request", lambda request: one.requests.append(request.url))
        page.on("pageerror", lambda error: one.errors.append(str(error)))
        page.on("console", lambda line: one.errors.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("body[data-ready]")
        seen.append(one)
        return one

    yield open_
    for one in seen:
        outside = [url for url in one.requests if not url.startswith(("file://", "blob:"))]
        one.page.context.close()
        assert (outside, one.errors) == ([], [])
        assert len([url for url in one.requests if url.startswith("file://")]) == 1
