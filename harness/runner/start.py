"""How a worker is started with an interpreter, and what it means that it does not start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import harness
from harness.records import Failure, Interpreter

OWN = Interpreter()
"""The interpreter that runs the harness."""
PACKAGES = ("numpy", "onnx", "polygraphy")
NEEDED = f"a worker needs Python 3.11 or later with {', '.join(PACKAGES)}"
FOREIGN = frozenset({"PYTHONPATH", "PYTHONHOME"})
"""Variables that would put packages of one interpreter before those of another."""
_LACKING = re.compile(r"No module named '([A-Za-z0-9_]+)")


def variables_for(interpreter: Interpreter, scratch: Path) -> dict[str, str]:
    """The variables of a worker: it imports the harness that the parent runs, whatever lies in the working folder.

    The parent's, but for one that would switch TF32 off behind the back of a tf32 case. Another interpreter gets the
    harness through a folder that holds nothing else: beside the package there may be a whole site-packages.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "NVIDIA_TF32_OVERRIDE"}
    package = Path(harness.__file__).parent
    if interpreter.own:
        path = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**inherited, "PYTHONPATH": path}
    return {**_without(inherited), "PYTHONPATH": str(_alone(package, scratch / "harness-alone"))}


def _without(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in FOREIGN}


def _alone(package: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    link = folder / package.name
    if not link.is_symlink():
        link.symlink_to(package.resolve(), target_is_directory=True)
    return folder


def not_started(interpreter: Interpreter, failure: Failure) -> Failure:
    """Why an interpreter runs no worker, with what to do about it."""
    if interpreter.own:
        return failure
    said = failure.log.splitlines()[-1:] if failure.kind == "crash" else []
    words = ": ".join([failure.message, *said])
    lacking = _LACKING.search(words)
    packages = dict.fromkeys((*PACKAGES, lacking[1])) if lacking else ()
    cure = f"{interpreter.python} -m pip install {' '.join(packages)}" if packages else NEEDED
    message = f"environment '{interpreter.name}' ({interpreter.python}) runs no worker: {words}; {cure}"
    return replace(failure, message=message)
