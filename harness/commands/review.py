"""The options of the commands with which people answer for a run."""

from __future__ import annotations

from pathlib import Path

from harness.commands.options import Commands, add_run, called
from harness.commands.values import day


def add_review(commands: Commands) -> None:
    """Add acknowledge, sign, verify and bundle to the command line."""
    _add_acknowledge(commands)
    signing = commands.add_parser("sign", help="bind a reviewer's decision to the exact bytes of a run's run.json")
    add_run(signing)
    signing.add_argument("--by", required=True, metavar="NAME", help="who decides")
    signing.add_argument("--note", required=True, metavar="TEXT", help="on what grounds")
    signing.add_argument("--decision", choices=("approved", "rejected"), default="approved", help="(default approved)")
    signing.add_argument(
        "--key", type=Path, metavar="FILE", help="SSH key to sign with; without one nothing tells who signed"
    )
    signing.set_defaults(command=called("sign"))
    verifying = commands.add_parser("verify", help="whether a run or a bundle is what was signed off; exit 1 if not")
    verifying.add_argument("run", type=Path, metavar="RUN", help="a run's folder, its run.json, or a bundle")
    verifying.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="count only these keys (NAME KEYTYPE KEY a line)"
    )
    verifying.set_defaults(command=called("verify"))
    bundle = commands.add_parser("bundle", help="pack a run with all that an audit asks for into one zip file")
    bundle.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    bundle.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE", help="file to write")
    bundle.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR",
        help="where the paths of suites and baselines in the run begin (default: the working folder)",
    )  # fmt: skip
    bundle.set_defaults(command=called("bundle"))


def _add_acknowledge(commands: Commands) -> None:
    words = "let a known failure of one case through until a date, in <baselines>/acknowledged.yaml"
    known = commands.add_parser("acknowledge", aliases=["ack"], help=words)
    known.add_argument("case", metavar="CASE", help="a case's id, as `harness list` prints it")
    known.add_argument("--reason", required=True, metavar="TEXT", help="why, for the reviewer")
    known.add_argument("--issue", required=True, metavar="URL", help="where its repair is followed")
    known.add_argument(
        "--until", type=day, required=True, metavar="DATE", help="last day on which runs may start (YYYY-MM-DD)"
    )
    what = known.add_mutually_exclusive_group()
    what.add_argument("--run", type=Path, metavar="RUN", help="accept what blocked the case in this run, no more")
    what.add_argument("--status", default="", metavar="STATUS", help="accept this: error, failed, regressed, missing")
    known.add_argument("--kind", default="", metavar="KIND", help="of an error: the kind that may be")
    known.add_argument(
        "--check", dest="checks", action="append", default=[], metavar="NAME", help="may fail (status failed)"
    )
    known.add_argument("--up-to", default="", metavar="PERCENT", help="of a regressed case: a slower one blocks again")
    known.add_argument("--machine", default="", metavar="CLASS", help="only on this class of machines (default: all)")
    known.add_argument("--by", metavar="NAME", help="who (default: the user's name)")
    known.add_argument("--baselines", type=Path, metavar="DIR", help="accepted results (default <root>/baselines)")
    known.add_argument("--root", type=Path, metavar="DIR", help="folder of `baselines` (default: the repository)")
    known.set_defaults(command=called("acknowledge"))
