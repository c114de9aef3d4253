"""`harness bundle`: a run, its report, its signatures and what it was judged by, packed for an audit."""

from __future__ import annotations

import argparse
import re
import subprocess
from hashlib import sha256
from pathlib import Path

from harness import bundles, report, store
from harness.codec import encode
from harness.errors import UsageError
from harness.journal import JOURNAL_FILE
from harness.records import Run
from harness.signatures import SIGNATURES_FILE

OPTIONAL = (JOURNAL_FILE, SIGNATURES_FILE)


def bundle(asked: argparse.Namespace) -> int:
    """Write the bundle; UsageError lists what is not there any more as the run was judged by it."""
    folder = store.folder_of(asked.run)
    if not (folder / store.RUN_FILE).exists():
        raise UsageError(f"{folder}: has no {store.RUN_FILE}: give the folder of a run that ended")
    run = store.read_run(folder)
    names = [store.RUN_FILE, *report.FILES]
    if lacking := [name for name in names if not (folder / name).exists()]:
        raise UsageError(f"{folder}: lacks {', '.join(lacking)}: `harness report {folder}` draws them again")
    files: dict[str, Path | bytes] = {name: folder / name for name in (*names, *OPTIONAL) if (folder / name).exists()}
    files |= _judged_by(run, asked.root)
    digests = {record.case.id: encode(record.digests) for record in run.records}
    about = {"run": run.id, "commit": run.commit, "gate": encode(run.gate), "digests": digests}
    bundles.write(asked.output, files, about)
    print(f"{asked.output}: {len(files)} files of run {run.id}, and their sums")
    if SIGNATURES_FILE not in files:
        print("note: nobody signed this run: `harness verify` will not pass the bundle")
    if not run.judged_by:
        print("note: the run does not tell by which files it was judged: suites and baselines are not in the bundle")
    return 0


def _judged_by(run: Run, root: Path) -> dict[str, Path | bytes]:
    """The suites, baselines and acknowledgements, exactly as they were when the run was judged."""
    found: dict[str, Path | bytes] = {}
    gone = []
    for path, digest in run.judged_by.items():
        if digest is None:
            continue
        content = _as_it_was(root / path, digest, run.commit)
        if content is None:
            gone.append(path)
        else:
            found[bundles.place_of(path)] = content
    if gone:
        raise UsageError(
            f"not here as the run was judged by them: {', '.join(gone)}; work where the run was made, name that folder "
            f"with --root, or check out the commit{f' {run.commit[:12]}' if run.commit else ''}"
        )
    return found


def _as_it_was(path: Path, digest: str, commit: str | None) -> bytes | None:
    """The content with this digest: of the file itself, else of the run's commit."""
    for content in (_file(path), _committed(path, commit)):
        if content is not None and sha256(content).hexdigest() == digest:
            return content
    return None


def _file(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None  # a device or a pipe may have no end
    except (OSError, ValueError):  # a name that no file can have
        return None


def _committed(path: Path, commit: str | None) -> bytes | None:
    """The file in a commit of the repository around it; None without any of these."""
    if commit is None or not re.fullmatch("[0-9a-f]{7,64}", commit):
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(path.parent), "show", f"{commit}:./{path.name}"],  # noqa: S607 - git of the user's PATH
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout
