"""What the documents say can be typed: commands parse, options exist, links lead somewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from documents import FENCE, PAGES, blocks, lines, words
from harness.cli import parser
from harness.commands.stores import in_words

# Words that stand for the reader's own, with one that the command takes there. All else is typed as it stands.
PLACEHOLDERS = {"CASE": "vision/net/tensorrt/fp16/n-1", "DATE": "2026-12-31", "MODEL": "net.onnx", "N": "3"}
FREE = {"RUN", "DIR", "FILE", "SUITE", "SUITES", "TEXT", "URL", "NAME", "PATH", "EXPR"}  # any word will do
COMMANDS = [
    pytest.param(words(line)[1:], id=f"{page.name}: {line.partition('#')[0].strip()}")
    for page in PAGES
    for block in blocks(page, "bash")
    for line in lines(block)
    if line.startswith("harness ")
]
INLINE = [
    pytest.param(code.split()[1:], id=f"{page.name}: {code}")
    for page in PAGES
    for code in re.findall(r"`(harness [a-z][^`]*)`", FENCE.sub("", page.read_text()))
]


def known(command: list[str]) -> argparse.ArgumentParser:
    """The parser of a command's first word."""
    (action,) = [one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return action.choices[in_words(command)[0]]


def unknown_options(command: list[str]) -> list[str]:
    """Options that the command does not have by that very name: argparse itself takes a beginning of one."""
    told = known(command)._option_string_actions
    typed = [word.partition("=")[0].strip("[],;") for word in command[1:]]
    return [word for word in typed if re.fullmatch(r"--?[a-z][a-z-]*", word) and word not in told]


def test_there_are_commands_in_many_pages() -> None:
    assert len(COMMANDS) > 20
    assert len(INLINE) > 40
    assert len({str(one.id).partition(":")[0] for one in COMMANDS}) > 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_a_block_parses_as_it_stands(command: list[str]) -> None:
    filled = [PLACEHOLDERS.get(word, word) for word in command]
    capitals = {word for word in filled if re.fullmatch(r"[A-Z]+", word)}
    assert capitals <= FREE, "a placeholder without a rule"
    assert unknown_options(filled) == []
    parser().parse_args(in_words(filled))  # exits where it does not parse


@pytest.mark.parametrize("command", INLINE)
def test_a_command_in_the_text_exists_with_its_options(command: list[str]) -> None:
    assert unknown_options(command) == []


def test_an_option_that_does_not_exist_or_is_cut_short_is_found() -> None:
    assert unknown_options(["run", "suites/", "--shards", "2/3"]) == ["--shards"]
    assert unknown_options(["run", "suites/", "--resum"]) == ["--resum"]
    assert unknown_options(["history", "add", "RUN", "--since=x"]) == ["--since"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_pytest_that_are_named_exist(page: Path, pytestconfig: pytest.Config) -> None:
    for option in set(re.findall(r"--harness-[a-z][a-z-]*[a-z]", page.read_text())):
        pytestconfig.getoption(option)  # ValueError where there is none


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if not re.match(r"https?:", link):
            name, _, anchor = link.partition("#")
            there = page.parent / name if name else page
            assert there.exists(), link
            assert not anchor or anchor in anchors(there), link


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}
