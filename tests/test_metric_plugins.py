"""Metrics of one's own: entry points of a real distribution, on the path of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.metrics.plugins import GROUP
from harness.store import read_run
from toy import small_model

GOOD = """
import numpy as np
from harness.metrics.base import Metric
def sign_changes(reference, candidate):
    return np.count_nonzero(np.sign(reference) != np.sign(candidate))
def evenness(moments):
    return 1 - float(moments.error)
SIGNS = Metric("sign_changes", "", "lower", sign_changes, of="values")
EVEN = Metric("evenness", "", "higher", evenness, of="moments", on_request=True)
"""
BOTH = ("sign_changes", "evenness")


def distribution(folder: Path, code: str, **entries: str) -> Path:
    """A distribution as an installer leaves it: a module, and metadata beside it."""
    (folder / "my_metrics.py").write_text(code)
    metadata = folder / "my_metrics-1.2.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-metrics\nVersion: 1.2\n")
    lines = (f"{name} = my_metrics:{attribute}" for name, attribute in entries.items())
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    return folder


@pytest.fixture
def harness(tmp_path):
    """The command in a process that finds the distributions in `site`."""
    site = tmp_path / "site"
    site.mkdir()

    def run(*arguments: object, allow: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "TRT_HARNESS_LOCKS": str(tmp_path / "locks")}
        options = [text for name in allow for text in ("--allow-code", name)]
        command = [sys.executable, "-m", "harness", *map(str, arguments), *options]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def suite(folder: Path, limits: str) -> Path:
    (folder / "pyproject.toml").touch()
    small_model(folder / "m.onnx")
    path = folder / "suite.yaml"
    keys = "backends: [fake], reference: {backend: fake}, latency: {enabled: false}"
    path.write_text(f"suite: s\nmodels:\n  - {{name: m, source: m.onnx, {keys}, accuracy: {{{limits}}}}}\n")
    return path


def test_limits_on_metrics_of_ones_own_are_checked_measured_and_judged(tmp_path, harness):
    distribution(tmp_path / "site", GOOD, sign_changes="SIGNS", evenness="EVEN")
    path = suite(tmp_path, "sign_changes_max: 0, evenness_min: 1.5")

    assert harness("check", path, allow=BOTH).returncode == 0
    done = harness("run", path, "-o", tmp_path / "out", "--artefacts", tmp_path / "cache", allow=BOTH)

    assert done.returncode == 1, done.stderr
    (record,) = read_run(tmp_path / "out").records
    checks = {check.name: check for check in record.checks}
    assert checks["y/sign_changes_max"].ok
    assert checks["y/evenness_min"].reason == "evenness 1 < 1.5; would pass at evenness_min: 1"


def test_metrics_on_request_are_not_measured_unasked(tmp_path, harness):
    distribution(tmp_path / "site", GOOD, sign_changes="SIGNS", evenness="EVEN")
    path = suite(tmp_path, "max_abs: 0")
    harness("run", path, "-o", tmp_path / "out", "--artefacts", tmp_path / "cache", allow=BOTH)

    metrics = {m.metric for m in read_run(tmp_path / "out").records[0].measurements}

    assert "sign_changes" in metrics
    assert "evenness" not in metrics


def test_a_metric_that_is_not_installed_is_an_unknown_limit(tmp_path, harness):
    assert "unknown key 'sign_changes_max'" in harness("check", suite(tmp_path, "sign_changes_max: 0")).stderr


def test_the_limits_of_the_wrong_side_are_unknown(tmp_path, harness):
    distribution(tmp_path / "site", GOOD, sign_changes="SIGNS")

    done = harness("check", suite(tmp_path, "sign_changes_min: 0"), allow=["sign_changes"])

    assert "did you mean 'sign_changes_max'?" in done.stderr


def test_a_metric_that_the_command_line_does_not_allow_is_never_imported(tmp_path, harness):
    distribution(tmp_path / "site", "raise SystemExit('imported')", sign_changes="SIGNS")
    path = suite(tmp_path, "max_abs: 0")

    assert harness("run", path, "-o", tmp_path / "out", "--artefacts", tmp_path / "cache").returncode == 0
    done = harness("check", suite(tmp_path, "sign_changes_max: 0"))

    assert done.returncode == 2
    assert "runs only where the command line allows it: --allow-code sign_changes" in done.stderr


def test_a_name_that_no_distribution_brings_is_told(tmp_path, harness):
    distribution(tmp_path / "site", GOOD, sign_changes="SIGNS")

    done = harness("check", suite(tmp_path, "max_abs: 0"), allow=["sing_changes"])

    assert done.returncode == 2
    assert "no installed distribution brings a metric of that name, did you mean 'sign_changes'?" in done.stderr


def test_help_looks_for_no_metrics(tmp_path, harness):
    distribution(tmp_path / "site", "raise SystemExit('imported')", broken="SIGNS")

    assert harness("--help").returncode == 0


PRELUDE = "from harness.metrics.base import Metric\nmeasure = lambda *_: 0.0\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "cannot be loaded: AttributeError"),
        ("MINE = 3", "is int, not a harness.metrics.base.Metric"),
        (PRELUDE + "MINE = Metric('other', '', 'lower', measure)", "calls itself 'other'"),
        (PRELUDE + "MINE = Metric('mine', '', 'smaller', measure)", "is better 'smaller'"),
        (PRELUDE + "MINE = Metric('mine', '', 'lower', measure, of='pieces')", "needs `fold` and `finish`"),
        (PRELUDE + "MINE = Metric('mine', '', 'lower', measure, settings=('topk',))", "has settings"),
    ],
)
def test_a_metric_that_cannot_be_used_is_one_clear_error(tmp_path, harness, code, words):
    distribution(tmp_path / "site", code, mine="MINE")

    done = harness("check", suite(tmp_path, "max_abs: 0"), allow=["mine"])

    assert done.returncode == 2
    assert (
        f"the metric 'mine' of my-metrics 1.2 ({GROUP}, my_metrics:MINE), to be mended or uninstalled, " in done.stderr
    )
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_metric_with_the_name_of_another_is_refused(tmp_path, harness):
    distribution(tmp_path / "site", PRELUDE + "MINE = Metric('cosine', '', 'higher', measure)", cosine="MINE")

    done = harness("check", suite(tmp_path, "max_abs: 0"), allow=["cosine"])

    assert "has the name of another metric or limit" in done.stderr


def test_a_metric_that_fails_is_an_error_of_the_case_that_names_it(tmp_path, harness):
    distribution(tmp_path / "site", PRELUDE + "MINE = Metric('mine', '', 'lower', lambda r, c: 1 / 0)", mine="MINE")

    path = suite(tmp_path, "max_abs: 0")
    harness("run", path, "-o", tmp_path / "out", "--artefacts", tmp_path / "cache", allow=["mine"])

    (record,) = read_run(tmp_path / "out").records
    assert record.error.kind == "input"
    assert record.error.message.startswith("the metric 'mine' of my-metrics 1.2 ")
    assert record.error.message.endswith("failed: ZeroDivisionError: division by zero")


def test_the_example_of_the_documentation_runs_as_it_stands(tmp_path, harness):
    text = (Path(__file__).parents[1] / "docs/extending.md").read_text()
    example = text.partition("```python\n")[2].partition("```")[0]
    distribution(tmp_path / "site", example, sign_changes="SIGN_CHANGES")

    path = suite(tmp_path, "sign_changes_max: 0")
    done = harness("run", path, "-o", tmp_path / "out", "--artefacts", tmp_path / "c", allow=["sign_changes"])

    assert done.returncode == 0, done.stderr
