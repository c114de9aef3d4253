"""The frozen records that pass between the stages; `harness.codec` gives them their JSON form.

Suite files become `Plan`s (one per case); a worker turns a plan into an `Outcome`; the judge turns an outcome
into a `Verdict`; case, outcome and verdict make a `Record`; records make a `Run`, which is `run.json`.
"""

from harness.records.duels import Admission, Contestant, Duel, Evidence, Launch
from harness.records.outcomes import PERCENTILES, Digests, Failure, Latency, Measurement, Outcome, Quantiles
from harness.records.plans import (
    AttestationPlan,
    Calibration,
    Case,
    DriftPlan,
    FidelityPlan,
    InputSpec,
    LatencyPlan,
    Limits,
    Location,
    Plan,
    Reference,
    Source,
    Task,
)
from harness.records.profiles import LayerTime, Profile
from harness.records.runs import (
    BLOCKING,
    ERROR_KINDS,
    GATE_ERROR_KINDS,
    PRECISIONS,
    SCHEMA,
    STATUSES,
    Check,
    Environment,
    Gate,
    Gpu,
    Record,
    Run,
    Verdict,
)
from harness.records.screens import Screened, Screening
from harness.records.selftest import Arm, Injection, SelfTest

__all__ = [
    "BLOCKING",
    "ERROR_KINDS",
    "GATE_ERROR_KINDS",
    "PERCENTILES",
    "PRECISIONS",
    "SCHEMA",
    "STATUSES",
    "Admission",
    "Arm",
    "AttestationPlan",
    "Calibration",
    "Case",
    "Check",
    "Contestant",
    "Digests",
    "DriftPlan",
    "Duel",
    "Environment",
    "Evidence",
    "Failure",
    "FidelityPlan",
    "Gate",
    "Gpu",
    "Injection",
    "InputSpec",
    "Latency",
    "LatencyPlan",
    "Launch",
    "LayerTime",
    "Limits",
    "Location",
    "Measurement",
    "Outcome",
    "Plan",
    "Profile",
    "Quantiles",
    "Record",
    "Reference",
    "Run",
    "Screened",
    "Screening",
    "SelfTest",
    "Source",
    "Task",
    "Verdict",
]
