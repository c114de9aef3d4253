"""A CUDA graph: work captured from a stream once, launched as often as wanted."""

from __future__ import annotations

from collections.abc import Callable

from harness.backends.cuda import check, runtime
from harness.errors import CaseError, Unsupported


class Graph:
    """What `enqueue` puts on the stream, captured; the work must have run on the stream once before.

    Raises Unsupported where it cannot be captured: it waits for the GPU, or allocates.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        self._stream = stream
        captured = _captured(stream, enqueue)
        try:
            self._graph = check(runtime().cudaGraphInstantiateWithFlags(captured, 0))
        finally:
            runtime().cudaGraphDestroy(captured)

    def launch(self, count: int) -> None:
        """Enqueue the work that many times."""
        for _ in range(count):
            check(runtime().cudaGraphLaunch(self._graph, self._stream))

    def free(self) -> None:
        """Destroy the graph."""
        runtime().cudaGraphExecDestroy(self._graph)


def _captured(stream: int, enqueue: Callable[[], None]) -> object:
    mode = runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    check(runtime().cudaStreamBeginCapture(stream, mode))
    refused: CaseError | None = None
    try:
        enqueue()
    except CaseError as error:
        refused = error
    status, *found = runtime().cudaStreamEndCapture(stream)  # also after a refusal: the stream stays unusable without
    if refused is None and int(status) == 0:
        return found[0]
    words = refused or getattr(status, "name", status)
    raise Unsupported(f"latency.cuda_graph: the work cannot be captured into a CUDA graph: {words}") from refused
