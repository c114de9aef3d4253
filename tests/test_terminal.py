"""What a run shows: the plain lines of CI, and colours and progress on a terminal (here a pseudo terminal)."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from harness.commands.progress import Progress, clock
from harness.store import read_run
from toy import fake_suite, harness

COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7])[0-9;]*m")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SCRIPT = "cases: [{match: '*/fp32/n-3', outputs: {y: {add: 0.5}}}, {match: '*/fp16/n-1', unsupported: no kernel}]"
SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"
BAR = "━"


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fake_suite(tmp_path, SCRIPT, "fp32, fp16")


def begun(
    *arguments: object, command: list[str] | None = None, errors: int | None = subprocess.PIPE, **environment: str
) -> tuple[subprocess.Popen[bytes], int]:
    """The command on a terminal of its own, and the other end of it; also its standard error where `errors` is None."""
    ours, theirs = pty.openpty()
    own = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "GITHUB_ACTIONS")}
    process = subprocess.Popen(
        command or [sys.executable, "-m", "harness", *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if errors is None else errors,
        env={**own, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def rest(process: subprocess.Popen[bytes], terminal: int) -> str:
    """All that comes until the command ends."""
    seen = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 65536):
            seen += part
    os.close(terminal)
    process.communicate(timeout=60)
    return seen.decode().replace("\r\n", "\n")


def shown(suite, *more: object, **environment: str) -> str:
    return rest(*begun("run", suite, "-o", "out", "--artefacts", "cache", *more, **environment))


def without_escapes(text: str) -> list[str]:
    return ESCAPE.sub("", text).replace("\r", "\n").split("\n")


def on_screen(text: str) -> list[str]:
    """The lines that a terminal shows in the end."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif token == "\x1b[1A":
            row -= 1
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token[0] not in "\x1b\r":
            lines[row] = lines[row] + token
    return lines


def test_without_a_terminal_the_lines_are_those_of_a_log(suite, capsys):
    harness(suite.parent, "run", suite, "-o", "out")

    told = capsys.readouterr().out
    records = {
        record.case.id.removeprefix("toy/small/fake/"): record for record in read_run(suite.parent / "out").records
    }
    cases = [f"{one.status:12s} {one.case.id}  {one.headline}" for one in records.values()]
    assert told.splitlines()[:4] == cases
    assert told.splitlines()[4:] == [
        "", "gate FAILED (exit 1): 1 failed, 2 new, 1 skipped", f"report: {suite.parent / 'out/report.html'}"
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_words_that_the_encoding_of_a_pipe_lacks_cost_no_run(suite, encoding):
    (suite.parent / "script.yaml").write_text("cases: [{match: '*/fp16/*', unsupported: 'no → 日本'}]")
    command = [sys.executable, "-m", "harness", "run", str(suite), "-o", "out", "--artefacts", "cache"]

    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=True)

    assert "no \\u2192 \\u65e5\\u672c" in done.stdout.decode(encoding)


def test_a_terminal_shows_progress_and_is_left_as_it_was(suite):
    text = shown(suite)

    assert BAR in text
    assert "of 4 cases" in text
    assert text.rindex(SHOW) > text.rindex(HIDE)
    told = [line.split()[0] for line in on_screen(text) if line]
    assert told == ["new", "failed", "new", "failed", "gate", "report:"]
    assert on_screen(text)[-2] == f"report: {suite.parent / 'out/report.html'}"


def test_a_terminal_has_colours_beside_words_and_leaves_out_what_was_skipped(suite):
    text = shown(suite)

    assert "\x1b[31mfailed" in text
    assert "\x1b[33mnew" in text
    lines = without_escapes(text)
    assert not any(line.startswith("skipped") for line in lines)
    assert "gate FAILED (exit 1): 1 failed, 2 new, 1 skipped" in lines
    after = without_escapes(text[text.rindex(SHOW) :])
    assert [line.split()[:2] for line in after if line.startswith("failed")] == [["failed", "toy/small/fake/fp32/n-3"]]


def test_no_color_takes_every_colour_away_and_keeps_progress(suite):
    text = shown(suite, NO_COLOR="1")

    assert not COLOUR.search(text)
    assert BAR in text


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_dumb_terminal_gets_the_plain_lines(suite, term):
    text = shown(suite, TERM=term)

    assert "\x1b" not in text
    assert "skipped      toy/small/fake/fp16/n-1  no kernel" in text.split("\n")


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_tells_only_what_blocks_the_gate_and_the_path(suite, capsys, terminal):
    if terminal:
        lines = without_escapes(shown(suite, "--quiet")[-2000:].rpartition(SHOW)[2])
    else:
        harness(suite.parent, "run", suite, "-o", "out", "-q")
        lines = capsys.readouterr().out.split("\n")

    told = [line for line in lines if line]
    assert [line.split()[0] for line in told] == ["failed", "gate", "report:"]


def test_verbose_tells_skipped_cases_and_what_stages_took(suite):
    lines = without_escapes(shown(suite, "-v"))

    assert "skipped      toy/small/fake/fp16/n-1  no kernel" in lines
    assert any(re.match(r" {13}.*infer [\d.]+ m?s", line) for line in lines)


def test_quiet_and_verbose_exclude_each_other(suite):
    with pytest.raises(SystemExit):
        harness(suite.parent, "run", suite, "-q", "-v")


@pytest.mark.parametrize("errors", [subprocess.PIPE, None])
def test_the_case_at_hand_and_its_stage_are_shown_and_ctrl_c_leaves_a_clean_terminal(suite, errors):
    (suite.parent / "script.yaml").write_text("cases: [{match: '*/fp32/n-3', crash: {stage: infer, kind: hang}}]")
    process, terminal = begun("run", suite, "-o", "out", "--artefacts", "cache", errors=errors)
    seen, until = b"", time.monotonic() + 60
    while b"toy/small/fake/fp32/n-3  infer" not in seen and time.monotonic() < until:
        seen += os.read(terminal, 65536)
    os.killpg(process.pid, signal.SIGINT)
    text = seen.decode() + rest(process, terminal)

    assert "toy/small/fake/fp32/n-3  infer" in text
    assert process.returncode == 130
    assert text.rindex(SHOW) > text.rindex(HIDE)
    lines = without_escapes(text)
    assert lines[-2].startswith("report: ")
    words = "harness: interrupted, writing what was measured; Ctrl-C once more ends it at once"
    assert (words in lines) == (errors is None)  # whole, and above what is drawn; else where errors are sent to


def test_an_end_at_once_shows_the_cursor_again():
    code = (
        "from harness.commands.progress import Progress; from harness.commands.terminal import Terminal\n"
        "terminal = Terminal()\n"
        "with terminal.live(Progress(['a'], set(), {}, 1), list): terminal.leave(130)"
    )
    process, terminal = begun(command=[sys.executable, "-c", code])
    text = rest(process, terminal)

    assert process.returncode == 130
    assert text.rindex(SHOW) > text.rindex(HIDE)


def test_a_terminal_that_is_gone_costs_no_run(suite):
    process, terminal = begun("run", suite, "-o", "out", "--artefacts", "cache")
    while b"new" not in os.read(terminal, 65536):
        pass
    os.close(terminal)

    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, b"")
    assert len(read_run(suite.parent / "out").records) == 4


def test_names_move_no_cursor_of_a_terminal(suite):
    (suite.parent / "script.yaml").write_text('cases: [{match: "*/fp32/n-1", unsupported: "a\\e[2Jb"}]')

    assert "\x1b[2J" not in shown(suite, "-v")


def test_at_most_ten_blocking_cases_are_told_in_the_summary(suite):
    shapes = ", ".join(f"{{n: {n}}}" for n in range(1, 13))
    suite.write_text(suite.read_text().replace("{n: 1}, {n: 3}", shapes).replace("fp32, fp16]", "fp32]"))
    (suite.parent / "script.yaml").write_text("cases: [{outputs: {y: {add: 0.5}}}]")

    told = without_escapes(shown(suite, "-q"))

    assert len([line for line in told if line.startswith("failed")]) == 10
    assert "… and 2 more that block: the report has all" in told


def test_rich_is_imported_for_a_terminal_only(suite):
    code = "import sys; from harness.cli import main; main(sys.argv[1:]); print('rich' in sys.modules)"
    command = [sys.executable, "-c", code, "run", str(suite), "-o", "out", "--artefacts", "cache"]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith("False\n")


def test_expected_time_counts_the_cases_that_are_left_by_what_they_took(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("harness.commands.progress.monotonic", lambda: now[0])
    progress = Progress(["a", "b", "c", "known"], {"known"}, {"a": 60.0, "b": 30.0}, jobs=1)
    assert progress.words() == "1 of 4 cases, 0:00 of about 2:15"  # nobody knows c: it takes the median

    now[0] += 90
    progress.ended("a", decided=False)
    assert progress.words() == "2 of 4 cases, 1 wait for their decision, 1:30 of about 2:45"

    progress.ended("a", decided=True)
    progress.ended("b", decided=True)
    progress.ended("c", decided=True)
    assert progress.words() == "4 of 4 cases, 1:30"


def test_without_accepted_times_no_time_is_expected():
    assert Progress(["a"], set(), {}, jobs=1).words() == "0 of 1 cases, 0:00"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3725, "1:02:05")])
def test_long_times_have_hours(seconds, text):
    assert clock(seconds) == text
