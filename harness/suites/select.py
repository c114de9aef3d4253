"""`-k EXPR`: cases by words of their ids and tags, as pytest's -k does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from harness.errors import UsageError
from harness.records import Case

Matcher = Callable[[Case], bool]

_TOKEN = re.compile(r"\s*(?:(?P<word>[\w:+\-.\[\]\\/@]+)|(?P<mark>[()])|(?P<end>$))")


class _Token(NamedTuple):
    text: str
    column: int
    """Counted from 1."""
    is_word: bool

    def __str__(self) -> str:
        return f"'{self.text}'" if self.text else "the end"


class _Named(Protocol):
    """What can be selected: a plan, or the record that it became."""

    @property
    def case(self) -> Case: ...


_Item = TypeVar("_Item", bound=_Named)


def select(plans: Sequence[_Item], expression: str) -> list[_Item]:
    """The plans (or records) whose id or tags match; UsageError says where the expression is wrong.

    Words match anywhere in an id or tag, in any case of letters; a word that is a full case id matches only that
    case. They combine with `and`, `or`, `not` and parentheses. An empty expression selects everything.
    """
    if not expression.strip():
        return list(plans)
    matches = _Parser(expression, frozenset(plan.case.id for plan in plans)).parse()
    return [plan for plan in plans if matches(plan.case)]


class _Parser:
    """Recursive descent: or < and < not < word or parentheses."""

    def __init__(self, expression: str, ids: frozenset[str]) -> None:
        self._expression = expression
        self._ids = ids
        self._tokens = self._scan()
        self._next = 0

    def parse(self) -> Matcher:
        matcher = self._either()
        if self._peek().text:
            raise self._error("'and', 'or' or the end")
        return matcher

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while not tokens or tokens[-1].text:
            match = _TOKEN.match(self._expression, position)
            if match is None:
                rest = self._expression[position:].lstrip()
                column = len(self._expression) - len(rest) + 1
                raise UsageError(f"-k '{self._expression}': column {column}: unexpected character '{rest[0]}'")
            kind = str(match.lastgroup)
            tokens.append(_Token(match[kind], match.start(kind) + 1, kind == "word"))
            position = match.end()
        return tokens

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _accept(self, text: str) -> bool:
        found = self._peek().text == text
        self._next += found
        return found

    def _error(self, expected: str) -> UsageError:
        token = self._peek()
        return UsageError(f"-k '{self._expression}': column {token.column}: expected {expected}, not {token}")

    def _either(self) -> Matcher:
        matchers = [self._both()]
        while self._accept("or"):
            matchers.append(self._both())
        return lambda case: any(matches(case) for matches in matchers)

    def _both(self) -> Matcher:
        matchers = [self._negated()]
        while self._accept("and"):
            matchers.append(self._negated())
        return lambda case: all(matches(case) for matches in matchers)

    def _negated(self) -> Matcher:
        negations = 0
        while self._accept("not"):
            negations += 1
        matches = self._single()
        return (lambda case: not matches(case)) if negations % 2 else matches

    def _single(self) -> Matcher:
        if self._accept("("):
            matcher = self._either()
            if not self._accept(")"):
                raise self._error("')'")
            return matcher
        token = self._peek()
        if not token.is_word or token.text in ("and", "or"):
            raise self._error("a word, 'not' or '('")
        self._next += 1
        return self._word(token.text)

    def _word(self, word: str) -> Matcher:
        if word in self._ids:
            return lambda case: case.id == word
        lower = word.lower()
        return lambda case: lower in case.id.lower() or any(lower in tag.lower() for tag in case.tags)
