"""A PyTorch module with its tensors resident on the GPU, run on the harness's stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from harness.backends.base import BuildSpec, Feeds, Part, Step, Tensor
from harness.backends.cuda import Stream
from harness.backends.cuda_health import refuse_without_room
from harness.backends.torch_module import Model
from harness.backends.torch_session import HostSession, translated
from harness.errors import DeviceError, Unsupported


class CudaSession(HostSession):
    """A module on the GPU, whose work runs on a stream of the harness."""

    device = "cuda"

    def __init__(self, model: Model, spec: BuildSpec, dtype: str | None, *, compiled: bool) -> None:
        import torch

        refuse_without_room({"the model's weights": _bytes(model.module, dtype)})
        self._stream = Stream()
        self._held = ExitStack()
        try:
            self._on = torch.cuda.ExternalStream(self._stream.handle)
            set_tf32(allowed=spec.precision == "tf32")
            with torch.cuda.stream(self._on):
                super().__init__(model, spec, dtype, compiled=compiled)
            self._stream.synchronize()
        except BaseException:
            self._stream.free()
            raise

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name, on the host."""
        import torch

        with torch.cuda.stream(self._on):
            return super().infer(feeds)

    def bind(self, feeds: Feeds) -> Step:
        """A step over feeds resident on the GPU, replayed from a CUDA graph or with copies where that is asked for."""
        import torch

        mode = self._spec.mode
        with torch.cuda.stream(self._on), translated():
            resident = self._resident(feeds)
            outputs = self._call(self._run, resident)
            run = self._on_stream(self._repeated(resident))
            if mode.cuda_graph:
                run, outputs = self._captured(resident)
            self._stream.synchronize()
        if not mode.transfers:
            return Step(run, self._stream.handle)
        return self._with_copies(resident, outputs, run)

    def close(self) -> None:
        """Free graphs, module and memory, then the stream."""
        import torch

        with suppress(DeviceError, RuntimeError):  # of a context that is lost, which has been told by then
            self._stream.synchronize()
            self._held.close()
        super().close()
        with suppress(RuntimeError):
            torch.cuda.empty_cache()  # before the stream that the memory belongs to is gone
        self._stream.free()

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "tf32": tf32_allowed()}

    def _once_eagerly(self) -> None:
        import torch

        with torch.cuda.stream(self._on):
            super()._once_eagerly()
            self._stream.synchronize()

    def _on_stream(self, repeat: Callable[[int], None]) -> Callable[[int], None]:
        import torch

        def run(count: int) -> None:
            with torch.cuda.stream(self._on):
                repeat(count)

        return run

    def _captured(self, resident: Mapping[str, Any]) -> tuple[Callable[[int], None], list[Any]]:
        """The work as a CUDA graph, and the outputs that it writes to; Unsupported where it cannot be captured."""
        import torch

        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._on, capture_error_mode="thread_local"):
                outputs = self._call(self._run, resident)
        except RuntimeError as error:
            raise Unsupported(f"latency.cuda_graph: the work cannot be captured into a CUDA graph: {error}") from error
        self._held.callback(graph.reset)

        def replay(count: int) -> None:
            for _ in range(count):
                graph.replay()

        return self._on_stream(replay), outputs

    def _with_copies(self, resident: Mapping[str, Any], outputs: Sequence[Any], run: Callable[[int], None]) -> Step:
        """A step whose inputs come from, and whose outputs go to, pinned memory of the host.

        Eager outputs lie elsewhere in every iteration: those of the first stand for them, of the same sizes.
        """
        import torch

        sources = {name: one.cpu().pin_memory() for name, one in resident.items()}
        targets = [torch.empty(one.shape, dtype=one.dtype, pin_memory=True) for one in outputs]

        def copy_in(count: int) -> None:  # noqa: ARG001
            for name, one in resident.items():
                one.copy_(sources[name], non_blocking=True)

        def copy_out(count: int) -> None:  # noqa: ARG001
            for target, one in zip(targets, outputs, strict=True):
                target.copy_(one, non_blocking=True)

        named = (("copy_in", copy_in), ("compute", run), ("copy_out", copy_out))
        parts = tuple(Part(name, self._part(work)) for name, work in named)

        def whole(count: int) -> None:
            for _ in range(count):
                for part in parts:
                    part.run()

        return Step(whole, self._stream.handle, parts=parts)

    def _part(self, work: Callable[[int], None]) -> Callable[[], None]:
        on_stream = self._on_stream(work)
        return lambda: on_stream(1)


def _bytes(module: Any, dtype: str | None) -> int:
    """What the weights of a module take in a type, or in their own."""
    import torch

    size = getattr(torch, dtype).itemsize if dtype else None
    return sum(one.numel() * (size or one.element_size()) for one in (*module.parameters(), *module.buffers()))


def set_tf32(*, allowed: bool) -> None:
    """Whether fp32 products and convolutions may be computed in TF32; PyTorch keeps it for the whole process."""
    import torch

    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def tf32_allowed() -> bool:
    """The setting, as read back."""
    import torch

    return torch.get_float32_matmul_precision() != "highest" and bool(torch.backends.cudnn.allow_tf32)
