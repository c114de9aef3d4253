"""No rule of axe-core is broken, in either colour scheme, on wide and narrow screens."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from opening import NARROW, WIDE, Open, drop, rich

from builders import every_status
from harness.codec import encode


@pytest.mark.parametrize(("scheme", "viewport"), [("light", NARROW), ("dark", WIDE)], ids=["light-390", "dark-1600"])
@pytest.mark.parametrize("shown", ["overview", "case", "compared"])
def test_axe_finds_no_violation(opened: Open, scheme: str, viewport: dict[str, int], shown: str) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="needs axe: pip install 'trt-harness[browser]'")
    fragment = "#case=s/rich/tensorrt/fp16/n-1" if shown == "case" else ""
    page = opened(rich(), fragment, viewport, color_scheme=scheme).page
    if shown == "compared":
        drop(page, json.dumps(encode(every_status())))
        page.wait_for_selector("#compared-rows tr")
    page.evaluate((files(package) / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"]] == []
