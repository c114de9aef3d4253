"""Speech: what a network with a CTC output heard, and the share of words that it got wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from harness.errors import InputError
from harness.metrics.base import TaskMetric, Tensor

SLACK_FRAMES = 8
"""What a network may lose of its output at the ends of its input, in frames of the output."""
MOST_PAIRS = 12
"""Texts that were misheard that are told."""


def wer(
    output: Tensor, labels: Tensor, tokens: Sequence[str] = (), stride: int | None = None, lengths: Tensor | None = None
) -> float:
    """The word error rate of greedy decoding; output [clips, frames, tokens], labels [clips] of text.

    `lengths` [clips] are frames of the input, of which the output has one for each `stride` (1); without them all
    frames count. Texts are compared as they are, word by word, upper and lower case told apart.
    """
    heard = _heard(output, labels, tokens, stride, lengths)
    return word_errors(labels.tolist(), heard)


def misheard(
    output: Tensor, labels: Tensor, tokens: Sequence[str] = (), stride: int | None = None, lengths: Tensor | None = None
) -> tuple[int, str]:
    """The number of clips in which a word is wrong, and as JSON of the most frequent ones [said, heard, clips]."""
    heard = _heard(output, labels, tokens, stride, lengths)
    wrong = Counter(
        (said, text) for said, text in zip(labels.tolist(), heard, strict=True) if said.split() != text.split()
    )
    return wrong.total(), json.dumps([[*pair, count] for pair, count in wrong.most_common(MOST_PAIRS)])


def _heard(
    output: Tensor, labels: Tensor, tokens: Sequence[str], stride: int | None, lengths: Tensor | None
) -> list[str]:
    """What is heard in each clip; InputError where output, labels, tokens and lengths do not fit each other."""
    if output.ndim != 3 or labels.ndim != 1 or labels.dtype.kind != "U":
        shapes = f"{list(output.shape)} and {labels.dtype} {list(labels.shape)}"
        raise InputError(f"wer needs outputs [clips, frames, tokens] and labels [clips] that are texts, not {shapes}")
    if len(output) != len(labels):
        raise InputError(f"wer has {len(output)} rows of outputs and {len(labels)} labels: use `slice` on one of them")
    if output.shape[2] != len(tokens):
        raise InputError(f"the output has {output.shape[2]} tokens a frame and {len(tokens)} are named in `tokens`")
    return greedy(output, tokens, _frames(output.shape, stride or 1, lengths))


def _frames(shape: tuple[int, ...], stride: int, lengths: Tensor | None) -> Tensor:
    """Frames of the output that each clip has."""
    if lengths is None:
        return np.full(shape[0], shape[1])
    frames = -(-lengths.astype(np.int64) // stride)
    if abs(int(frames.max()) - shape[1]) > min(SLACK_FRAMES, shape[1] // 4):
        raise InputError(
            f"the longest clip has {lengths.max()} frames and the output {shape[1]}: "
            f"`stride` is their ratio, and with {stride} there would be {frames.max()}"
        )
    return np.minimum(frames, shape[1])


def greedy(output: Tensor, tokens: Sequence[str], lengths: Sequence[int] | Tensor) -> list[str]:
    """The text of each row of `output` [rows, frames, tokens], of which the first `lengths` frames count.

    Best path decoding: the largest entry of every frame, runs of one token taken once, then blanks (the empty token)
    left out. A. Graves et al., Connectionist Temporal Classification, ICML 2006, section 3.2.
    """
    return [_text(frames[:length].argmax(axis=1), tokens) for frames, length in zip(output, lengths, strict=True)]


def _text(path: np.ndarray, tokens: Sequence[str]) -> str:
    heard = [tokens[one] for place, one in enumerate(path) if place == 0 or one != path[place - 1]]
    return " ".join("".join(heard).split())


def word_errors(said: Sequence[str], heard: Sequence[str]) -> float:
    """Words replaced, left out and put in, over the words said in all rows together (above 1 where many are put in)."""
    if not any(text.split() for text in said):
        raise InputError("the labels hold no word, so there is no word error rate")
    try:
        import jiwer
    except ImportError:
        raise InputError("the word error rate needs the package jiwer: pip install 'trt-harness[speech]'") from None
    return float(jiwer.wer(list(said), list(heard)))


WER = TaskMetric("wer", "", "lower", wer, misheard, settings=("tokens", "stride", "lengths"))
