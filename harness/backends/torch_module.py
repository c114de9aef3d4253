"""PyTorch models: made by a factory or loaded from a .pt2 file, and told apart by their code and weights."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from harness.allowed import permits, permits_name
from harness.errors import CaseError, InputError
from harness.records import Source
from harness.sources.digest import file_digest

EXTRA = "pip install 'trt-harness[torch]'"
SEED = 0
"""Factories that draw their weights draw the same ones in every process."""


def why_no_torch() -> str | None:
    """Why PyTorch cannot be used here, or None."""
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported ({error}): {EXTRA}"
    return None


class Model:
    """A module in evaluation mode on the CPU; `call` gives its outputs in order."""

    def __init__(self, module: Any, digest: str, names: Sequence[str] | None = None) -> None:
        """`names` are those of the arguments that a program takes by name, after those that it takes by place."""
        self.module, self.digest, self._names = module, digest, names

    def arguments(self, feeds: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Feeds in the order of the suite, as the module takes them."""
        if self._names is None:
            return (), dict(feeds)
        by_name = {name: feeds[name] for name in self._names if name in feeds}
        return tuple(value for name, value in feeds.items() if name not in by_name), by_name


def load(source: Source) -> Model:
    """The model of a source that the command line allows; InputError where there is none."""
    _refuse(source)
    if source.kind == "pt2":
        return _program(source)
    try:
        module = _made(source)
    except CaseError:
        raise
    except Exception as error:
        raise InputError(f"{source.path}: the factory failed: {type(error).__name__}: {error}") from error
    return Model(module, module_digest(module, source.path))


def _refuse(source: Source) -> None:
    """The suite was checked where it was read; what is run is asked for once more where it runs."""
    if not (permits_name(source.path) if source.kind == "torch" else permits(source.path)):
        raise InputError(f"{source.path}: is code, which --allow-code does not name")


def _program(source: Source) -> Model:
    import torch

    digest = file_digest(Path(source.path))
    if source.sha256 is not None and digest != source.sha256:
        raise InputError(f"{source.path}: its SHA-256 is {digest}, the suite says {source.sha256}")
    try:
        program = torch.export.load(source.path)
        return Model(program.module(), digest, program.call_spec.in_spec.children_specs[1].context or ())
    except Exception as error:
        raise InputError(f"{source.path}: is no exported program that this PyTorch loads: {error}") from error


def _made(source: Source) -> Any:
    import torch

    factory = _named(source)
    with _seeded():
        module = factory()
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{source.path}: gives a {type(module).__name__}, and must give a torch.nn.Module")
    return module.eval().requires_grad_(requires_grad=False)


def _named(source: Source) -> Any:
    """What a source names; a module that is not installed is looked for in the suite's folder."""
    name, _, attribute = source.path.removeprefix("torch:").partition(":")
    top = name.partition(".")[0]
    if source.beside is not None and top not in sys.modules and find_spec(top) is None:
        sys.path.append(str(Path(source.beside).parent))  # last: nothing there stands for what is installed
    try:
        found = import_module(name)
    except ImportError as error:
        where = "is neither installed nor beside the suite" if find_spec(top) is None else "cannot be imported"
        raise InputError(f"{source.path}: {name} {where} ({error}), with {sys.executable}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{source.path}: {name} has no '{part}'")
        found = getattr(found, part)
    return found


@contextmanager
def _seeded() -> Iterator[None]:
    """The same random numbers whenever this begins; those of others go on as if nothing had been."""
    import torch

    state, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        random.seed(SEED)
        np.random.seed(SEED)
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(legacy)


def module_digest(module: Any, name: str) -> str:
    """SHA-256 over the code that a module is made of and over its weights; PyTorch itself counts by its version."""
    import torch

    found = hashlib.sha256(f"{name}\ntorch {torch.__version__}\n".encode())
    for file in sorted(_files(module, name)):
        found.update(f"{file.name} {file_digest(file)}\n".encode())
    found.update(str(module).encode())  # settings that are no tensors, such as a stride
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for label, tensor in tensors:
        found.update(f"{label} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _files(module: Any, name: str) -> set[Path]:
    """Every loaded file of the packages that the factory and the classes of the module are from."""
    homes = {name.removeprefix("torch:").partition(":")[0], *(type(part).__module__ for part in module.modules())}
    tops = {home.partition(".")[0] for home in homes} - {"torch", "builtins"}
    loaded = [one for label, one in list(sys.modules.items()) if label.partition(".")[0] in tops]
    files = [Path(file) for one in loaded if (file := getattr(one, "__file__", None))]
    return {file for file in files if file.suffix == ".py" and file.exists()}
