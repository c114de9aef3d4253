"""A backend that follows a script: outputs, latencies, refusals and crashes, for testing suites without a runtime.

The script is a YAML file named in `options.fake.script`; the first entry whose `match` fits the case id counts:

    cases:
      - match: "*/fp16/*"                        # as in the shell; default "*"
        outputs: {logits: {scale: 1.1, add: 0.5, nan_at: 3, drop: true, file: out.npz, key: logits}}
        latency_ms: 1.25                         # or a list that repeats, or {mean: 1.25, sd: 0.02, seed: 1}
        canary_ms: 1.0                           # what fixed work takes on this machine, the default
        takes_s: 0.5                             # for building, at most 60
        crash: {stage: infer, kind: segfault}    # at build, load, infer, time or serve; fake_crashes.py has the kinds
        unsupported: "no kernel for Conv"

Without a script, outputs are random numbers that depend on the inputs alone, so every fake case agrees with a fake
reference. `{measured: [A, B, C]}` in `latency_ms` or
`canary_ms` has one value for each fresh process that times the case; the last counts for all that follow.
"""

from __future__ import annotations

import itertools
import math
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import MEASUREMENT
from harness.backends.base import Artefact, BuildSpec, Feeds, Session, Step, Tensor
from harness.backends.fake_crashes import crash, sicken
from harness.errors import InputError, Unsupported, did_you_mean
from harness.inputs.files import read_array
from harness.records import LayerTime
from harness.sources.inspect import ModelInfo, TensorInfo, inspect

ENTRY = {"match", "outputs", "latency_ms", "canary_ms", "takes_s", "crash", "unsupported"}
MOST_S = 60.0
KINDS: Mapping[str, type] = {"match": str, "outputs": dict, "crash": dict, "unsupported": str}
CHANGES = {"scale", "add", "nan_at", "drop", "file", "key"}


class Fake:
    """Follows the script; needs no runtime and no device."""

    device = "cpu"
    recipe = None

    def why_not(self) -> str | None:
        """It can always build."""
        return None

    def why_not_run(self) -> str | None:
        """It can always run."""
        return None

    def versions(self) -> dict[str, str]:
        """It has no version of its own."""
        return {}

    def probe(self, case: str, options: Mapping[str, Any]) -> None:
        """What the script says of the device."""
        sicken(_entry(case, options))

    def build(self, spec: BuildSpec, folder: Path) -> Artefact:  # noqa: ARG002 - nothing to write
        """The model file itself, unless the script says otherwise."""
        entry = script_entry(spec)
        if "unsupported" in entry:
            raise Unsupported(str(entry["unsupported"]))
        crash(entry, "build")
        with _readable():
            time.sleep(min(MOST_S, max(0.0, float(entry.get("takes_s", 0.0)))))
        return Artefact(spec.model)

    def open(self, artefact: Artefact, spec: BuildSpec) -> Session:
        """A session that follows the script."""
        entry = script_entry(spec)
        crash(entry, "load")
        return FakeSession(inspect(artefact.path), entry, Path(spec.options.get("script", ".")).parent)


class FakeSession:
    """Scripted outputs and latencies."""

    loads_again = False
    overhead_s = 0.0

    def __init__(self, info: ModelInfo, entry: Mapping[str, Any], folder: Path) -> None:
        self._info, self._entry, self._folder = info, entry, folder
        self.attested: Mapping[str, Any] = {"scripted": bool(entry)}

    def infer(self, feeds: Feeds) -> dict[str, Tensor]:
        """Random outputs that depend on the feeds, changed as the script says."""
        crash(self._entry, "infer")
        with _readable():
            return self._outputs(feeds)

    def _outputs(self, feeds: Feeds) -> dict[str, Tensor]:
        seed = zlib.crc32(b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in sorted(feeds)))
        outputs = {info.name: _random(info, self._dimensions(feeds), seed) for info in self._info.outputs}
        for name, change in self._entry.get("outputs", {}).items():
            if name not in outputs:
                raise InputError(f"script: no output '{name}'{did_you_mean(name, outputs)}")
            outputs[name] = self._changed(outputs[name], change)
        return {name: value for name, value in outputs.items() if value is not None}

    def bind(self, feeds: Feeds) -> Step:  # noqa: ARG002 - the script decides how long it takes
        """A step whose clock tells the scripted latencies."""
        with _readable():
            durations = _durations(_measured(self._entry.get("latency_ms", 1.0)))
            canary_ms = _positive(float(_measured(self._entry.get("canary_ms", 1.0))))

        def lap(stage: str) -> float:
            crash(self._entry, stage)
            with _readable():
                return _positive(next(durations))

        timed, served = partial(lap, "time"), partial(lap, "serve")
        return Step(lambda count: None, scripted_ms=timed, scripted_load_ms=served, canary_ms=canary_ms)  # noqa: ARG005

    def fusion(self) -> None:
        """It has no layers."""

    def why_no_profile(self) -> str | None:
        """It has no layers."""
        return "the fake backend computes nothing that has layers"

    def profile(self, feeds: Feeds, iterations: int) -> tuple[LayerTime, ...]:  # noqa: ARG002 - nothing is computed
        """Unsupported: it has no layers."""
        raise Unsupported(str(self.why_no_profile()))

    def close(self) -> None:
        """Nothing is held."""

    def _dimensions(self, feeds: Feeds) -> dict[str, int]:
        return {
            dim: size
            for info in self._info.inputs
            if info.name in feeds
            for dim, size in zip(info.dims or (), feeds[info.name].shape, strict=False)
            if isinstance(dim, str)
        }

    def _beside(self, name: str) -> Path:
        """A file of the script; InputError where it leads out of the script's folder."""
        file = self._folder / name
        if not file.resolve().is_relative_to(self._folder.resolve()):
            raise InputError(f"script: the file '{name}' leaves the folder of the script")
        return file

    def _changed(self, value: Tensor, change: Mapping[str, Any]) -> Any:
        unknown = set(change) - CHANGES
        if unknown:
            name = min(unknown)
            raise InputError(f"script: unknown change '{name}'{did_you_mean(name, CHANGES)}")
        if change.get("drop"):
            return None
        if "file" in change:
            return read_array(self._beside(str(change["file"])), change.get("key"), None)
        dtype = value.dtype
        value = (value * change.get("scale", 1) + change.get("add", 0)).astype(dtype)
        if "nan_at" in change:
            value.ravel()[int(change["nan_at"])] = np.nan
        return value


@contextmanager
def _readable() -> Iterator[None]:
    """A script that cannot be followed is the user's mistake, whatever Python says of it."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise InputError(f"script: cannot be followed: {type(error).__name__}: {error}") from error


def _positive(duration_ms: float) -> float:
    if not 0 < duration_ms < math.inf:
        raise ValueError(f"a latency of {duration_ms} ms")
    return duration_ms


def script_entry(spec: BuildSpec) -> Mapping[str, Any]:
    """The script's entry for a case; empty without a script or a match; InputError for a script that is wrong."""
    return _entry(spec.case, spec.options)


def _entry(case: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    path = options.get("script")
    if path is None:
        return {}
    for entry in _entries(Path(path)):
        if fnmatchcase(case, str(entry.get("match", "*"))):
            return entry
    return {}


def _entries(path: Path) -> list[dict[str, Any]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        script = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError, ValueError, OverflowError, RecursionError, TypeError, KeyError) as error:
        raise InputError(f"{path}: the script cannot be read: {error}") from error
    entries = script.get("cases") if isinstance(script, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: a script has `cases:`, a list of entries")
    for key, value in ((key, value) for entry in entries for key, value in entry.items()):
        if key not in ENTRY:
            raise InputError(f"{path}: unknown key '{key}'{did_you_mean(str(key), ENTRY)}")
        if key in KINDS and not isinstance(value, KINDS[key]):
            raise InputError(f"{path}: {key}: expected {KINDS[key].__name__}, found {value!r:.60}")
    return entries


def _random(info: TensorInfo, dimensions: Mapping[str, int], seed: int) -> Tensor:
    shape = tuple(dim if isinstance(dim, int) else dimensions.get(str(dim), 1) for dim in info.dims or ())
    values = np.random.default_rng([seed, zlib.crc32(info.name.encode())]).normal(size=shape)
    return values.astype(np.dtype(info.dtype))


def _measured(script: Any) -> Any:
    """What the script says for this process, where it tells the processes that time a case apart."""
    if not isinstance(script, dict) or "measured" not in script:
        return script
    number = int(os.environ.get(MEASUREMENT, "1"))
    return script["measured"][min(number, len(script["measured"])) - 1]


def _durations(script: Any) -> Iterator[float]:
    if isinstance(script, list):
        return itertools.cycle(map(float, script))
    if isinstance(script, dict):
        rng = np.random.default_rng(int(script.get("seed", 0)))
        return iter(lambda: float(rng.normal(script["mean"], script.get("sd", 0.0))), None)
    return itertools.repeat(float(script))
