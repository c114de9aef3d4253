"""Decides on what a case takes: the size of its engine, memory, and how long it takes to be ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.records import Check, Outcome, Plan

MIB = 2**20
MEASURES: Mapping[str, tuple[str, float, str]] = {
    "engine_mib": ("engine_bytes", MIB, "engine"),
    "model_mib": ("model_bytes", MIB, "model"),
    "build_s": ("build_s", 1.0, "build"),
    "device_mib": ("device_mib", 1.0, "GPU's memory"),
    "host_mib": ("host_mib", 1.0, "host's memory"),
    "first_infer_ms": ("first_infer_ms", 1.0, "first inference"),
    "cold_start_ms": ("cold_start_ms", 1.0, "cold start"),
    "cold_load_ms": ("cold_load_ms", 1.0, "cold load"),
    "process_mib": ("process_mib", 1.0, "process's memory"),
}
"""Name of a limit to the measure that it is about, how many of the measure's units make one of its own, and words."""

OF_EVERY_CASE = frozenset({"model_bytes", "cold_start_ms", "cold_load_ms", "process_mib"})
"""Measures that no case is without, save in runs that did not ask for them."""


def judge_resources(plan: Plan, outcome: Outcome) -> Iterator[Check]:
    """A check for each limit of the suite on something that the case has; what could not be measured does not pass.

    A backend that builds no engine has no size of one, a case on the CPU takes no memory of a GPU.
    """
    for name, limit in plan.resources.items():
        measure, unit, _ = MEASURES[name]
        if measure in outcome.measures or measure in OF_EVERY_CASE:
            value = outcome.measures.get(measure)
            yield _check(name, limit, None if value is None else value / unit)


def _check(name: str, limit: float, value: float | None) -> Check:
    told, unit = MEASURES[name][2], name.rpartition("_")[2].replace("mib", "MiB")
    if value is None:
        why = "was not measured" if MEASURES[name][0] in OF_EVERY_CASE else "this machine does not tell it"
        reason = f"{told}: {why}, so the limit of {limit:g} {unit} cannot be checked"
        return Check(f"resource/{name}", "resource", None, name, None, limit, None, ok=False, reason=reason)
    ok = value <= limit
    reason = f"{told} {value:.4g} {unit} {'<=' if ok else '>'} {limit:g} {unit}"
    return Check(f"resource/{name}", "resource", None, name, value, limit, None, ok, reason)
