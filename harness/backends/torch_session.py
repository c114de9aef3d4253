"""A PyTorch module with its tensors on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np

from harness.backends.base import BuildSpec, Feeds, Step, Tensor
from harness.backends.layers import record
from harness.backends.torch_export import leaves
from harness.backends.torch_module import Model
from harness.backends.torch_ops import seen
from harness.errors import BuildError, CaseError, DeviceError, DeviceMemory, HostMemory, InputError, Unsupported
from harness.records import LayerTime

NO_LAYERS = "PyTorch's profiler is not read: profile the case with torch.profiler or Nsight Systems"
MOST_COMPILATIONS = 64
"""Of one function, for as many shapes and sessions; beyond its own 8 PyTorch would run eagerly and say nothing."""


class HostSession:
    """A module on the CPU; outputs in the types of the ONNX model, as all backends give them."""

    loads_again = False
    overhead_s = 0.0
    device = "cpu"

    def __init__(self, model: Model, spec: BuildSpec, dtype: str | None, *, compiled: bool) -> None:
        """`dtype` is what the whole module is converted to; None leaves it as it is."""
        import torch

        self._model, self._spec, self._compiled = model, spec, compiled
        self._dtype = getattr(torch, dtype) if dtype else None
        self._outputs = [name for name in spec.dtypes if name not in _inputs(spec)]
        self._told: dict[str, Any] = {}
        self._fed: dict[str, Any] = {}
        self._kept_threads = torch.get_num_threads()
        torch.set_num_threads(int(spec.options.get("threads", self._kept_threads)))
        module = model.module.to(device=self.device, dtype=self._dtype)
        self._module = _as_in_onnx(module, self._dtype)
        self._run = _compiled(self._module) if compiled else self._module
        self._graphs_before = _graphs() if compiled else (0, 0)

    @property
    def attested(self) -> Mapping[str, Any]:
        """How the precision was made, and in what the module multiplied: seen in one more run of it, not compiled."""
        if self._fed and self._spec.attest and not self._told:
            self._told = {**self._settings(), **record(seen(self._once_eagerly, tf32=self._tf32))}
        return self._told

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Outputs by name, on the host."""
        with translated():
            self._fed = self._resident(feeds)
            found = self._call(self._run, self._fed)
            if self._compiled and _graphs()[0] == self._graphs_before[0]:
                raise Unsupported("torch.compile compiled nothing of this model: it would run as it is")
            if len(found) != len(self._outputs):
                raise InputError(f"the module gives {len(found)} tensors, its export {len(self._outputs)}")
            return {name: _on_host(value) for name, value in zip(self._outputs, found, strict=True)}

    def bind(self, feeds: Feeds) -> Step:
        """A step over these feeds."""
        with translated():
            resident = self._resident(feeds)
            self._call(self._run, resident)
        return Step(self._repeated(resident))

    def fusion(self) -> None:
        """It runs no file whose nodes could be named."""

    def why_no_profile(self) -> str | None:
        """It does not tell."""
        return NO_LAYERS

    def profile(self, feeds: Feeds, iterations: int) -> tuple[LayerTime, ...]:  # noqa: ARG002
        """Always Unsupported."""
        raise Unsupported(NO_LAYERS)

    def close(self) -> None:
        """Free the module, and what was compiled for it."""
        import torch

        torch.set_num_threads(self._kept_threads)
        if self._compiled:
            torch.compiler.reset()
        self._run = self._module = self._model = None  # type: ignore[assignment] # nothing is asked of it any more
        self._fed = {}

    @property
    def _tf32(self) -> bool:
        return self._spec.precision == "tf32"

    def _settings(self) -> dict[str, Any]:
        how = f"module.to({self._dtype})" if self._dtype else "as the module is"
        told: dict[str, Any] = {"precision_by": how, "mode": "compile" if self._compiled else "eager"}
        if not self._compiled:
            return told
        graphs, breaks = (now - before for now, before in zip(_graphs(), self._graphs_before, strict=True))
        return {**told, "graphs": graphs, "graph_breaks": breaks}

    def _once_eagerly(self) -> None:
        self._call(self._module, self._fed)

    def _resident(self, feeds: Feeds) -> dict[str, Any]:
        """Copies of the feeds where the module is."""
        import torch

        return {name: torch.from_numpy(np.array(value)).to(self.device) for name, value in feeds.items()}

    def _call(self, run: Any, resident: Mapping[str, Any]) -> list[Any]:
        import torch

        arguments, named = self._model.arguments(resident)
        with torch.inference_mode():
            return leaves(run(*arguments, **named))

    def _repeated(self, resident: Mapping[str, Any]) -> Callable[[int], None]:
        import torch

        arguments, named = self._model.arguments(resident)

        def repeat(count: int) -> None:
            with torch.inference_mode():
                for _ in range(count):
                    self._run(*arguments, **named)

        return repeat


@contextmanager
def translated() -> Iterator[None]:
    """PyTorch's errors as the harness's."""
    try:
        yield
    except Exception as error:
        raise translate(error) from error


def translate(error: Exception) -> CaseError:
    """The harness's error for one of PyTorch's, which has classes for the memory of a GPU and for its errors."""
    import torch

    if isinstance(error, CaseError):
        return error
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, torch.OutOfMemoryError):
        return DeviceMemory(words)
    if isinstance(error, MemoryError) or "can't allocate memory" in words:
        return HostMemory(words)
    if "CUDA error" in words or "CUDA driver error" in words:
        return DeviceError(words)
    if isinstance(error, NotImplementedError) or "not implemented for" in words:
        return Unsupported(words)
    return BuildError(words)


def _on_host(value: Any) -> Tensor:
    """A copy, since a module may give what it keeps."""
    import torch

    held = value.detach().cpu().contiguous()
    if held.dtype == torch.bfloat16:  # NumPy has no such type of its own
        return np.array(held.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.array(held.numpy())


def _as_in_onnx(module: Any, dtype: Any) -> Any:
    """The module with inputs and outputs in float32 where it is converted, as precision variants of ONNX files have."""
    import torch

    if dtype is None:
        return module

    class Kept(torch.nn.Module):  # type: ignore[misc] # the base comes from the module at hand
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *arguments: Any, **named: Any) -> list[Any]:
            given = [_cast(one, torch.float32, dtype) for one in arguments]
            by_name = {name: _cast(one, torch.float32, dtype) for name, one in named.items()}
            return [_cast(one, dtype, torch.float32) for one in leaves(self.inner(*given, **by_name))]

    return Kept()


def _cast(tensor: Any, source: Any, target: Any) -> Any:
    return tensor.to(target) if tensor.dtype == source else tensor


def _inputs(spec: BuildSpec) -> Mapping[str, Any]:
    return spec.source.export.inputs if spec.source and spec.source.export else {}


def _compiled(module: Any) -> Any:
    """The module compiled for each shape that it meets, so that a second one makes the first no slower."""
    import torch
    from torch._dynamo import config

    for limit in ("recompile_limit", "cache_size_limit"):
        if hasattr(config, limit):
            setattr(config, limit, MOST_COMPILATIONS)
            break
    return torch.compile(module, dynamic=False)


def _graphs() -> tuple[int, int]:
    """How many graphs torch.compile made in this process, and how often Python had to go on by itself."""
    from torch._dynamo.utils import counters

    return int(counters["stats"].get("unique_graphs", 0)), sum(counters["graph_break"].values())
