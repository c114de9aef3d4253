"""Whether the device that a case failed on still does what it is told; a sick one ends the run."""

from __future__ import annotations

from harness.backends import ON_GPU
from harness.codec import encode
from harness.errors import HarnessError
from harness.judge import first_line
from harness.records import Failure, Plan
from harness.runner.client import WorkerFailed, WorkerProcess

PROBES = 2
PROBE_S = 60.0
"""What a probe may take: what is done is done in less than a second, the rest is the making of a context."""
SUSPICIOUS = frozenset({"device"})
SUSPICIOUS_ON_GPU = frozenset({"device", "crash", "timeout"})
"""After such a failure the device is probed; a process can crash or hang because its device does."""


class SickDevice(HarnessError):
    """A device that fails its probe: the run stops, because every further case would fail on it (exit 3)."""


def check_device(plan: Plan, failure: Failure, worker: WorkerProcess) -> None:
    """Probe the device of a failed case where the failure may be its; SickDevice when it fails in two fresh workers."""
    backend = plan.reference.backend if of_reference(failure) else plan.case.backend
    if failure.kind not in (SUSPICIOUS_ON_GPU if backend in ON_GPU else SUSPICIOUS):
        return
    said = ""
    for attempt in range(1, PROBES + 1):
        try:
            worker.request(
                "probe", limit_s=PROBE_S, name=backend, case=plan.case.id, options=encode(plan.options), attempt=attempt
            )
        except WorkerFailed as lost:
            if lost.failure.kind == "out-of-memory":  # it is full, and works
                return
            said = f"{lost.failure.kind} in {lost.failure.stage}: {first_line(lost.failure.message)}"
        else:
            return
    raise SickDevice(
        f"the device is sick: after {failure.kind} in {failure.stage} of {plan.case.id}, {PROBES} probes in fresh "
        f"processes failed: {said}. The run stops, what was measured is kept. Look at `dmesg` (Xid) and "
        "`nvidia-smi -q`, reset the GPU or restart the machine"
    )


def of_reference(failure: Failure) -> bool:
    """Whether it was the reference that failed, which may be another backend's."""
    return failure.stage.startswith("reference ")
