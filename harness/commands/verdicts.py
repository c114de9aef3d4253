"""The options of the commands on the results of runs."""

from __future__ import annotations

from pathlib import Path

from harness.commands.options import (
    Commands,
    add_artefacts,
    add_baselines,
    add_environments,
    add_fail_on,
    add_root,
    add_run,
    add_told,
    called,
)
from harness.commands.values import count


def add_verdicts(commands: Commands) -> None:
    """Add report, comment, judge, compare, merge and accept to the command line."""
    _add_report(commands)
    _add_comment(commands)
    _add_judge(commands)
    _add_compare(commands)
    _add_merge(commands)
    _add_accept(commands)


def _add_report(commands: Commands) -> None:
    report = commands.add_parser("report", help="write the report of a run again")
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder or its run.json")
    report.add_argument("--against", type=Path, metavar="RUN", help="show what changed since this run")
    report.add_argument(
        "--history", type=Path, metavar="DIR", help="a folder of earlier runs' folders, of which trends are drawn"
    )
    report.add_argument("-o", dest="output", type=Path, metavar="DIR", help="where to write (default: into the run)")
    report.set_defaults(command=called("report"))


def _add_comment(commands: Commands) -> None:
    comment = commands.add_parser("comment", help="write the comment on a pull request that tells of a run")
    add_run(comment)
    comment.add_argument("-o", dest="output", type=Path, metavar="FILE", help="file to write (default: print it)")
    comment.add_argument("--name", default="harness", metavar="NAME", help="tells comments of several jobs apart")
    comment.set_defaults(command=called("comment"))


def _add_judge(commands: Commands) -> None:
    judge = commands.add_parser("judge", help="judge stored measurements again under the limits of the suite as it is")
    add_run(judge)
    judge.add_argument("--suite", action="append", type=Path, default=[], metavar="SUITE", help="other suite files")
    add_fail_on(judge)
    judge.add_argument("-o", dest="output", type=Path, metavar="DIR", help="where to write (default: RUN-judged)")
    add_baselines(judge)
    add_root(judge)
    add_environments(judge)
    add_told(judge)
    judge.set_defaults(command=called("judge"))


def _add_compare(commands: Commands) -> None:
    compare = commands.add_parser("compare", help="what changed between two runs; exit 1 if anything is worse")
    compare.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="a run's folder or its run.json")
    compare.set_defaults(command=called("compare"))


def _add_merge(commands: Commands) -> None:
    merge = commands.add_parser("merge", help="join the parts of a run and decide on the whole")
    merge.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="a run's folder or its run.json")
    merge.add_argument("-o", dest="output", type=Path, required=True, metavar="DIR", help="where to write the run")
    merge.add_argument("-k", dest="expression", default="", metavar="EXPR", help="only cases that match are expected")
    merge.add_argument("--suite", action="append", type=Path, default=[], metavar="SUITE", help="other suite files")
    add_fail_on(merge)
    add_baselines(merge)
    add_root(merge)
    add_environments(merge)
    add_told(merge)
    merge.set_defaults(command=called("merge"))


def _add_accept(commands: Commands) -> None:
    accept = commands.add_parser("accept", help="write the baselines of runs' cases")
    accept.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN",
        help="a run's folder or its run.json; of several each adds to what later runs are compared with",
    )  # fmt: skip
    accept.add_argument("--reason", required=True, metavar="TEXT", help="why, for the reviewer")
    accept.add_argument("--by", metavar="NAME", help="who (default: the user's name)")
    accept.add_argument(
        "--launches", type=count, default=10, metavar="N",
        help="launches of each new or changed case against itself, which tell what can be seen of it (default 10)",
    )  # fmt: skip
    add_artefacts(accept, "kept artefacts")
    accept.add_argument("-k", dest="expression", default="", metavar="EXPR", help="only cases that match")
    add_root(accept)
    add_environments(accept)
    add_baselines(accept)
    accept.set_defaults(command=called("accept"))
