"""The `harness` command. Nothing heavy is imported before a subcommand needs it."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness import __version__
from harness.allowed import allowing
from harness.commands.options import (
    Commands,
    add_artefacts,
    add_baselines,
    add_environments,
    add_fail_on,
    add_folders,
    add_root,
    add_run,
    add_suites,
    add_timeout,
    add_told,
    add_trust,
    called,
)
from harness.commands.review import add_review
from harness.commands.stores import add_store, add_stores, in_words
from harness.commands.values import count, day, duration, names, positive, seconds, shard, share, size, whole
from harness.commands.verdicts import add_verdicts
from harness.errors import HarnessError, UsageError
from harness.foreign import harmless_output

EXIT_USAGE, EXIT_MACHINE, EXIT_INTERRUPTED = 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; errors meant for users show no traceback."""
    asked = parser().parse_args(in_words(sys.argv[1:] if arguments is None else list(arguments)))
    with harmless_output():
        return _status(asked)


def _status(asked: argparse.Namespace) -> int:
    try:
        with allowing(getattr(asked, "allow_code", ())):
            status: int = asked.command(asked)
    except UsageError as error:
        return _tell(error, EXIT_USAGE)
    except HarnessError as error:
        return _tell(error, EXIT_MACHINE)
    except BrokenPipeError:  # whoever read the output had enough
        _drop_output()
        return EXIT_USAGE
    except OSError as error:
        status = EXIT_MACHINE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else EXIT_USAGE
        return _tell(HarnessError(f"{error.filename or 'output'}: {error.strerror or error}"), status)
    except Exception:
        traceback.print_exc()
        return _tell(HarnessError("this is a mistake in the harness itself, please report it"), EXIT_MACHINE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def _drop_output() -> None:
    """What is still to be flushed on the way out goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: HarnessError, status: int) -> int:
    print(f"harness: {error}", file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="harness",
        description="Accuracy and performance regression harness for TensorRT and ONNX Runtime.",
        epilog="Exit: 0 gate passed, 1 gate failed, 2 the suite or the command is wrong, 3 the machine failed, "
        "4 a status named by --fail-on, 130 interrupted.",
    )
    top.add_argument("--version", action="version", version=f"trt-harness {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_init(commands)
    _add_run(commands)
    _add_suite_commands(commands)
    add_verdicts(commands)
    _add_interchange(commands)
    _add_history(commands)
    _add_debug(commands)
    _add_selftest(commands)
    _add_optimize(commands)
    add_review(commands)
    _add_doctor(commands)
    return top


def _add_init(commands: Commands) -> None:
    init = commands.add_parser("init", help="write a first suite for an ONNX file, with limits measured here")
    init.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file")
    init.add_argument("-o", dest="output", type=Path, metavar="SUITE", help="file to write (default: beside the model)")
    init.add_argument("--precisions", type=names, default=[], metavar="NAME,…", help="default: those that work")
    init.add_argument("--backends", type=names, default=[], metavar="NAME,…", help="default: those that are here")
    add_timeout(init)
    add_artefacts(init)
    add_root(init)
    init.set_defaults(command=called("init"))


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="run suites and write a report")
    add_suites(run)
    add_folders(run)
    run.add_argument("--jobs", type=positive, metavar="N", help="cases worked on at once (default: one a GPU)")
    run.add_argument(
        "--ray", metavar="ADDRESS", help="on the nodes of a Ray cluster: auto, HOST:PORT, or local to start one here"
    )
    run.add_argument("--ray-accelerator", metavar="TYPE", help="only on its nodes of this type, for example H100")
    add_timeout(run)
    run.add_argument(
        "--require", action="append", default=[], metavar="BACKEND", help="exit 3 at once if this backend is absent"
    )
    add_fail_on(run)
    run.add_argument(
        "--retries", type=whole, default=0, metavar="N",
        help="measure a case again, so often, after a crash, a time-out or lack of memory or device (default 0)",
    )  # fmt: skip
    run.add_argument(
        "--worker-memory", type=positive, metavar="MIB", help="end a worker that holds more memory of the host"
    )
    run.add_argument("--shard", type=shard, metavar="I/N", help="only part I of N, the same on every machine")
    run.add_argument("--resume", action="store_true", help="go on with the run in -o where it was interrupted")
    run.add_argument("--keep-outputs", action="store_true", help="keep outputs, so that `judge` can apply any limit")
    run.add_argument(
        "--profile", choices=("auto", "always", "never"),
        help="time the layers of every case after its latency, whatever `latency: {profile: …}` says in the suites",
    )  # fmt: skip
    add_store(run, "the run is added at its end; default: HARNESS_STORE, else nowhere")
    add_trust(run)
    add_told(run)
    run.set_defaults(command=called("run"))


def _add_suite_commands(commands: Commands) -> None:
    check = commands.add_parser("check", help="validate suites")
    listing = commands.add_parser("list", help="print case ids")
    for command in (check, listing):
        add_suites(command)
    check.set_defaults(command=called("check"))
    listing.set_defaults(command=called("list_cases"))
    schema = commands.add_parser("schema", help="print the JSON Schema of suite files")
    schema.add_argument("--markdown", action="store_true", help="print a reference for readers instead")
    schema.set_defaults(command=called("schema"))


def _add_interchange(commands: Commands) -> None:
    export = commands.add_parser("export", help="write a run as pytest-benchmark's JSON")
    add_run(export)
    export.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE", help="file to write")
    export.set_defaults(command=called("export"))
    taken = commands.add_parser("import", help="make a run of pytest-benchmark's JSON")
    taken.add_argument("files", nargs="+", type=Path, metavar="FILE", help="earlier ones are what the last is seen by")
    taken.add_argument("-o", dest="output", type=Path, required=True, metavar="DIR", help="where to write the run")
    taken.add_argument("--suite", default="pytest", metavar="NAME", help="first part of the ids (default pytest)")
    add_root(taken)
    add_baselines(taken)
    taken.set_defaults(command=called("import_results"))


def _add_history(commands: Commands) -> None:
    trends = commands.add_parser("history", help="accepted runs over time: where cases changed, and what adds up")
    add_suites(trends)
    start = trends.add_mutually_exclusive_group()
    start.add_argument("--since", type=day, metavar="DATE", help="sum changes since then (YYYY-MM-DD)")
    start.add_argument("--against", default="", metavar="RUN", help="sum changes since the artefact of this run's id")
    trends.add_argument("--json", type=Path, metavar="FILE", help="write the trends here as well")
    add_baselines(trends)
    trends.set_defaults(command=called("history"))
    add_stores(commands)


def _add_debug(commands: Commands) -> None:
    debug = commands.add_parser("debug", help="where a failing case went wrong")
    debug.add_argument("case", metavar="CASE", help="a case's id, as `harness list` prints it")
    where = debug.add_mutually_exclusive_group()
    where.add_argument("--suites", nargs="+", type=Path, metavar="SUITES", help="suites that make it (default suites/)")
    where.add_argument("--run", type=Path, metavar="RUN", help="a run that holds it: its folder or its run.json")
    debug.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", help="where to write (default reports/debug-<case>)"
    )
    add_artefacts(debug)
    add_environments(debug)
    add_timeout(debug)
    debug.add_argument("--builds", type=positive, default=24, metavar="N", help="builds to make at most (default 24)")
    debug.add_argument(
        "--time", type=seconds, default=3600.0, metavar="S", help="begin no build after so long (default 3600)"
    )
    add_root(debug)
    debug.set_defaults(command=called("debug"))


def _add_optimize(commands: Commands) -> None:
    search = commands.add_parser(
        "optimize",
        help="search the variants of a model for the fastest or smallest one within an accuracy budget; exit 1 if none",
    )
    add_suites(search)
    search.add_argument("--task-metric", metavar="NAME", help="the task metric that the suite must have")
    search.add_argument(
        "--max-drop", type=share, default=0.01, metavar="SHARE", help="largest loss of the task metric (default 1%%)"
    )
    search.add_argument("--objective", choices=("p50", "size"), default="p50", help="what is to be small (default p50)")
    search.add_argument(
        "--budget", type=duration, default=600.0, metavar="TIME", help="begin no build after so long (default 10m)"
    )
    search.add_argument("--force", action="store_true", help="write the suite again where one is there")
    search.add_argument(
        "--launches", type=count, default=10, metavar="N", help="as in accept, for the winner (default 10)"
    )
    add_timeout(search)
    add_folders(search)
    search.set_defaults(command=called("optimize"), parse=lambda words: parser().parse_args(words))


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser(
        "doctor", help="what this machine can run, and how to get what is missing; or which runtimes take a model"
    )
    doctor.add_argument(
        "--model", type=Path, metavar="FILE",
        help="ask every runtime about this ONNX file; exit 1 if none takes it, 3 if none is here or all were lost",
    )  # fmt: skip
    doctor.add_argument(
        "--precision", dest="precisions", nargs="+", action="extend", default=[], metavar="P",
        help="with --model: ask about these (default: those that the harness makes of the file)",
    )  # fmt: skip
    doctor.add_argument(
        "--size", dest="sizes", type=size, nargs="+", action="extend", default=[], metavar="NAME=N",
        help="with --model: sizes of its symbolic dimensions (default: the first that it runs with, at batch 1)",
    )  # fmt: skip
    add_timeout(doctor)
    add_artefacts(doctor)
    add_environments(doctor)
    doctor.set_defaults(command=called("doctor"))


def _add_selftest(commands: Commands) -> None:
    test = commands.add_parser(
        "selftest",
        help="the gate's own false alarms and power on this machine; exit 1 if it alarms on unchanged code, or finds "
        "no slowdown",
    )
    add_suites(test)
    test.add_argument(
        "--launches", type=count, default=10, metavar="N", help="launches of each case and slowdown (default 10)"
    )
    test.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write the counts here as well")
    add_artefacts(test, "kept artefacts")
    add_timeout(test)
    test.set_defaults(command=called("selftest"))
