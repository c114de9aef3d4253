"""`harness history add`, and runs that are added at their end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.history import places, reading
from harness.history.database import opened
from harness.store import read_run, write_run
from stores import nightly
from toy import fake_suite, harness

pytest.importorskip("sqlalchemy")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder):
    """Two runs in folders a and b."""
    for day, name in enumerate("ab"):
        (folder / name).mkdir()
        write_run(nightly(day), folder / name)


def stored(file):
    with opened(places.url(str(file))) as engine, engine.connect() as connection:
        return reading.runs(connection)


def test_history_add_makes_the_store_under_the_root_and_says_what_became_of_each_run(folder, capsys):
    written(folder)

    assert harness(folder, "history", "add", "a", "b/run.json", "--root", folder) == 0
    assert harness(folder, "history", "add", "a") == 0

    assert capsys.readouterr().out.splitlines() == ["a: added", "b/run.json: added", "a: already there"]
    found = stored(folder / "reports/history.sqlite")
    assert {one.id for one in found} == {nightly(0).id, nightly(1).id}


def test_a_run_that_is_changed_after_it_was_added_is_refused_and_runs_before_it_are_kept(folder, capsys):
    written(folder)
    harness(folder, "history", "add", "a", "--store", "s.sqlite")
    changed = json.loads((folder / "a/run.json").read_text()) | {"commit": "ffff"}
    (folder / "a/run.json").write_text(json.dumps(changed))

    assert harness(folder, "history", "add", "b", "a", "--store", "s.sqlite") == 2

    assert "another run of this id" in capsys.readouterr().err
    assert len(stored(folder / "s.sqlite")) == 2


def test_a_run_is_added_at_its_end_where_a_store_is_named(folder, monkeypatch):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-o", "a", "--store", "s.sqlite") == 0
    monkeypatch.setenv(places.VARIABLE, str(folder / "s.sqlite"))
    assert harness(folder, "run", suite, "-o", "b") == 0

    assert {one.id for one in stored(folder / "s.sqlite")} == {read_run(folder / name).id for name in "ab"}


def test_a_resumed_run_takes_the_place_of_its_interrupted_part(folder, monkeypatch):
    suite = fake_suite(folder)

    def interrupts(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("harness.runner.book.Book.decide", interrupts)
        assert harness(folder, "run", suite, "-o", "a", "--store", "s.sqlite") == 130
    (begun,) = stored(folder / "s.sqlite")
    assert (begun.ended, begun.passed, begun.exit_status) == (False, False, 130)

    assert harness(folder, "run", suite, "-o", "a", "--resume", "--store", "s.sqlite") == 0

    (whole,) = stored(folder / "s.sqlite")
    assert (whole.id, whole.ended, whole.passed) == (begun.id, True, True)


def test_a_store_that_cannot_be_written_is_a_warning_and_the_run_keeps_its_exit_status(folder, capsys):
    suite = fake_suite(folder)
    (folder / "file").write_text("in the way")

    assert harness(folder, "run", suite, "-o", "a", "--store", "file/s.sqlite") == 0
    assert harness(folder, "history", "add", "a", "--store", "file/s.sqlite") == 2

    assert "warning: the run is not in the store" in (told := capsys.readouterr().err)
    assert f"`harness history add {folder / 'a'} --store file/s.sqlite` adds it" in told
    assert read_run(folder / "a").records


def test_a_run_that_does_not_begin_says_nothing_of_the_store(folder, capsys):
    suite = fake_suite(folder)
    written(folder)

    assert harness(folder, "run", suite, "-o", "a", "--store", "s.sqlite") == 2

    assert "warning" not in capsys.readouterr().err
    assert not (folder / "s.sqlite").exists()


def test_what_is_wrong_with_the_store_is_told_before_anything_is_measured(folder, capsys, monkeypatch):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-o", "a", "--store", "mysql://h/d") == 2
    assert harness(folder, "run", suite, "-o", "a", "--store", "postgresql://me:secret@h/d") == 2
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert harness(folder, "run", suite, "-o", "a", "--store", "s.sqlite") == 2
    assert harness(folder, "history", "add", "a", "--store", "s.sqlite") == 2

    told = capsys.readouterr().err
    assert "no database that is known here" in told
    assert "no password on the command line" in told
    assert told.count("pip install 'trt-harness[store]'") == 2
    assert not (folder / "a").exists()


def test_only_a_store_imports_its_library(folder):
    suite = fake_suite(folder)
    code = "import sys; from harness.cli import main; main(sys.argv[1:]); print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "list", str(suite)], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "False"
    code = "import sys, harness.commands.run; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
