"""Options that several commands have, and how a command is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from harness.commands.values import seconds

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name


def called(name: str) -> Callable[[argparse.Namespace], int]:
    """A subcommand's function, imported when it is called."""

    def call(asked: argparse.Namespace) -> int:
        from importlib import import_module

        status: int = getattr(import_module(f"harness.commands.{name}"), name)(asked)
        return status

    return call


def add_suites(command: argparse.ArgumentParser) -> None:
    """Add the suites, and which of their cases."""
    command.add_argument("suites", nargs="+", type=Path, metavar="SUITES", help="suite files, or folders of them")
    command.add_argument("-k", dest="expression", default="", metavar="EXPR", help="only cases whose id or tags match")
    add_root(command)
    add_environments(command)


def add_environments(command: argparse.ArgumentParser) -> None:
    """Add other interpreters, and the code that may run."""
    command.add_argument(
        "--environment", dest="environments", action="append", default=[], metavar="NAME=PYTHON",
        help="interpreter of an environment, instead of the one in the suite",
    )  # fmt: skip
    add_allow_code(command)


def add_allow_code(command: argparse.ArgumentParser) -> None:
    """Add the code that may run."""
    command.add_argument(
        "--allow-code", action="append", default=[], metavar="NAME",
        help="let this code run: a metric or a factory by its name, an interpreter, library or model by its path",
    )  # fmt: skip


def add_root(command: argparse.ArgumentParser) -> None:
    """Add the folder that holds all that a suite names."""
    command.add_argument(
        "--root", type=Path, metavar="DIR", help="no path of a suite may leave it (default: the repository)"
    )


def add_folders(command: argparse.ArgumentParser) -> None:
    """Add the folders of a run: what it writes, and what it reads."""
    command.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", help="where to write (default reports/<run id>)"
    )
    add_artefacts(command)
    add_baselines(command)


def add_told(command: argparse.ArgumentParser) -> None:
    """Add how much a run tells."""
    told = command.add_mutually_exclusive_group()
    told.add_argument(
        "-q", "--quiet", action="store_true", help="print what blocks, the gate and the report's path only"
    )
    told.add_argument(
        "-v", "--verbose", action="store_true", help="also print skipped cases, notes, and what each stage took"
    )


def add_trust(command: argparse.ArgumentParser) -> None:
    """Add what a run may take from elsewhere than itself."""
    command.add_argument(
        "--no-cache", action="store_true", help="make variants, engines, references and twins afresh, and keep those"
    )
    command.add_argument(
        "--trust-engine", dest="trust_engines", action="append", type=Path, default=[], metavar="FILE",
        help="load this engine file of the suite's: it may run code of whoever made it",
    )  # fmt: skip


def add_baselines(command: argparse.ArgumentParser) -> None:
    """Add the folder of accepted results."""
    command.add_argument("--baselines", type=Path, metavar="DIR", help="accepted results (default <root>/baselines)")


def add_run(command: argparse.ArgumentParser) -> None:
    """Add the run that is read."""
    command.add_argument("run", type=Path, metavar="RUN", help="a run's folder or its run.json")


def add_timeout(command: argparse.ArgumentParser) -> None:
    """Add what a stage of a case may take."""
    command.add_argument(
        "--timeout", type=seconds, default=600.0, metavar="S", help="seconds a stage may take (default 600)"
    )


def add_artefacts(command: argparse.ArgumentParser, what: str = "made variants") -> None:
    """Add the folder of the cache."""
    command.add_argument("--artefacts", type=Path, metavar="DIR", help=f"{what} (default: the user's cache)")


def add_fail_on(command: argparse.ArgumentParser) -> None:
    """Add what else the gate blocks."""
    command.add_argument("--fail-on", default="", metavar="STATUS,…", help="exit 4 if a case has one of these statuses")
