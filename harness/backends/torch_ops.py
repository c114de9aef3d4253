"""What PyTorch multiplies, and in which precision: seen while a module runs, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.backends.layers import UNKNOWN, Layer

CONVOLUTIONS = ("convolution", "conv")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "attention", "mkldnn_linear")
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def seen(run: Callable[[], Any], *, tf32: bool) -> list[Layer]:
    """The convolutions and matrix products that PyTorch's dispatcher sends to kernels while `run` runs, in order."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[Layer] = []

    class Seen(TorchDispatchMode):  # type: ignore[misc] # the base comes from the module at hand
        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
            name = function.overloadpacket.__name__
            if kind := _kind(name):
                dtypes = {str(one.dtype).removeprefix("torch.") for one in arguments if isinstance(one, torch.Tensor)}
                storage = PRECISIONS.get(dtypes.pop(), UNKNOWN) if len(dtypes) == 1 else UNKNOWN
                compute = "tf32" if tf32 and storage == "fp32" else storage
                found.append(Layer(f"{name}_{len(found)}", kind, storage, compute))
            return function(*arguments, **(named or {}))

    with Seen():
        run()
    return found


def _kind(name: str) -> str | None:
    plain = name.strip("_")
    if any(plain.endswith(one) or plain.startswith(one) for one in CONVOLUTIONS):
        return "conv"
    return "matmul" if plain in PRODUCTS or "attention" in plain else None
