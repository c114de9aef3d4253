"""`environments:` of a suite: names, interpreters, and what they make of cases."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from harness.allowed import VARIABLE
from harness.errors import SuiteError, UsageError
from harness.records import Interpreter, Plan
from harness.suites import load
from toy import fake_suite, harness


@pytest.fixture(autouse=True)
def _allowed(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, shlex.join([sys.executable, str(tmp_path / "python")]))


def suite(folder: Path, environments: str, backends: str = "fake@old", more: str = "") -> Path:
    (folder / "pyproject.toml").touch()
    (folder / "m.onnx").touch()
    path = folder / "s.yaml"
    model = f"  - {{name: m, source: m.onnx, backends: [{backends}]{', ' if more else ''}{more}}}\n"
    path.write_text(f"suite: s\nenvironments: {environments}\nmodels:\n{model}")
    return path


def told(path: Path) -> list[str]:
    with pytest.raises(SuiteError) as caught:
        load([path])
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def only(path: Path, **pythons: str) -> Plan:
    (plan,) = load([path], None, pythons)
    return plan


def test_the_environment_stands_behind_the_backend_in_the_id_and_is_no_part_of_the_backend(tmp_path):
    plan = only(suite(tmp_path, f"{{old: {{python: {sys.executable}}}}}", more="options: {fake: {}}"))

    assert plan.case.id == "s/m/fake@old/fp32/static"
    assert (plan.case.backend, plan.case.environment, plan.case.runs_on) == ("fake", "old", "fake@old")
    assert plan.interpreter == Interpreter("old", sys.executable)
    assert plan.case.moved("default").id == "s/m/fake/fp32/static"
    assert plan.case.moved("new").id == "s/m/fake@new/fp32/static"


def test_a_path_is_relative_to_the_suite_or_to_home_may_leave_the_root_and_stays_a_link(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setenv("HOME", str(tmp_path))

    for text in ("../python", "~/python", tmp_path / "python"):
        plan = only(suite(root, f"{{old: {{python: {text}}}}}"))
        assert plan.interpreter.python == str(tmp_path / "python")


def test_a_plain_backend_runs_in_the_interpreter_of_the_harness_which_can_be_timed_against_another(tmp_path):
    plan = only(suite(tmp_path, "{default: {against: old}, old: {}}", "fake"))

    assert plan.interpreter == Interpreter()
    assert plan.against == Interpreter("old", None)


def test_the_command_line_names_an_interpreter_where_the_suite_names_none_or_one_that_is_not_here(tmp_path):
    for environments in ("{old: {}}", "{old: {python: /nowhere/python}}"):
        plan = only(suite(tmp_path, environments), old=sys.executable)
        assert plan.interpreter == Interpreter("old", sys.executable)


def test_every_mistake_is_told_at_its_place(tmp_path):
    (tmp_path / "text").touch()
    environments = (
        "{old: {python: missing, against: old}, default: {python: x}, new: {against: olt}, "
        "folder: {python: .}, text: {python: text}}"
    )

    assert told(suite(tmp_path, environments, "fake@odl, fake@default")) == [
        "2:30: environments.old.python: no such interpreter: 'missing'; --environment NAME=PYTHON names another "
        "on this machine",
        "2:48: environments.old.against: 'old' cannot be compared with itself",
        "2:72: environments.default.python: 'default' is the interpreter that runs the harness: it has no path",
        "2:91: environments.new.against: unknown environment 'olt', did you mean 'old'?",
        "2:114: environments.folder.python: '.' is a folder: name the interpreter in it, such as ./bin/python",
        "2:133: environments.text.python: 'text' is no program that can be run: name a Python, such as env/bin/python",
        "4:42: models[0].backends[0]: unknown environment 'odl', did you mean 'old'?",
        "4:52: models[0].backends[1]: 'default' is the interpreter that runs the harness: leave '@default' out",
    ]


@pytest.mark.parametrize(
    ("backends", "message"),
    [
        ("fake@a/b", "'a/b' cannot be part of a case id: use letters, digits and . _ + -"),
        ("fkae@old", "unknown backend 'fkae', did you mean 'fake'?"),
        ("fake@", "'' cannot be part of a case id: use letters, digits and . _ + -"),
    ],
)
def test_a_name_that_breaks_ids_is_told(tmp_path, backends, message):
    assert told(suite(tmp_path, "{old: {}}", backends)) == [f"4:42: models[0].backends[0]: {message}"]


def test_an_exclusion_holds_in_every_environment_or_in_the_one_that_it_names(tmp_path):
    def excluded(backend: str) -> list[bool]:
        more = f"exclude: [{{backend: {backend}, reason: r}}]"
        return [bool(plan.excluded) for plan in load([suite(tmp_path, "{old: {}}", "fake, fake@old", more)])]

    assert excluded("fake") == [True, True]
    assert excluded("fake@old") == [False, True]
    assert (
        "unknown environment 'odl'"
        in told(suite(tmp_path, "{old: {}}", more="exclude: [{backend: fake@odl, reason: r}]"))[0]
    )


def test_a_mistake_in_environments_does_not_make_others(tmp_path):
    assert told(suite(tmp_path, "{old: {pyton: x}}")) == [
        "2:22: environments.old.pyton: unknown key 'pyton', did you mean 'python'?"
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("old", "--environment 'old': give a name and a path, NAME=PYTHON"),
        ("old=/nowhere", "--environment old: no such interpreter: '/nowhere'"),
        ("odl=" + sys.executable, "--environment odl: no case runs in it, did you mean 'old'?"),
        ("default=" + sys.executable, "--environment default: is the interpreter that runs the harness"),
    ],
)
def test_a_wrong_option_is_told(tmp_path, capsys, given, message):
    assert harness(tmp_path, "list", suite(tmp_path, "{old: {}}"), "--environment", given) == 2
    assert message in capsys.readouterr().err


def test_the_option_makes_a_suite_without_paths_complete(tmp_path, capsys):
    path = suite(tmp_path, "{old: {}}")

    assert harness(tmp_path, "check", path, "--environment", f"old={sys.executable}") == 0
    assert harness(tmp_path, "list", path) == 0
    assert "s/m/fake@old/fp32/static" in capsys.readouterr().out


def test_a_suite_without_environments_says_so(tmp_path):
    path = fake_suite(tmp_path)
    path.write_text(path.read_text().replace("backends: [fake]", "backends: [fake@old]"))

    with pytest.raises(
        UsageError, match=r"unknown environment 'old'; the suite has no environments \(in model 'small'\)"
    ):
        load([path])
