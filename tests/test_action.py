"""The action and the workflows: a dry run of their steps as GitHub's runner takes them, and what they may do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
ACTIONS = sorted(ROOT.glob(".github/actions/*/action.yml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTION = YAML(typ="safe").load(ROOT / ".github/actions/harness/action.yml")


@dataclass
class Job:
    """A runner that takes the `run` steps of the action in a checkout, and fills in `${{ … }}` before each."""

    checkout: Path
    temporary: Path
    inputs: dict[str, str]
    event: str = "pull_request"
    outcomes: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    def take(self) -> Job:
        known = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
        assert self.inputs.keys() <= known.keys()
        self.inputs = {**known, **self.inputs}
        for step in ACTION["runs"]["steps"]:
            if "run" in step and self.due(step):
                self.step(step)
        return self

    def due(self, step: dict[str, Any]) -> bool:
        condition = step.get("if", "success()")
        condition = condition if "always()" in condition else f"{condition} && success()"
        words = re.sub(r"[a-z_]+(\.[a-z_-]+)+", lambda found: repr(self.value(found[0])), condition)
        words = words.replace("always()", "True").replace("success()", repr("failure" not in self.outcomes.values()))
        return bool(eval(words.replace("&&", " and ").replace("||", " or ")))

    def value(self, name: str) -> str:
        first, *rest = name.split(".")
        if first == "inputs":
            return self.inputs[rest[0]]
        if first == "steps" and rest[1] == "outcome":
            return self.outcomes.get(rest[0], "skipped")
        if first == "steps":
            return self.outputs.get(rest[0], {}).get(rest[2], "")
        return {"github.action_path": str(ROOT / ".github/actions/harness"), "github.event_name": self.event}[name]

    def filled(self, text: str) -> str:
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: self.value(found[1]), text)

    def step(self, step: dict[str, Any]) -> None:
        files = {name: self.temporary / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        files["GITHUB_OUTPUT"].write_text("")
        environment = {
            **os.environ,
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.checkout),
            "RUNNER_TEMP": str(self.temporary),
            "PATH": f"{self.temporary / 'bin'}:{os.environ['PATH']}",
            **{name: str(path) for name, path in files.items()},
            **{name: self.filled(text) for name, text in step.get("env", {}).items()},
        }
        assert step["shell"] == "bash"
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(bash, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False)
        self.log += done.stdout + done.stderr
        self.outcomes[step["id"]] = "failure" if done.returncode else "success"
        told = (line.partition("=") for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        self.outputs[step["id"]] = {**{name: text for name, _, text in told}, "rc": str(done.returncode)}

    @property
    def summary(self) -> str:
        page = self.temporary / "GITHUB_STEP_SUMMARY"
        return page.read_text() if page.exists() else ""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A checkout of the digits alone, and a runner that has `harness` on its PATH."""
    checkout, temporary = tmp_path / "checkout", tmp_path / "temp"
    shutil.copytree(ROOT / "suites/digits", checkout / "suites/digits")
    (checkout / "pyproject.toml").touch()
    (temporary / "bin").mkdir(parents=True)
    program = temporary / "bin/harness"
    program.write_text(f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\nexec "{sys.executable}" -m harness "$@"\n')
    program.chmod(0o755)
    inputs = {
        "suites": "suites/digits",
        "options": '-k "onnxruntime-cpu and fp32 and n-1"',
        "extras": "",
        "artefacts": str(tmp_path / "cache"),
    }
    return Job(checkout, temporary, inputs)


def test_a_run_that_passes_leaves_report_comment_and_summary(job: Job) -> None:
    job.take()

    assert set(job.outcomes.values()) == {"success"}, job.log
    assert job.outputs["run"]["status"] == "0"
    assert "::error" not in job.log
    assert job.summary.startswith("## ✓ Gate passed")
    assert "digits/digits-cnn/onnxruntime-cpu/fp32/n-1" in job.summary
    place = Path(job.outputs["install"]["place"])
    assert (place / "comment.md").read_text().startswith("<!-- trt-harness harness ")
    assert {"run.json", "junit.xml", "cases.csv"} <= {path.name for path in (place / "run").iterdir()}
    assert (place / "harness.html").read_text() == (place / "run/report.html").read_text()
    uploads = [step for step in ACTION["runs"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert [Path(job.filled(step["with"]["path"]).split("\n")[0]).exists() for step in uploads if job.due(step)] == [
        True
    ] * 3


def test_a_run_that_fails_keeps_its_status_marks_the_suite_and_leaves_the_same(job: Job) -> None:
    suite = job.checkout / "suites/digits/digits.yaml"
    suite.write_text(suite.read_text().replace("min: 0.98", "min: 0.9999"))
    line = 1 + next(place for place, text in enumerate(suite.read_text().splitlines()) if "- name: digits-cnn" in text)
    job.take()

    assert job.outcomes == {"install": "success", "run": "failure", "files": "success"}, job.log
    assert (job.outputs["run"]["status"], job.outputs["run"]["rc"]) == ("1", "1")
    assert f"\n::error file=suites/digits/digits.yaml,line={line},title=digits%3A 1 failing case" in job.log
    assert job.summary.startswith("## ✗ Gate failed")
    comment = (Path(job.outputs["install"]["place"]) / "comment.md").read_text()
    assert "### ✗ Gate failed: you must act" in comment
    assert " always -->" in comment.splitlines()[0]


def test_a_suite_that_is_wrong_is_status_2_and_leaves_nothing(job: Job) -> None:
    job.inputs["suites"] = "suites/gone.yaml"
    job.take()
    assert (job.outputs["run"]["status"], job.outcomes["files"]) == ("2", "success")
    assert not (Path(job.outputs["install"]["place"]) / "comment.md").exists()


@pytest.mark.parametrize(
    ("name", "text", "step"),
    [
        ("report-name", "../up", "install"),
        ("report-name", "a--b", "install"),
        ("options", "-k 'not closed", "run"),
        ("suites", "suites/digits; touch made", "run"),
        ("suites", "$(touch made)", "run"),
    ],
)
def test_what_is_no_name_and_no_word_stops_the_job_and_is_not_executed(job: Job, name: str, text: str, step: str):
    job.inputs[name] = text
    job.take()
    assert job.outcomes[step] == "failure"
    assert not (job.checkout / "made").exists()


# --- what they may do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*ACTIONS, *WORKFLOWS], ids=lambda path: str(path.relative_to(ROOT)))
def test_actions_are_pinned_by_digest_and_tell_their_version(path: Path) -> None:
    for line in path.read_text().splitlines():
        if used := re.match(r"\s*(?:- )?uses: (.*)", line):
            assert re.fullmatch(r"\./\S*|[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used[1]), line


@pytest.mark.parametrize("path", [*ACTIONS, *WORKFLOWS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_script_holds_text_that_github_fills_in(path: Path) -> None:
    data = YAML(typ="safe").load(path)
    jobs = [data["runs"]] if "runs" in data else data["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert not [script for script in scripts if "${{" in script]


def test_only_the_workflow_that_runs_no_foreign_code_may_write_and_only_comments() -> None:
    rights = {}
    for path in WORKFLOWS:
        data = YAML(typ="safe").load(path)
        assert "permissions" in data, path
        every = [data["permissions"], *(job.get("permissions", {}) for job in data["jobs"].values())]
        rights[path.name] = {name for one in every for name, right in one.items() if right == "write"}
        if rights[path.name]:
            assert set(data["on"]) == {"workflow_run"}
            uses = [step for job in data["jobs"].values() for step in job["steps"]]
            assert not [step for step in uses if "run" in step or "ref" in step.get("with", {})]
    assert {name: found for name, found in rights.items() if found} == {"comment.yml": {"pull-requests"}}


def test_no_workflow_gives_the_rights_of_the_main_branch_to_the_code_of_a_pull_request() -> None:
    for path in WORKFLOWS:
        assert "pull_request_target" not in YAML(typ="safe").load(path)["on"], path


def test_checkouts_keep_no_token() -> None:
    for path in WORKFLOWS:
        for job in YAML(typ="safe").load(path)["jobs"].values():
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False, path
