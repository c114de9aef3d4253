"""The keys of inputs that are made from raw files, and what shows only when their files are looked at.

A kind is a mapping of keys whose first one is its name (`images: data/val`); the others say how it is prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, ValidationInfo

from harness.errors import InputError, did_you_mean
from harness.inputs.kinds import KINDS, LABELS, versions
from harness.inputs.samples import MAX_WRONG, empty, mislabelled, read_labels, samples
from harness.records import InputSpec, Preparation
from harness.suites.fields import CsvFile, IdPart, JsonFile, Strict, Text, places

Length = Annotated[float, Field(gt=0, le=1000)]
Side = Annotated[int, Field(ge=1, le=1 << 16)]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


def _data(text: str, info: ValidationInfo) -> str:
    return places(info).data(text)


def _size(value: Any) -> list[int]:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 1 << 16 for side in sides):
        raise ValueError(f"must be one side or [height, width], whole numbers from 1 to 65536, not {value!r}")
    return sides


def _not_zero(values: list[float]) -> list[float]:
    if 0 in values:
        raise ValueError("divides, so no value can be 0")
    return values


Data = Annotated[str, AfterValidator(_data)]
"""A folder, or a file, as an absolute path."""


class PreparedKeys(Strict):
    """What every kind of prepared input has."""

    labels: CsvFile | None = Field(
        None, description="CSV table of file and label; `accuracy.task` takes them where it names none."
    )
    feeds: dict[Text, Text] | None = Field(
        None, description="Array that is prepared to input tensor, where one entry feeds several."
    )


class PixelKeys(Strict):
    """What images and frames of video have in common."""

    size: Annotated[list[int], PlainValidator(_size, json_schema_input_type=int | list[int])] | None = Field(
        None, description="One side, or [height, width], in pixels."
    )
    crop: Literal["center", "none"] = Field(
        "center", description="center: the middle of the image at its own proportions; none: stretched to the size."
    )
    resize: Side | None = Field(
        None, description="Length of the shorter side before the crop; default: as small as `size` allows."
    )
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
        "bilinear", description="Filter of the resizing, as Pillow names it."
    )
    mean: Channels = Field([0.0, 0.0, 0.0], description="Taken off each channel, after `scale`.")
    std: Annotated[Channels, AfterValidator(_not_zero)] = Field(
        [1.0, 1.0, 1.0], description="Each channel is divided by it, after `mean`."
    )
    scale: Annotated[float, Field(gt=0)] = Field(255.0, description="Bytes are divided by it: 255 gives 0 to 1.")
    dtype: Literal["float32", "uint8"] = Field(
        "float32", description="uint8: the bytes as they are, without mean, std and scale."
    )
    layout: Literal["nchw", "nhwc"] = Field("nchw", description="Order of the axes.")
    channels: Literal["rgb", "bgr"] = Field("rgb", description="Order of the channels, also of mean and std.")

    def _fits(self) -> None:
        if self.size is None:
            raise ValueError("the required key 'size' is missing: every image is brought to it")
        if self.resize is not None and (self.crop == "none" or self.resize < max(self.size)):
            raise ValueError("resize is the shorter side before a crop: at least as long as `size`")
        if stray := sorted(self.model_fields_set & {"mean", "std", "scale"}) if self.dtype == "uint8" else []:
            raise ValueError(f"'{stray[0]}' means nothing beside 'dtype: uint8'")


class ImagesKeys(PixelKeys):
    """Images, decoded and normalised by Pillow."""

    images: Data | None = Field(
        None, description="Folder of PNG, JPEG, BMP, WebP and PPM files, in the order of their names."
    )


class VideoKeys(PixelKeys):
    """Frames of video, decoded by PyAV and normalised by Pillow."""

    video: Data | None = Field(
        None, description="MP4, MOV, MKV, WebM or AVI file, or a folder of them, in the order of their names."
    )
    every: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="5: every fifth frame of a file, from its first one on."
    )


class TextKeys(Strict):
    """Texts, cut into tokens by a tokenizer of one's own."""

    text: Data | None = Field(
        None, description="A .txt file with a text in each line, or a folder of .txt files with one each, in UTF-8."
    )
    tokenizer: JsonFile | None = Field(None, description="tokenizer.json of the package tokenizers.")
    length: Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None, description="Tokens of every text: longer ones are cut, shorter ones filled."
    )
    buckets: IdPart | None = Field(
        None, description="Instead of length a dimension: each text goes to the shape with the smallest that holds it."
    )
    pad: Text = Field("[PAD]", description="Token that shorter texts are filled with.")

    def _fits(self) -> None:
        if self.tokenizer is None:
            raise ValueError("the required key 'tokenizer' is missing: it cuts texts into tokens")
        if (self.length is None) == (self.buckets is None):
            raise ValueError("needs exactly one of length, buckets")


class AudioKeys(Strict):
    """Speech, decoded by soundfile, resampled by soxr."""

    audio: Data | None = Field(None, description="Folder of WAV and FLAC files of one channel, ordered by name.")
    rate: Annotated[int, Field(ge=1000, le=384_000)] | None = Field(None, description="Samples a second.")
    resampler: Literal["soxr"] | None = Field(
        None, description="soxr: files of another rate are resampled; by default they are an error."
    )
    mels: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Log-mel features, that many; without it the samples themselves are given."
    )
    window_ms: Length = Field(25.0, description="Length of the Hann window.")
    hop_ms: Length = Field(10.0, description="From one window to the next.")
    fft: Annotated[int, Field(ge=2, le=1 << 16)] | None = Field(
        None, description="Points of the transform; default: the next power of two that holds the window."
    )
    fmin: Annotated[float, Field(ge=0)] = Field(0.0, description="Lower edge of the first filter, in Hz.")
    fmax: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Upper edge of the last filter, in Hz; default: half the rate."
    )
    mel_scale: Literal["htk", "slaney"] = Field("htk", description="htk: filters of height 1; slaney: of area 1.")
    floor: Annotated[float, Field(gt=0)] = Field(1e-10, description="Smaller powers are taken for this one.")
    normalise: Literal["utterance", "none"] = Field(
        "utterance", description="utterance: each mel (or the samples) to mean 0 and deviation 1 over the clip."
    )
    time_axis: Literal["last", "first"] = Field(
        "last", description="last: [clips, mels, frames]; first: [clips, frames, mels]."
    )

    def _fits(self) -> None:
        if self.rate is None:
            raise ValueError("the required key 'rate' is missing: every clip has it, or is resampled to it")
        general = {"audio", "rate", "resampler", "normalise"}
        own = {*AudioKeys.model_fields} - general
        if stray := sorted(self.model_fields_set & own) if self.mels is None else []:
            raise ValueError(f"'{stray[0]}' means nothing without 'mels'")
        from harness.inputs.logmel import declared  # imports numpy, which only suites with audio wait for

        how = declared(vars(self))
        try:
            if how is not None:
                how.check()
        except InputError as error:
            raise ValueError(str(error)) from None


KEYS: Mapping[str, type[Strict]] = {
    "audio": AudioKeys,
    "images": ImagesKeys,
    "text": TextKeys,
    "video": VideoKeys,
}
"""Kind of preparation to its keys."""
FILES: Mapping[str, tuple[str, ...]] = {"text": ("tokenizer",)}
"""Keys of a kind that name other files that it reads."""


def check(entry: BaseModel, kind: str) -> None:
    """ValueError where the keys of a kind do not fit each other."""
    KEYS[kind]._fits(entry)  # type: ignore[attr-defined] # noqa: SLF001 - each kind checks itself


def keys(kind: str) -> set[str]:
    """Every key that may stand beside a kind."""
    return {*KEYS[kind].model_fields, *PreparedKeys.model_fields} - {kind}


def specs(name: str, entry: Any, kind: str) -> dict[str, InputSpec]:
    """The inputs that one entry feeds, by tensor."""
    beside = {key: str(getattr(entry, key)) for key in FILES.get(kind, ()) if getattr(entry, key) is not None}
    if entry.labels is not None:
        beside[LABELS] = entry.labels
    settings = {key: getattr(entry, key) for key in KEYS[kind].model_fields if key not in (kind, *FILES.get(kind, ()))}
    preparation = Preparation(kind, getattr(entry, kind), settings, beside, versions(KINDS[kind]))
    rows = tuple(entry.slice) if entry.slice else None
    spec = InputSpec("prepared", slice=rows, preparation=preparation)
    if entry.feeds is None:
        return {name: spec}
    return {
        tensor: InputSpec("prepared", key=array, slice=rows, preparation=preparation)
        for array, tensor in entry.feeds.items()
    }


def wrong(
    entry: Any, kind: str, shapes: Sequence[Mapping[str, int]]
) -> Iterator[tuple[tuple[str, ...], int | None, str]]:
    """What is wrong with an entry beside the shapes, and with its files: the key, or else the line of its labels."""
    facts, size = KINDS[kind], getattr(entry, "buckets", None)
    for array in entry.feeds or ():
        if array not in facts.arrays:
            yield ("feeds", array), None, f"{kind} make no array '{array}'{did_you_mean(array, facts.arrays)}"
    if size is not None and not all(size in shape for shape in shapes):
        yield ("buckets",), None, f"every entry of `shapes` must set '{size}'"
    try:
        found = samples(Path(getattr(entry, kind)), facts.suffixes, lines=facts.lines)
    except InputError as error:
        yield (kind,), None, str(error)
        return
    for name in empty(found)[:MAX_WRONG]:
        yield (kind,), None, f"'{name}' is empty (0 bytes) or cannot be read"
    if entry.labels is not None:
        names = None if facts.parts else [one.name for one in found]
        yield from _wrong_labels(Path(entry.labels), names, classes=facts.classes)


def _wrong_labels(
    table: Path, names: Sequence[str] | None, *, classes: bool
) -> Iterator[tuple[tuple[str, ...], int | None, str]]:
    try:
        labels = read_labels(table)
    except InputError as error:
        yield (LABELS,), None, str(error)
        return
    for line, words in mislabelled(labels, names, classes=classes)[:MAX_WRONG]:
        yield (LABELS,), line, words
