"""The options of the commands over many runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.commands.options import Commands, called

ADD = "history add"
FILE = "default: HARNESS_STORE, else <root>/reports/history.sqlite"


def in_words(arguments: list[str]) -> list[str]:
    """`history add` is a command of two words; a suite of that name is `./add`."""
    return [ADD, *arguments[2:]] if arguments[:2] == ADD.split() else arguments


def add_store(command: argparse.ArgumentParser, unless: str) -> None:
    """Add the option that names the store."""
    command.add_argument("--store", metavar="URL", help=f"a file, or postgresql://USER@HOST/DATABASE ({unless})")


def add_stores(commands: Commands) -> None:
    """Add `history add` and `dashboard` to the command line."""
    add = commands.add_parser(ADD, help="keep runs in a store, for the dashboard")
    add.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder or its run.json")
    add.set_defaults(command=called("history_add"))
    site = commands.add_parser("dashboard", help="write a static site over the runs of a store")
    site.add_argument("-o", dest="output", type=Path, required=True, metavar="DIR", help="where to write the pages")
    site.add_argument(
        "--since", default="", metavar="RELEASE", help="what got worse since a tag, commit, run or day (YYYY-MM-DD)"
    )
    site.add_argument("--baselines", type=Path, metavar="DIR", help="accepted results (default <root>/baselines)")
    site.set_defaults(command=called("dashboard"))
    for one in (add, site):
        add_store(one, FILE)
        one.add_argument("--root", type=Path, metavar="DIR", help="folder of `reports` (default: the repository)")
