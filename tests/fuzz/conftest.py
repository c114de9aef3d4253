"""Says at the end how many mutants were tried, and how they ended."""

from __future__ import annotations

import pytest
from ledger import lines, tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if tried:
        terminalreporter.write_sep("=", "mutants tried")
        for line in lines():
            terminalreporter.write_line(line)
