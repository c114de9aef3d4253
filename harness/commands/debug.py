"""`harness debug`: where a failing case went wrong, with a bundle that shows it."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import monotonic, time
from typing import Any

from harness import store, suites
from harness.backends import OF_MODULES, SCRIPTED
from harness.codec import encode
from harness.commands.places import cache_folder, pythons
from harness.errors import HarnessError, UsageError, did_you_mean
from harness.foreign import plain
from harness.judge import judge
from harness.records import DEFAULT_ENVIRONMENT, LatencyPlan, Plan
from harness.report.debug import markdown
from harness.report.format import markdown as markdown_line
from harness.runner.bench import Bench
from harness.runner.client import WorkerFailed
from harness.runner.debug import investigate
from harness.runner.findings import Findings, Slice
from harness.runner.inquiry import Inquiry
from harness.runner.settings import Settings

RELATIVE = ("cosine_min", "sqnr_min_db", "psnr_min_db", "rmse_rel_max")
"""Limits of a case that mean something for a tensor inside it as well."""
UNTIMED = LatencyPlan(enabled=False)


def debug(asked: argparse.Namespace) -> int:
    """Write the bundle and print what was found; exit 0 also when the case turns out to pass."""
    plan = replace(_plan(asked), latency=UNTIMED, builds=1)
    folder = (asked.output or Path("reports") / f"debug-{plan.case.id.replace('/', '-')}").absolute()
    settings = Settings(cache_folder(asked.artefacts), asked.timeout, kept_since=time())
    with tempfile.TemporaryDirectory(prefix="trt-harness-debug-") as scratch, Bench(settings) as bench:
        inquiry = Inquiry(bench, plan, Path(scratch), asked.builds, monotonic() + asked.time, _say)
        found = investigate(inquiry)
        if found is None:
            print(f"{plan.case.id} passes here: there is nothing to look into")
            return 0
        _empty(folder)
        if found.ranking:
            found = replace(found, slice=_slice(inquiry, found, folder, settings))
    text = markdown(found)
    (folder / "debug.md").write_text(text, "utf-8")
    (folder / "README.md").write_text(_readme(found), "utf-8")
    (folder / "debug.json").write_text(json.dumps(encode(found), indent=1) + "\n", "utf-8")
    print(f"{text}\nbundle: {folder}")
    return 0


def _say(text: str) -> None:
    print(f"harness: {text}", file=sys.stderr, flush=True)


def _plan(asked: argparse.Namespace) -> Plan:
    """The plan of the case; UsageError when the suites do not make it or it computes nothing."""
    paths = asked.suites or [Path("suites")]
    if asked.run is not None:
        records = {record.case.id: record for record in store.read_run(asked.run).records}
        if asked.case not in records:
            raise UsageError(f"{asked.run}: holds no case '{asked.case}'{did_you_mean(asked.case, records)}")
        paths = [Path(records[asked.case].case.location.file)]
    plans = {plan.case.id: plan for plan in suites.load(paths, asked.root, pythons(asked.environments))}
    if asked.case not in plans:
        where = ", ".join(map(str, paths))
        raise UsageError(f"{where}: make no case '{asked.case}'{did_you_mean(asked.case, plans)}")
    plan = plans[asked.case]
    if not plan.interpreter.own:
        there = plan.case.moved(DEFAULT_ENVIRONMENT).id
        raise UsageError(
            f"{asked.case}: debug looks into cases of the interpreter that it runs with: install the harness into "
            f"environment '{plan.case.environment}' and run its debug on {there}"
        )
    if plan.case.backend in SCRIPTED:
        raise UsageError(f"{asked.case}: the backend '{plan.case.backend}' follows a script: it has no tensors inside")
    if plan.case.backend in OF_MODULES:
        raise UsageError(
            f"{asked.case}: the backend '{plan.case.backend}' runs the PyTorch model, and debug takes ONNX files apart"
        )
    if plan.excluded is not None:
        raise UsageError(f"{asked.case}: is excluded by its suite: {plan.excluded}")
    return plan


def _empty(folder: Path) -> None:
    """The bundle's folder without what an earlier bundle left in it; UsageError when it holds something else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "debug.json").exists():
        raise UsageError(f"{folder}: holds something that is no bundle of `harness debug`: choose another with -o")
    shutil.rmtree(folder / "slice", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _slice(inquiry: Inquiry, found: Findings, folder: Path, settings: Settings) -> Slice:
    """The part that adds most error, written as a suite of its own and run; with all behind it if alone it is right."""
    alone = _written(inquiry, found, folder / "slice", settings, through=False)
    return alone if alone.shows else _written(inquiry, found, folder / "slice", settings, through=True)


def _written(inquiry: Inquiry, found: Findings, place: Path, settings: Settings, *, through: bool) -> Slice:
    part, plan = found.ranking[0], inquiry.plan
    try:
        written = inquiry.bench.debug(
            plan, "slice", folder=str(inquiry.folder), number=part.probe, tensor=part.tensor,
            inputs=list(part.inputs), batches=list(inquiry.batches), target=str(place), through=through,
        )  # fmt: skip
    except WorkerFailed as lost:
        raise HarnessError(f"{plan.case.id}: {lost.failure.kind} in {lost.failure.stage}: {lost}") from lost
    suite = place / "suite.yaml"
    suite.write_text(_suite(plan, found, place, fp32=written["fp32"]), "utf-8")
    (place / "settings.json").write_text(json.dumps(_settings(found), indent=1) + "\n", "utf-8")
    own = replace(suites.load([suite])[0], latency=UNTIMED)
    with Bench(settings) as bench:  # one of its own: the first slice and the second have the same names
        verdict = judge(own, bench.outcome(own), known=False)
    failed = [check for check in verdict.checks if not check.ok]
    shows = any(check.metric.startswith("twin") for check in failed) if found.yardstick == "twin" else bool(failed)
    return Slice(
        tensor=part.tensor,
        nodes=part.nodes,
        inputs=part.inputs,
        case=own.case.id,
        command=shlex.join(["harness", "run", str(suite)]),
        status="passed" if verdict.status == "new" else verdict.status,
        headline=verdict.headline,
        through=through,
        shows=shows,
    )


def _suite(plan: Plan, found: Findings, place: Path, *, fp32: bool) -> str:
    """A suite of the one case; the fp32 slice is its model and the candidate's slice its variant, where both exist."""
    case = plan.case
    precision = case.precision if fp32 or case.precision == "fp32" else "as-is"
    model: dict[str, Any] = {"name": "slice", "source": "fp32.onnx" if fp32 else "model.onnx"}
    if fp32 and case.precision != "tf32":
        model["files"] = {case.precision: "model.onnx"}
    model |= {"backends": [case.backend], "precisions": [precision], "latency": {"enabled": False}}
    model["inputs"] = {name: {"file": "inputs.npz", "key": name} for name in _arrays(place / "inputs.npz")}
    if limits := {name: value for name, value in plan.limits.items() if name in RELATIVE}:
        model["accuracy"] = limits
    if plan.options:
        model["options"] = {case.backend: dict(plan.options)}
    if plan.fidelity.slack != 1.0:
        model["fidelity"] = {"slack": plan.fidelity.slack}
    lines = [
        f"# the part of {case.id} that makes '{plain(found.ranking[0].tensor)}'",
        "suite: debug",
        "models:",
        "  - name: slice",
    ]
    lines += [f"    {key}: {json.dumps(value)}" for key, value in model.items() if key != "name"]
    return "\n".join(lines) + "\n"


def _arrays(file: Path) -> tuple[str, ...]:
    from harness.inputs.files import keys

    return keys(file)


def _settings(found: Findings) -> dict[str, Any]:
    return {"case": found.case, "backend": found.backend, "precision": found.precision, **encode(found.settings)}


def _readme(found: Findings) -> str:
    """What is in the bundle, and the one command that runs it again."""
    lines = [f"# Why {found.case} fails", "", markdown_line(plain(found.verdict)), ""]
    if found.slice is not None:
        lines += [
            "Run the part around the culprit again, from this folder:", "", "    harness run slice/suite.yaml", "",
            f"When the bundle was made it was {found.slice.status}: {markdown_line(plain(found.slice.headline))}", "",
            "- `slice/model.onnx`: that part of the file that is built; `slice/fp32.onnx`: the same of the model",
            "- `slice/inputs.npz`: what the backend fed it; `slice/candidate.npz`: what came out;",
            "  `slice/twin.npz`: what the file says should come out",
            "- `slice/settings.json`: backend, versions, options",
        ]  # fmt: skip
    lines += ["- `debug.md`: what was found; `debug.json`: all of it", ""]
    return "\n".join(lines)
