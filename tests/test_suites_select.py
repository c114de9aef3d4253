"""`-k`: which cases an expression selects."""

from __future__ import annotations

import re

import pytest

from harness.errors import UsageError
from harness.records import Plan
from harness.suites import load, select


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    folder = tmp_path_factory.mktemp("suites")
    (folder / "m.onnx").touch()
    (folder / "s.yaml").write_text(
        "suite: s\ndefaults: {precisions: [fp32, fp16]}\nmodels:\n"
        "  - {name: Ab, source: m.onnx, tags: [Fast], shapes: [{n: 6}, {n: 64}]}\n"
        "  - {name: cd, source: m.onnx, backends: [fake]}\n"
    )
    return load([folder / "s.yaml"])


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("", 6),
        ("ab", 4),
        ("fast", 4),
        ("FP16", 3),
        ("not fp16", 3),
        ("not not fp16", 3),
        ("ab and fp16", 2),
        ("cd or ab and fp16", 4),
        ("(cd or ab) and fp16", 3),
        ("not (cd or fp16)", 2),
        ("s/cd/", 2),
        ("fp32/n-6", 2),
        ("s/Ab/onnxruntime-cpu/fp32/n-6", 1),
        ("s/ab/onnxruntime-cpu/fp32/n-6", 2),
        ("s/Ab/onnxruntime-cpu/fp32/n-6 or s/cd/fake/fp32/static", 2),
        ("android", 0),
    ],
)
def test_words_match_ids_and_tags(plans: list[Plan], expression: str, count: int) -> None:
    assert len(select(plans, expression)) == count


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("ab cd", "column 4: expected 'and', 'or' or the end, not 'cd'"),
        ("ab and", "column 7: expected a word, 'not' or '(', not the end"),
        ("(ab", "column 4: expected ')', not the end"),
        ("ab)", "column 3: expected 'and', 'or' or the end, not ')'"),
        ("or", "column 1: expected a word"),
        ("ab and not", "column 11: expected a word"),
        ("ab == 3", "column 4: unexpected character '='"),
    ],
)
def test_a_bad_expression_says_where(plans: list[Plan], expression: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        select(plans, expression)
