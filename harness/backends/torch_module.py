"""PyTorch models: made by a factory or loaded from a .pt2 file, and told apart by their code and weights."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.backends.factories import SEED, called, named, refuse, seeded
from harness.errors import InputError
from harness.records import Source
from harness.sources.digest import file_digest

EXTRA = "pip install 'trt-harness[torch]'"


def why_no_torch() -> str | None:
    """Why PyTorch cannot be used here, or None."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported ({error}): {EXTRA}"
    return None


@dataclass(frozen=True)
class Model:
    """A module in evaluation mode on the CPU."""

    module: Any
    digest: str
    """Of code and weights."""
    weights: str
    """Of these alone."""
    program: Any = None
    """What the module was loaded from, where that was an exported program."""
    names: Sequence[str] | None = None
    """The arguments that a program takes by name, after those that it takes by place."""

    def arguments(self, feeds: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Feeds in the order of the suite, as the module takes them."""
        if self.names is None:
            return (), dict(feeds)
        by_name = {name: feeds[name] for name in self.names if name in feeds}
        return tuple(value for name, value in feeds.items() if name not in by_name), by_name


def load(source: Source) -> Model:
    """The model of a source that the command line allows; InputError where there is none."""
    refuse(source)
    if source.kind == "pt2":
        return _program(source)
    module, digest, weights = _made(source.path, source.beside)
    return Model(copy.deepcopy(module), digest, weights)  # what is done to it is done to a copy


def _program(source: Source) -> Model:
    import torch

    digest = file_digest(Path(source.path))
    if source.sha256 is not None and digest != source.sha256:
        raise InputError(f"{source.path}: its SHA-256 is {digest}, the suite says {source.sha256}")
    try:
        program = torch.export.load(source.path)
        names = program.call_spec.in_spec.children_specs[1].context or ()
        return Model(program.module(), digest, digest, program, names)
    except Exception as error:
        raise InputError(f"{source.path}: is no exported program that this PyTorch loads: {error}") from error


@lru_cache(maxsize=1)
def _made(path: str, beside: str | None) -> tuple[Any, str, str]:
    """The module of a factory, and its digests; a worker calls the factory once for all cases of a model."""
    import torch

    factory = named(path, beside)
    with _repeatable():
        module = called(factory, path)
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{path}: gives a {type(module).__name__}, and must give a torch.nn.Module")
    _check_weights(module, path)
    _detach(module)
    module = module.eval().requires_grad_(requires_grad=False)
    weights = weights_digest(module)
    return module, code_digest(module, path, weights), weights


def _check_weights(module: Any, path: str) -> None:
    """InputError for a weight without values."""
    from torch.nn.parameter import is_lazy

    for label, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor) or tensor.is_meta:
            raise InputError(f"{path}: '{label}' has no values (a lazy module, or one on the device meta): fill it")


def _detach(module: Any) -> None:
    """Cut what was computed from weights (weight norm) off their gradients, with which nothing can be copied."""
    for part in module.modules():
        vars(part).update({label: tensor.detach() for label, tensor in _plain_tensors(part)})


def _plain_tensors(part: Any) -> list[tuple[str, Any]]:
    """The attributes of a module that are tensors and neither parameters nor buffers."""
    import torch

    return [(label, value) for label, value in vars(part).items() if isinstance(value, torch.Tensor)]


@contextmanager
def _repeatable() -> Iterator[None]:
    """The same random numbers and sums whenever this begins; what others draw is as if nothing had been."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of several threads depend on their number
    with seeded(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def weights_digest(module: Any) -> str:
    """SHA-256 over names, types, shapes and values of parameters, buffers and other tensors that a module keeps."""
    import torch

    plain = [(f"{at}.{label}", one) for at, part in module.named_modules() for label, one in _plain_tensors(part)]
    found = hashlib.sha256()
    for label, tensor in (*module.named_parameters(), *module.named_buffers(), *plain):
        found.update(f"{label} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def code_digest(module: Any, name: str, weights: str) -> str:
    """SHA-256 over the code that a module is made of and its weights; PyTorch itself counts by its version."""
    import torch

    lines = [name, weights, f"torch {torch.__version__}", str(module)]  # with settings such as a stride
    for at, part in module.named_modules():
        lines += [f"{at}.{label} {one!r}" for label, one in sorted(vars(part).items()) if isinstance(one, int | float)]
    lines += [f"{file.name} {file_digest(file)}" for file in sorted(_files(module, name))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(module: Any, name: str) -> set[Path]:
    """Every loaded file of the packages that the factory and the classes of the module are from."""
    homes = {name.removeprefix("torch:").partition(":")[0], *(type(part).__module__ for part in module.modules())}
    tops = {home.partition(".")[0] for home in homes} - {"torch", "builtins"}
    loaded = [one for label, one in list(sys.modules.items()) if label.partition(".")[0] in tops]
    files = [Path(file) for one in loaded if (file := getattr(one, "__file__", None))]
    return {file for file in files if file.suffix == ".py" and file.exists()}
