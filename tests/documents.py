"""The documents of the project: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str, under: str = "") -> list[str]:
    """The fenced blocks of a language, in the whole page or under one heading."""
    text = page.read_text()
    if under:
        text = re.split(r"^## ", text.partition(f"\n## {under}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [inside for kind, inside in FENCE.findall(text) if kind == language]


def lines(block: str) -> list[str]:
    """The command lines of a block, continued ones joined."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def words(line: str) -> list[str]:
    """The words of a command line, without its remark; brackets around what may be left out are dropped."""
    return shlex.split(re.sub(r"(?<=\s)\[(--[^\]]*)\]", r"\1", line), comments=True)
