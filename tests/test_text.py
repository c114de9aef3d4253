"""Texts as inputs: tokens, masks, lengths and buckets, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import InputError, SuiteError
from harness.inputs.prepared import settled
from harness.inputs.samples import samples
from harness.inputs.text import make
from harness.suites import load
from plans import plan
from toy import small_model

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers, processors

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c")
LINES = ("a", "a b c", "a b c a b c a", "b z")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Words of one letter; [CLS] is 2, [SEP] is 3, "a" is 4."""
    made = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_padding(length=9, pad_id=6)  # what the file says of padding and truncation does not count
    made.enable_truncation(2)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def lines(folder: Path, texts: tuple[str, ...] = LINES) -> Path:
    (folder / "t.txt").write_text("\n".join(texts) + "\n", "utf-8")
    return folder / "t.txt"


def made(tokenizer: Path, **settings: Any) -> Any:
    found = samples(lines(tokenizer.parent), {".txt"}, lines=True)
    return make(found, {"tokenizer": str(tokenizer), "pad": "[PAD]", "length": 5, **settings})


def test_texts_are_cut_with_their_special_tokens_and_filled_where_the_mask_is_0(tokenizer: Path) -> None:
    found = made(tokenizer).arrays
    np.testing.assert_array_equal(found["ids"], [[2, 4, 3, 0, 0], [2, 4, 5, 6, 3], [2, 4, 5, 6, 3], [2, 5, 1, 3, 0]])
    np.testing.assert_array_equal(found["mask"], [[1, 1, 1, 0, 0], [1] * 5, [1] * 5, [1, 1, 1, 1, 0]])
    assert not found["types"].any()
    assert {array.dtype.name for array in found.values()} == {"int64"}


def test_every_text_goes_to_one_bucket_and_the_longest_to_the_largest(tokenizer: Path) -> None:
    shapes = tuple({"n": 2, "seq": seq} for seq in (3, 5, 8))
    rows = []
    for shape in shapes:
        of_case = settled({"buckets": "seq"}, plan(shapes=shapes, dimensions=shape))
        rows.append(list(made(tokenizer, **of_case).rows))
    assert rows == [[0], [1, 3], [2]]


def test_a_bucket_without_a_text_is_refused(tokenizer: Path) -> None:
    with pytest.raises(InputError, match="no text has more than 5 and at most 8 tokens"):
        made(tokenizer, length=8, above=5, rest=False)


def test_a_drawn_shape_takes_all_texts(tokenizer: Path) -> None:
    of_case = settled({"buckets": "seq"}, plan(shapes=({"seq": 3}, {"seq": 8}), dimensions={"seq": 4}, fuzzed=True))
    assert list(made(tokenizer, **of_case).rows) == [0, 1, 2, 3]


def test_a_folder_holds_one_text_in_each_file(tokenizer: Path) -> None:
    folder = tokenizer.parent / "texts"
    folder.mkdir()
    for name, text in (("b.txt", "b\na"), ("a.txt", "a")):
        (folder / name).write_text(text)
    found = make(samples(folder, {".txt"}, lines=True), {"tokenizer": str(tokenizer), "pad": "[PAD]", "length": 4})
    np.testing.assert_array_equal(found.arrays["ids"], [[2, 4, 3, 0], [2, 5, 4, 3]])


def test_a_token_to_fill_with_must_be_one_of_the_tokenizer(tokenizer: Path) -> None:
    with pytest.raises(InputError, match=r"no token '<pad>' to fill with: name its own with `pad`"):
        made(tokenizer, pad="<pad>")


def test_a_file_that_is_no_tokenizer_is_refused(tokenizer: Path) -> None:
    tokenizer.write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read as a tokenizer\.json"):
        made(tokenizer)


SUITE = """
suite: s
models:
  - name: m
    source: m.onnx
    shapes: [{{n: 2}}]
    inputs:
      x: {{text: t.txt, {settings}}}
"""


@pytest.mark.parametrize(
    ("texts", "settings", "words"),
    [
        (LINES, "length: 4", "8:10: models[0].inputs.x: the required key 'tokenizer' is missing"),
        (LINES, "tokenizer: tokenizer.json", "8:10: models[0].inputs.x: needs exactly one of length, buckets"),
        (
            LINES,
            "tokenizer: tokenizer.json, buckets: seq",
            "8:60: models[0].inputs.x.buckets: every entry of `shapes` must set 'seq'",
        ),
        (
            LINES,
            "tokenizer: tokenizer.json, length: 4, feeds: {words: x}",
            "models[0].inputs.x.feeds.words: text make no array 'words'; known: ids, mask, types",
        ),
        (("a", " ", "b"), "tokenizer: tokenizer.json, length: 4", "t.txt:2:1: is empty: each line is a text"),
        (LINES, "tokenizer: ../t.json, length: 4", "'../t.json' leaves the root"),
    ],
)
def test_mistakes_are_told_in_the_suite(tokenizer: Path, texts: tuple[str, ...], settings: str, words: str) -> None:
    folder = tokenizer.parent
    lines(folder, texts)
    small_model(folder / "m.onnx")
    (folder / "pyproject.toml").touch()
    (folder / "s.yaml").write_text(SUITE.format(settings=settings))
    with pytest.raises(SuiteError) as caught:
        load([folder / "s.yaml"])
    assert words in str(caught.value)


def test_a_text_that_is_not_in_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match=r"t\.txt: cannot be read as text in UTF-8"):
        samples(tmp_path / "t.txt", {".txt"}, lines=True)
