"""What a case takes from nothing: a process of its own starts, loads the model, infers once and ends.

Python, the runtime's libraries and the files of the model come from the disk's cache, where the case left them; the
engine is built before. Loading inputs is not in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import stats
from harness.backends import BACKENDS
from harness.backends.base import Artefact, BuildSpec, Feeds
from harness.codec import encode
from harness.runner import tensors

MEASURES = ("cold_start_ms", "cold_load_ms", "process_mib")
"""What is measured where a limit is set on one of them: from the start of the process on, from loading the runtime on,
and the peak of its resident memory."""
STARTS = 3
"""Processes, of which the median is told: one may be disturbed."""
_KEPT = frozenset({"model", "mode", "source"})


@dataclass(frozen=True)
class Fresh:
    """What fresh processes took, and why one of them came to no end."""

    measures: Mapping[str, float | None]
    notes: tuple[str, ...] = ()


def fresh(backend: str, artefact: Artefact, spec: BuildSpec, feeds: Feeds, scratch: Path) -> Fresh:
    """The medians of several processes; None of all where one fails."""
    with TemporaryDirectory(dir=scratch) as folder:
        tensors.save(Path(folder), [feeds])
        asked = json.dumps(_asked(backend, artefact, spec, folder))
        found: list[Mapping[str, float]] = []
        for _ in range(STARTS):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__], input=asked, capture_output=True, text=True, check=False
            )
            if done.returncode:
                said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
                note = f"resources: a fresh process does not get to its first inference: {said}"
                return Fresh(dict.fromkeys(MEASURES), (note,))
            found.append(_taken(began, json.loads(_last_answer(done.stdout))))
    return Fresh({name: stats.median(sorted(one[name] for one in found)) for name in MEASURES})


def _last_answer(printed: str) -> str:
    """The line of ours among what a runtime may print."""
    return next(line for line in reversed(printed.splitlines()) if line.startswith("{"))


def _asked(backend: str, artefact: Artefact, spec: BuildSpec, folder: str) -> dict[str, Any]:
    plain = {name: encode(value) for name, value in vars(spec).items() if name not in _KEPT}
    files = {"model": str(spec.model), "artefact": str(artefact.path), "digest": artefact.digest}
    return {"backend": backend, **files, "source": encode(spec.source), "spec": plain, "feeds": folder}


def _taken(began: float, told: Mapping[str, float]) -> dict[str, float]:
    """The clock is the machine's, so it is one and the same in all processes."""
    reading_s = told["ready"] - told["reading"]
    start_ms, load_ms = ((told["done"] - since) * 1e3 for since in (began + reading_s, told["ready"]))
    return dict(zip(MEASURES, (start_ms, load_ms, told["peak_mib"]), strict=True))


def main() -> None:
    """In the process: do what standard input asks for, and print at which moments."""
    asked = json.load(sys.stdin)
    backend = BACKENDS.load(asked["backend"])()
    spec = _spec(asked)
    reading = time.monotonic()
    (feeds,), _ = tensors.load(Path(asked["feeds"]))
    ready = time.monotonic()
    session = backend.open(Artefact(Path(asked["artefact"]), asked["digest"]), spec)
    session.infer(feeds)
    done = time.monotonic()
    peak_kib = next(line.split()[1] for line in _status() if line.startswith("VmHWM:"))
    session.close()
    told = {"reading": reading, "ready": ready, "done": done, "peak_mib": int(peak_kib) / 1024}
    print(f"\n{json.dumps(told)}")  # a runtime may have left a line without an end


def _spec(asked: Mapping[str, Any]) -> BuildSpec:
    from harness.codec import decode
    from harness.records import Source

    source = None if asked["source"] is None else decode(Source, asked["source"])
    ranges = {name: tuple(map(tuple, three)) for name, three in asked["spec"]["profile"].items()}
    given: dict[str, Any] = {**asked["spec"], "profile": ranges, "attest": False}
    return BuildSpec(model=Path(asked["model"]), source=source, **given)


def _status() -> list[str]:
    return Path("/proc/self/status").read_text("ascii", "replace").splitlines()


if __name__ == "__main__":
    main()
