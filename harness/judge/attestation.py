"""Attestation: did the precision that was asked for run? Decided on what the record holds of settings and layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.records import Check, Outcome, Plan

GPU_BACKENDS = (
    *("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx"),
    *("pytorch-cuda", "pytorch-compiled-cuda"),
)
CPU_BACKENDS = ("onnxruntime-cpu", "pytorch-cpu", "pytorch-compiled-cpu")
REDUCED = ("fp16", "bf16", "int8", "fp8")
"""Precisions of which something must be seen; fp32 and tf32 only must not have run in less."""
FLOATS = ("fp32", "tf32", "bf16", "fp16")
UNKNOWN = "unknown"
WHAT = "convolutions and matrix products"
FREE = "`attestation: {min_share: 0}` in the suite lets a runtime choose"
KEEP = "`options: {tensorrt: {precision_constraints: obey}}` makes TensorRT keep the file's types"
ADVICE = "profile the case to see its kernels, or go without this proof: `attestation: {unknown: pass}` in the suite"


TOLD = frozenset(("layers", "network", "tf32", "allowed", "untold"))
"""Keys of which a record has one where the backend told anything of what it may do or did."""


def judge_attestation(plan: Plan, outcome: Outcome) -> list[Check]:
    """Checks on what a GPU backend was allowed and what it ran; of a CPU provider only what was seen is told.

    None at precision as-is, which asks for nothing, and for backends that run no model.
    """
    asked, told = plan.case.precision, outcome.attested
    if plan.case.backend in CPU_BACKENDS:
        return [_as_it_can(asked, told)]
    if plan.case.backend not in GPU_BACKENDS or asked == "as-is":
        return []
    layers = _reduced(plan, told) if asked in REDUCED else _whole(plan, told)
    return [*_settings(asked, told), layers]


def _settings(asked: str, told: Mapping[str, Any]) -> list[Check]:
    """What was switched on and off, where that decides; the record holds it as read back."""
    allowed, tf32 = tuple(told.get("allowed", ())), told.get("tf32")
    weak = told.get("typing") == "weak" and "allowed" in told
    wrong = {
        f"the builder was not allowed {asked}: its flag is off": weak and asked in REDUCED and asked not in allowed,
        f"the builder was allowed {', '.join(allowed)}": asked not in REDUCED and bool(allowed),
        "TF32 is on: switch it off, or ask for tf32": asked == "fp32" and tf32 is True,
        "TF32 is off, so that tf32 cannot have run": asked == "tf32" and tf32 is False,
    }
    if not weak and (asked in REDUCED or tf32 is None):
        return []
    found = [reason for reason, holds in wrong.items() if holds]
    switch = "unknown" if tf32 is None else "on" if tf32 else "off"
    fine = f"{', '.join(allowed) or 'no shorter precision'} allowed, TF32 {switch}"
    return [_check("settings", None, None, not found, f"{asked} was asked for: {'; '.join(found) or fine}")]


def _whole(plan: Plan, told: Mapping[str, Any]) -> Check:
    """fp32 and tf32: no layer may have run in less than its file holds; one that does not tell is no evidence of it."""
    asked, (ran, source) = plan.case.precision, _evidence(told)
    fine = {UNKNOWN, "fp32", asked, *_held(plan, told)}
    less = sum(count for precision, count in ran.items() if precision not in fine)
    if not ran:
        words = _untold(told) or f"there are no {WHAT}"
        told_of = bool(TOLD & told.keys())  # a record without a word about what ran is no evidence
        return _check("layers", None, None, told_of, f"{words}: nothing is known to have run in less than {asked}")
    reason = f"{asked} was asked for, and {less or 'none'} of {ran.total()} {WHAT} ran in less: {_words(ran)}{source}"
    return _check("layers", 1 - less / ran.total(), 1.0, less == 0, reason)


def _held(plan: Plan, told: Mapping[str, Any]) -> set[str]:
    """Precisions that the file itself holds, where the record tells: as it is unchanged, they are what it asks for."""
    name = "network" if "network" in told else "layers" if plan.case.backend.startswith("onnxruntime") else ""
    return {str(group.get("storage", UNKNOWN)) for group in _groups(told, name)}


def _as_it_can(asked: str, told: Mapping[str, Any]) -> Check:
    """A CPU provider computes in what it has kernels for; the record says in what."""
    ran = _counts(told)
    seen = f"{_words(ran)}, from values stored in {_words(_stored(told))}" if ran else _untold(told) or f"no {WHAT}"
    return _check("layers", None, None, True, f"{asked} was asked for; a CPU computes in what it can: {seen}")


def _reduced(plan: Plan, told: Mapping[str, Any]) -> Check:
    """fp16, bf16, int8 and fp8: some layer must have run in it, or as many as the suite says; with 0 it may be none."""
    asked, limit = plan.case.precision, plan.attestation.min_share
    ran, source = _evidence(told)
    hidden, lenient = ran[UNKNOWN], plan.attestation.unknown == "pass"
    if "layers" in told and not ran:
        return _check("layers", None, limit, True, f"there are no {WHAT}: nothing to run in {asked}")
    reason = f"{asked} was asked for; {ran[asked] or 'none'} of {ran.total()} {WHAT} ran in it: {_words(ran)}{source}"
    known = ran.total() - hidden
    if not ran or (hidden and not ran[asked] and not (lenient and known)):
        reason = f"{asked} was asked for, but {_untold(told) or f'in what {hidden} {WHAT} ran is not told'}"
        reason += f" ({_words(ran)})" if known else ""
        ok = lenient or limit == 0
        return _check("layers", None, limit, ok, reason if ok else f"{reason}; {ADVICE}")
    share = ran[asked] / (known if lenient else ran.total())
    ok = share >= limit if limit is not None else share > 0
    simulated = _simulated(asked, told)
    if not ok and simulated and limit is None:
        words = f"{simulated} have {asked} values and multiply them in floats, which is all that this provider has"
        return _check("layers", share, limit, True, f"{reason}; {words}")
    told_limit = f" (at least {limit:.0%})" if limit is not None else ""
    return _check("layers", share, limit, ok, reason + told_limit + ("" if ok else f"; {_ways_out(plan, told)}"))


def _ways_out(plan: Plan, told: Mapping[str, Any]) -> str:
    """What a user can do where a runtime was allowed the precision and took another one."""
    asked = plan.case.precision
    weak = plan.case.backend == "tensorrt" and asked in told.get("allowed", ())  # strong typing needs no allowing
    if weak and asked in ("fp16", "bf16") and told.get("precision_constraints") != "obey":
        return f"the builder takes what is faster: {KEEP}, {FREE}"
    return FREE


def _evidence(told: Mapping[str, Any]) -> tuple[Counter[str], str]:
    """What ran; where a runtime hides all of it, the types that a strongly typed network makes it keep."""
    ran = _counts(told)
    typed: Counter[str] = Counter()
    for group in _groups(told, "network"):
        typed[_precision(group, told.get("tf32"))] += int(group["count"])
    if typed and ran.total() == ran[UNKNOWN]:
        return typed, " (the types of the network, which strong typing keeps; the engine does not tell)"
    return ran, ""


def _counts(told: Mapping[str, Any]) -> Counter[str]:
    """Layers by what they multiplied in; an opaque region speaks only where there is nothing but such."""
    groups = list(_groups(told, "layers"))
    products = any(group.get("kind") != "fused" for group in groups)
    ran: Counter[str] = Counter()
    for group in groups:
        hides = products and group.get("kind") == "fused"
        ran[UNKNOWN if hides else _precision(group, told.get("tf32"))] += int(group["count"])
    return ran


def _precision(group: Mapping[str, Any], tf32: bool | None) -> str:
    """What a group multiplied in; where no kernel tells, what it reads is the evidence.

    fp32 values may be multiplied as TF32 where that is allowed, and an opaque region may convert them inside.
    """
    compute, storage = str(group.get("compute", UNKNOWN)), str(group.get("storage", UNKNOWN))
    if compute != UNKNOWN or storage != "fp32":
        return storage if compute == UNKNOWN else compute
    return "fp32" if tf32 is False and group.get("kind") != "fused" else UNKNOWN


def _stored(told: Mapping[str, Any]) -> Counter[str]:
    stored: Counter[str] = Counter()
    for group in _groups(told, "layers"):
        stored[str(group.get("storage", UNKNOWN))] += int(group["count"])
    return stored


def _simulated(asked: str, told: Mapping[str, Any]) -> int:
    """Layers between Q/DQ pairs: values in the precision asked for, products in floats."""
    if asked not in ("int8", "fp8"):
        return 0
    return sum(
        int(group["count"])
        for group in _groups(told, "layers")
        if group.get("storage") == asked and group.get("compute") in FLOATS
    )


def _groups(told: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    groups = told.get(name)
    return [group for group in groups if isinstance(group, Mapping)] if isinstance(groups, list | tuple) else []


def _untold(told: Mapping[str, Any]) -> str:
    """Why the record tells nothing of layers; empty where it does."""
    if "untold" in told:
        return str(told["untold"])
    return "" if "layers" in told else "the record holds no layers: run the case again"


def _words(ran: Counter[str]) -> str:
    return ", ".join(f"{count} in {precision}" for precision, count in ran.most_common()) or "none"


def _check(name: str, value: float | None, limit: float | None, ok: bool, reason: str) -> Check:
    return Check(f"attestation/{name}", "attestation", None, f"executed_{name}", value, limit, None, ok, reason)
