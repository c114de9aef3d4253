"""A terminal, drawn with rich; imported only where there is one."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.commands.progress import Progress
from harness.foreign import shown
from harness.runner.client import At

STYLES = {"good": "green", "warn": "yellow", "bad": "red"}
MOST_UNDER_WAY = 8
BAR = 24


class Screen:
    """Lines with colours, and meanwhile what goes on below them."""

    def __init__(self, stream: TextIO) -> None:
        """`stream` is a terminal."""
        self._console = Console(
            file=cast("IO[str]", _Lasting(stream)),
            force_terminal=True,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )

    def line(self, text: str, marks: Mapping[str, str]) -> None:
        """Print a line of foreign text; the first place of each of the marks is coloured by its tone."""
        words = Text(shown(text))
        for mark, tone in marks.items():
            at = words.plain.find(mark)
            if at >= 0 and tone in STYLES:
                words.stylize(STYLES[tone], at, at + len(mark))
        self._console.print(words)

    @contextmanager
    def live(self, progress: Progress, under_way: Callable[[], Sequence[At]]) -> Iterator[None]:
        """Meanwhile show how far a run is, below what is printed; nothing of it is left at the end."""
        drawn = Live(
            get_renderable=lambda: _drawn(progress, under_way()),
            console=self._console,
            transient=True,
            redirect_stdout=False,  # rich would print lines for standard error on standard output
            redirect_stderr=False,
        )
        with ExitStack() as opened:
            opened.enter_context(drawn)
            above = _Above(self)
            opened.enter_context(redirect_stdout(above))
            if sys.stderr.isatty():  # else it goes where it is sent to
                opened.enter_context(redirect_stderr(above))
            opened.callback(above.end)
            yield


def _drawn(progress: Progress, under_way: Sequence[At]) -> Group:
    head = Table.grid(padding=(0, 1))
    head.add_row(ProgressBar(total=max(progress.total, 1), completed=progress.done, width=BAR), Text(progress.words()))
    lines = [f"  {shown(case)}  {shown(stage)}" for case, stage in under_way[:MOST_UNDER_WAY]]
    if len(under_way) > MOST_UNDER_WAY:
        lines.append(f"  and {len(under_way) - MOST_UNDER_WAY} more")
    return Group(head, *(Text(words, no_wrap=True, overflow="ellipsis") for words in lines))


class _Above(io.TextIOBase):
    """What others print meanwhile, a line at a time above what is drawn."""

    def __init__(self, screen: Screen) -> None:
        self._screen, self._rest = screen, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for words in lines:
            self._screen.line(words, {})
        return len(text)

    def isatty(self) -> bool:
        return True

    def end(self) -> None:
        """Print what is left of a line."""
        if self._rest:
            self.write("\n")


class _Lasting:
    """A terminal that may be gone, which is no reason to lose a run; it gets what it can show."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        code = self._stream.encoding
        try:
            return self._stream.write(text.encode(code, "replace").decode(code))
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """What is still to come goes nowhere, also what Python flushes at its end."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
