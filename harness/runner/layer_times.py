"""The stage `profile`: where the time of one inference went, measured after timing and where that costs little."""

from __future__ import annotations

from harness.backends.base import Session
from harness.errors import CaseError, DeviceError
from harness.records import Fusion, Latency, Plan, Profile
from harness.records.fusion import bounded, timed
from harness.records.profiles import RECORD, shortened
from harness.runner.prepared import Prepared
from harness.runner.stages import Stages

SHARE = 0.2
"""Of what the case has taken so far: profiling may take that much where the suite does not say `always`."""
LONGEST_S = 1.0
FEWEST, MOST = 3, 20
"""Profiled inferences: a median of fewer tells nothing, more than that add nothing."""


def profile(
    plan: Plan, session: Session, prepared: Prepared, latency: Latency | None, stages: Stages, *, gpu: bool
) -> Profile | None:
    """The layers in their order, or why there are none; None where nothing is timed or nobody asked."""
    if latency is None or plan.latency.profile == "never":
        return None
    if reason := session.why_no_profile():
        return Profile(untold=reason)
    spent_s = sum(stages.seconds.values())
    iterations = MOST
    if plan.latency.profile == "auto":
        load_s = stages.seconds.get("load_s", 0.0) if session.loads_again else 0.0
        iterations = affordable(spent_s, load_s, latency.host.p50_ms / 1e3 + session.overhead_s)
    if iterations < FEWEST:
        words = f"it would add more than {SHARE:.0%} to the {spent_s:.2g} s of the case"
        return Profile(untold=f"{words}: `latency: {{profile: always}}` in the suite profiles it all the same")
    clock = "gpu" if gpu else "host"
    with stages("profile", alone=True):
        try:
            layers = session.profile(prepared.feeds.batches[0], iterations)
        except DeviceError:  # nothing that runs on the device after this can be trusted
            raise
        except (CaseError, OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            return Profile(untold=str(error) or type(error).__name__)
    return Profile(layers, sum(layer.ms for layer in layers), iterations, clock)


def kept(fusion: Fusion | None, profile: Profile | None) -> tuple[Fusion | None, Profile | None]:
    """What the record holds of both: layers with their times, and the slowest."""
    times = profile.layers if profile is not None else ()
    return (
        bounded(timed(fusion, times) if times else fusion) if fusion is not None else None,
        shortened(profile, RECORD) if profile is not None else None,
    )


def affordable(spent_s: float, load_s: float, once_s: float) -> int:
    """How many inferences of `once_s` fit after one more load and one that is not counted; MOST at most."""
    left_s = min(SHARE * spent_s, LONGEST_S) - load_s - once_s
    return min(MOST, int(left_s / max(once_s, 1e-6)))
