"""Text from elsewhere (names in models and suites, words of runtimes), made harmless for where it is shown."""

from __future__ import annotations

import contextlib
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and line feed, marks that change the direction of text, and halves of characters."""
_COMMAND = re.compile(r"^([^\S\n]*):(?=:)|#(?=#(?:\w+\[|\[))", re.MULTILINE)
"""What begins a command to a CI system in its log: `::name` of GitHub, `##[name]` and `##vso[name]` of Azure."""


def plain(text: str, limit: int = 0) -> str:
    """Foreign text as one line without control or direction-changing characters, cut at `limit` characters."""
    visible = (" " if char.isspace() else char for char in text)
    line = " ".join("".join(char for char in visible if unicodedata.category(char) not in _INVISIBLE).split())
    return line if not limit or len(line) <= limit else f"{line[: limit - 1]}…"


def visible(text: str) -> str:
    """Foreign text with its lines, without control characters and without marks that change its direction."""
    return _CONTROL.sub("", text) if not text.isascii() or not text.isprintable() else text


def shown(text: str) -> str:
    """Foreign text for a terminal or a CI system's log: it moves no cursor and gives no command."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", visible(text))


class _Harmless:
    """A stream that shows everything written to it as `shown` does, as far as its encoding goes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        words = shown(text)
        code = self.stream.encoding or "utf-8"
        # what the stream's encoding lacks is no reason to lose a run
        self.stream.write(words if words.isascii() else words.encode(code, "backslashreplace").decode(code))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def tell_ci(command: str) -> None:
    """Print a line that a CI system shall take for a command: foreign parts of it must be escaped as that asks."""
    print(command, file=bare(sys.stdout), flush=True)


def bare(stream: TextIO) -> TextIO:
    """The stream itself, for what is no foreign text: whoever writes to it makes that harmless."""
    return stream.stream if isinstance(stream, _Harmless) else stream


@contextlib.contextmanager
def harmless_output() -> Iterator[None]:
    """Standard output and error of this process show foreign text as `shown` does, meanwhile."""
    with contextlib.ExitStack() as streams:
        if sys.stdout is not None:
            streams.enter_context(contextlib.redirect_stdout(_Harmless(sys.stdout)))
        if sys.stderr is not None:
            streams.enter_context(contextlib.redirect_stderr(_Harmless(sys.stderr)))
        yield
