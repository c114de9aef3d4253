"""What the browser tests share: a page that was opened, screens, a run to open, and dropping a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from builders import check, record, run
from harness.metrics.deviations import deviations
from harness.records import Failure, Fused, Fusion, LayerTime, Profile, Run, Unnamed

WIDE, NARROW = {"width": 1600, "height": 1000}, {"width": 390, "height": 844}


@dataclass
class Opened:
    """A page in the browser, and all that went wrong or left it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    @property
    def fragment(self) -> str:
        return str(self.page.evaluate("decodeURIComponent(location.hash)"))


Open = Callable[..., Opened]


def rich() -> Run:
    """One case with everything that a page of a case can show."""
    layers = (LayerTime("conv", "Conv", 2.0, 0.8, ("conv", "relu")), LayerTime("fc", "Gemm", 0.5, 0.2, ("fc",)))
    now = Profile(layers, 2.5, 20, "gpu")
    fused = tuple(Fused(one.name, one.kind, "fp16", "fp16", "h884", one.nodes, ms=one.ms) for one in layers)
    fusion = Fusion(fused, 4, (Unnamed("constant", 1, ("weight",)),))
    reference = {"logits": np.zeros((2, 3), np.float32), "labels": np.array(["a", "b"])}
    found = {"logits": np.array([[0, 1e-3, 0], [0.5, 1.5e-3, np.nan]], np.float32), "labels": np.array(["a", "c"])}
    one = record(
        "s/rich/tensorrt/fp16/n-1", "regressed", profile=now, baseline_profile=replace(now, total_ms=2.0),
        fusion=fusion, checks=(check(), check("max_abs", 0.2, 0.1, ok=False, reason="0.2 > 0.1; worst element [3]")),
        notes=("a note",), deviations=deviations([reference], [found]),
        error=Failure("crash", "infer", "it broke", "the log"),
    )  # fmt: skip
    return run(one, record("s/plain/tensorrt/fp16/n-1"), record("s/plain/onnxruntime-cpu/fp32/n-1", "failed"))


def drop(page: Any, text: str) -> None:
    """Drop a file on the page, as from a file manager."""
    page.evaluate(
        """(text) => {
          const data = new DataTransfer();
          data.items.add(new File([text], "run.json", { type: "application/json" }));
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        text,
    )
