"""Greedy CTC decoding and the word error rate, and how a task is judged whose metric is better when lower."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import InputError
from harness.metrics.speech import greedy, misheard, wer
from harness.records import Task
from harness.runner.digests import plan_digest
from plans import plan

TOKENS = ("", " one", " two", " three")


def path(*tokens):
    """Logits of one clip whose largest entry in each frame is the given token."""
    return np.eye(len(TOKENS), dtype=np.float32)[list(tokens)]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ((0, 1, 1, 0, 2), "one two"),
        ((1, 1, 1), "one"),
        ((1, 0, 1), "one one"),
        ((1, 2, 1), "one two one"),
        ((0, 0, 0), ""),
        ((), ""),
    ],
)
def test_runs_are_one_token_and_blanks_are_none(tokens, text):
    assert greedy(path(*tokens)[None], TOKENS, [len(tokens)]) == [text]


def test_frames_behind_the_end_of_a_clip_say_nothing():
    assert greedy(np.stack([path(1, 0, 2, 3), path(1, 0, 2, 3)]), TOKENS, [1, 3]) == ["one", "one two"]


def test_characters_are_joined_to_words_at_their_space():
    letters = ("a", "b", " ", "")
    logits = np.eye(4)[[2, 0, 3, 0, 1, 2, 2, 1, 2]]

    assert greedy(logits[None], letters, [9]) == ["aab b"]


SAID = np.array(["one two", "three three"])
HEARD = np.stack([path(1, 0, 2, 0), path(3, 0, 1, 2)])  # "one two", and one replaced, one put in


def test_the_word_error_rate_is_that_of_all_words_together():
    pytest.importorskip("jiwer")
    assert wer(HEARD, SAID, tokens=TOKENS, stride=None, lengths=None) == pytest.approx(2 / 4)


@pytest.mark.parametrize(("lengths", "rate"), [([8, 7], 2 / 4), ([8, 6], 1 / 4), ([8, 2], 1 / 4), ([2, 8], 3 / 4)])
def test_lengths_of_the_input_are_those_of_the_output_times_the_stride(lengths, rate):
    pytest.importorskip("jiwer")
    assert wer(HEARD, SAID, tokens=TOKENS, stride=2, lengths=np.array(lengths)) == pytest.approx(rate)


def test_without_jiwer_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)

    with pytest.raises(InputError, match=r"pip install 'trt-harness\[speech\]'"):
        wer(HEARD, SAID, tokens=TOKENS)


def test_clips_that_are_misheard_are_counted_in_pairs_the_most_frequent_first():
    heard, said = np.concatenate([HEARD, HEARD[1:]]), np.array(["one two", "three three", "three three"])

    count, pairs = misheard(heard, said, tokens=TOKENS)

    assert count == 2
    assert json.loads(pairs) == [["three three", "three one two", 2]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": HEARD[0]}, r"needs outputs \[clips, frames, tokens\]"),
        ({"labels": np.array([1, 2])}, "texts"),
        ({"labels": SAID[:1]}, "2 rows of outputs and 1 labels"),
        ({"tokens": TOKENS[:3]}, "4 tokens a frame and 3"),
        ({"labels": np.array(["", " "])}, "no word"),
        ({"stride": 4, "lengths": np.array([8, 8])}, "stride"),
        ({"stride": 1, "lengths": np.array([160, 8])}, "stride"),
    ],
)
def test_what_cannot_be_decoded_is_an_error_that_says_why(change, words):
    given = {"output": HEARD, "labels": SAID, "tokens": TOKENS, "stride": None, "lengths": None, **change}

    with pytest.raises(InputError, match=words):
        wer(**given)


def test_stored_scores_hold_for_other_limits_and_for_no_other_decoding():
    task = Task("wer", "y", "said.npy", max=0.1, tokens=TOKENS, stride=4)
    measured = plan_digest(plan(task=task))

    assert plan_digest(plan(task=replace(task, max=0.2, max_rise=0.01))) == measured
    assert plan_digest(plan(task=replace(task, stride=2))) != measured
    assert plan_digest(plan(task=replace(task, tokens=(" a", *TOKENS[1:])))) != measured
