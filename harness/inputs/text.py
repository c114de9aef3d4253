"""Texts: cut into tokens by a `tokenizer.json`, and brought to one length.

Special tokens are added as the tokenizer's own post-processor says. Its padding and truncation are not used: a text
that is too long is cut at its end, special tokens kept; a shorter one is filled with the token `pad`, where the mask
is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.inputs.prepared import Made, each
from harness.inputs.room import check_room
from harness.inputs.samples import MAX_TEXT_BYTES, Sample, lines_of, read_text


def make(found: Sequence[Sample], settings: Mapping[str, Any]) -> Made:
    """Arrays `ids`, `mask` and `types`, int64 [rows, length].

    With `above` only the texts of more tokens than that and at most `length`, with `rest` those that are longer too.
    """
    tokenizer = _tokenizer(Path(settings["tokenizer"]))
    pad, length = _pad(tokenizer, settings["pad"]), settings["length"]
    texts = lines_of(found[0].file) if found[0].line else each(found, read_text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    sizes = [len(one.ids) for one in tokenizer.encode_batch(texts)]
    rows = [row for row, size in enumerate(sizes) if _belongs(size, settings)]
    if not rows:
        above = f"more than {settings.get('above', 0)} and " if settings.get("above") else ""
        raise InputError(f"no text has {above}at most {length} tokens: leave that shape out")
    check_room("texts", (len(rows), length), 8)
    tokenizer.enable_truncation(max_length=length)
    cut = tokenizer.encode_batch([texts[row] for row in rows])
    arrays = {
        "ids": [_filled(one.ids, length, pad) for one in cut],
        "mask": [_filled([1] * len(one.ids), length, 0) for one in cut],
        "types": [_filled(one.type_ids, length, 0) for one in cut],
    }
    return Made({name: np.array(values, np.int64) for name, values in arrays.items()}, rows)


def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    if file.stat().st_size > MAX_TEXT_BYTES:
        raise InputError(f"{file}: is larger than {MAX_TEXT_BYTES >> 20} MiB, which no tokenizer is")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing narrower
        raise InputError(f"{file}: cannot be read as a tokenizer.json: {error}") from None


def _pad(tokenizer: Any, token: str) -> int:
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise InputError(f"the tokenizer has no token '{token}' to fill with: name its own with `pad`")
    return found


def _belongs(size: int, settings: Mapping[str, Any]) -> bool:
    above: int = settings.get("above", 0)
    return size > above and (size <= settings["length"] or settings.get("rest", True))


def _filled(values: Sequence[int], length: int, fill: int) -> list[int]:
    return [*values, *[fill] * (length - len(values))]
