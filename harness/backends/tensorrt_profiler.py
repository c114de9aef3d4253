"""TensorRT's profiler: the time of each layer of an engine, reported after each inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.backends.inspector import entries
from harness.backends.layer_times import About, layer_times
from harness.backends.tensorrt_fusion import told
from harness.errors import Unsupported
from harness.records import LayerTime


def profile(
    trt: Any, context: Any, enqueue: Callable[[], None], iterations: int, about: Mapping[str, About]
) -> tuple[LayerTime, ...]:
    """The layers of a context that is fed, over so many inferences after one that is not counted.

    TensorRT 8 takes no profiler away again, and with one a context stays slow: it is of no use afterwards.
    `enqueue` makes one inference and waits for it. The times are asked for after each: a context that reports by
    itself would do it while it enqueues. Unsupported when TensorRT reports none.
    """
    listener = _listener(trt)
    context.profiler = listener
    context.enqueue_emits_profile = False
    runs = [_run(context, listener, enqueue) for _ in range(1 + iterations)]
    return layer_times(runs[1:], about)


def _run(context: Any, listener: Any, enqueue: Callable[[], None]) -> dict[str, float]:
    listener.times = {}
    enqueue()
    if not context.report_to_profiler() or not listener.times:
        raise Unsupported("TensorRT reported no times of layers")
    return dict(listener.times)


def _listener(trt: Any) -> Any:
    class Listener(trt.IProfiler):  # type: ignore[misc] # the base comes from the module at hand
        def __init__(self) -> None:
            super().__init__()
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

    return Listener()


def about(text: str) -> dict[str, About]:
    """Layers by name from the engine inspector's JSON: their types and the ONNX nodes that went into them.

    ValueError when it is none.
    """
    return dict(_about(entry) for entry in entries(text))


def _about(entry: Any) -> tuple[str, About]:
    if not isinstance(entry, Mapping):
        return str(entry), About(nodes=told(str(entry), None))
    name = str(entry.get("Name", ""))
    metadata = str(entry["Metadata"] or "") if "Metadata" in entry else None
    return name, About(str(entry.get("LayerType", "")), told(name, metadata))
