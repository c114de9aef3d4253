"""Signatures with SSH keys, made and checked by OpenSSH's `ssh-keygen -Y`, which most reviewers have already."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from harness.errors import UsageError
from harness.foreign import plain

NAMESPACE = "trt-harness"
"""What signatures are made for: one that a key made for mail or for git is none here."""
LONGEST = 64 << 10
CHECK_S = 60.0


@dataclass(frozen=True)
class Key:
    """The key behind an intact signature."""

    fingerprint: str
    owner: str = ""
    """Whose key it is by the file of allowed signers; empty where that does not tell, or none was given."""


def sign(text: bytes, key: Path) -> str:
    """The armoured signature of a text; a public key is enough where an agent holds the private one.

    UsageError in the words of ssh-keygen where it makes none.
    """
    if not key.is_file():
        raise UsageError(f"--key {key}: no such file; `ssh-keygen -t ed25519 -f {key}` makes a key")
    # no time limit: it may ask for a passphrase
    done = _run(["sign", "-q", "-f", str(key.absolute())], text, None)
    if done.returncode:
        raise UsageError(f"--key {key}: {_words(done)}")
    return done.stdout.decode("ascii", "replace")


def key_of(text: bytes, signature: str, allowed: Path | None = None) -> Key | None:
    """The key that signed exactly this text; None where the signature does not hold.

    `allowed` is a file of allowed signers, as ssh-keygen(1) describes it.
    """
    if len(signature) > LONGEST:
        return None
    with TemporaryDirectory(prefix="trt-harness-") as folder:
        file = Path(folder) / "signature"
        file.write_text(signature, encoding="utf-8", errors="replace")
        done = _run(["check-novalidate", "-s", str(file)], text, CHECK_S)
        found = re.search(r"key (SHA256:[A-Za-z0-9+/]+)", done.stdout.decode("utf-8", "replace"))
        if done.returncode or found is None:
            return None
        return Key(found[1], _owner(text, file, allowed.absolute()) if allowed else "")


def _owner(text: bytes, signature: Path, allowed: Path) -> str:
    """The first name in the file of allowed signers for which the signature counts."""
    done = _run(["find-principals", "-s", str(signature), "-f", str(allowed)], b"", CHECK_S)
    for name in done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else ():
        asked = ["verify", "-f", str(allowed), "-I", name, "-s", str(signature)]
        if _run(asked, text, CHECK_S).returncode == 0:
            return plain(name)
    return ""


def _run(what: Sequence[str], text: bytes, timeout_s: float | None) -> subprocess.CompletedProcess[bytes]:
    program = which("ssh-keygen")
    if program is None:
        raise UsageError("ssh-keygen is not here: signatures with a key need OpenSSH 8.2 or newer")
    command = [program, "-Y", *what, *([] if what[0] == "find-principals" else ["-n", NAMESPACE])]
    try:
        return subprocess.run(command, input=text, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"ssh-keygen did not answer within {CHECK_S:g} s") from None


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    told = done.stderr.decode("utf-8", "replace").strip() or done.stdout.decode("utf-8", "replace").strip()
    return plain(told, 400) or f"ssh-keygen ended with {done.returncode}"
