"""`harness verify`: whether a run, or a bundle of one, is what was signed off."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from zipfile import is_zipfile

from harness import bundles, store
from harness.commands.sign import NO_KEY
from harness.errors import UsageError
from harness.foreign import plain
from harness.report.format import moment
from harness.signatures import SIGNATURES_FILE, Checked, check, gate_words, objections, read_signatures

EXIT_HOLDS, EXIT_DOES_NOT = 0, 1
LONGEST = 500
"""Characters of a list of names from a bundle."""


def verify(asked: argparse.Namespace) -> int:
    """Tell of every signature whether it holds; exit 1 unless all do and the run is approved."""
    path: Path = asked.run
    if not path.exists():
        raise UsageError(f"{path}: no such run and no such bundle")
    if asked.allowed_signers and not asked.allowed_signers.is_file():
        raise UsageError(f"--allowed-signers {asked.allowed_signers}: no such file; give lines of NAME KEYTYPE KEY")
    if path.is_file() and (path.suffix == ".zip" or is_zipfile(path)):
        wrong = list(_bundle(path, asked.allowed_signers))
    else:
        folder = store.folder_of(path)
        run, signatures = (_content(folder / name) for name in (store.RUN_FILE, SIGNATURES_FILE))
        wrong = list(_signed_off(run, signatures, asked.allowed_signers))
    if wrong:
        print(plain(f"NOT VERIFIED: {path}: {'; '.join(wrong)}"))
        return EXIT_DOES_NOT
    whose = "by a key of yours" if asked.allowed_signers else "by digest alone, whoever made the signatures"
    print(f"verified {whose}: {path} is what was signed, and is approved")
    return EXIT_HOLDS


def _bundle(path: Path, allowed: Path | None) -> Iterator[str]:
    """As `_signed_off`, for a bundle, whose files must be those of its manifest."""
    try:
        opened = bundles.read(path)
    except bundles.Refused as error:
        yield f"it is no bundle that can be relied on: {error}"
        return
    for words in opened.problems:
        print(plain(f"DOES NOT HOLD: {words}"))
    print(f"{opened.files} files{'' if opened.problems else ', all as its manifest has them'}")
    number = opened.judged_by
    by = f" and the {number} files that it was judged by" if number else ", which does not tell by what it was judged"
    print(f"signatures cover {store.RUN_FILE}{by}")
    if opened.unsigned:
        print(plain(f"and cover none of these, which anybody can put in: {', '.join(opened.unsigned)}", LONGEST))
    if opened.problems:
        yield "its files are not what was packed"
    yield from _signed_off(opened.run, opened.signatures, allowed)


def _signed_off(run: bytes | None, signatures: bytes | None, allowed: Path | None) -> Iterator[str]:
    """Tell of each signature; yields why the run does not count as signed off."""
    if run is None:
        yield f"there is no {store.RUN_FILE}"
        return
    try:
        found = read_signatures(signatures) if signatures is not None else []
    except ValueError as error:
        yield f"{SIGNATURES_FILE} cannot be read: {error}"
        return
    checked = check(run, found, allowed)
    for one in checked:
        first, *others = map(plain, _lines(one, allowed))  # a name or a note cannot pass for a line of ours
        print("\n  ".join([first, *others]))
    if any(
        one.signature.statement.decision == "approved" and not one.signature.statement.gate.passed for one in checked
    ):
        print("note: approved although its gate did not pass")
    yield from objections(checked, keys=allowed is not None)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _lines(one: Checked, allowed: Path | None) -> Iterator[str]:
    statement = one.signature.statement
    yield f"{statement.decision} by {statement.by}, {moment(statement.signed)}: {statement.note}"
    yield f"run {statement.run}, gate then {gate_words(statement.gate)}"
    for problem in one.problems:
        yield f"DOES NOT HOLD: {problem}"
    if not one.problems:
        yield f"holds: run.json is byte for byte what was signed (SHA-256 {statement.sha256[:12]}…)"
    yield _key(one, allowed)


def _key(one: Checked, allowed: Path | None) -> str:
    if one.key is None:
        return "no intact signature of a key" if one.signature.ssh else NO_KEY
    if one.key.owner:
        return f"key {one.key.fingerprint}, of {one.key.owner} by {allowed}"
    if allowed is not None:
        return f"key {one.key.fingerprint}, which {allowed} does not allow: it does not count"
    return f"key {one.key.fingerprint}; whose it is tells only a file of keys that you trust: --allowed-signers FILE"
