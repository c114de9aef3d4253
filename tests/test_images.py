"""Images as inputs: what becomes of a file, step by step, and which files are refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import InputError
from harness.inputs.images import make
from harness.inputs.samples import Sample

pytest.importorskip("PIL")
from PIL import Image

PLAIN: dict[str, Any] = {
    "size": [2, 2],
    "crop": "center",
    "resize": None,
    "resample": "bilinear",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "scale": 255.0,
    "dtype": "uint8",
    "layout": "nhwc",
    "channels": "rgb",
}
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def read(file: Path, **settings: Any) -> Any:
    return make([Sample(file.name, file)], {**PLAIN, **settings}).arrays["image"][0]


def saved(folder: Path, pixels: Any, name: str = "a.png", **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, np.uint8))
    image.save(folder / name, **options)
    return folder / name


def test_bytes_become_rgb_rows_from_the_top(tmp_path: Path) -> None:
    pixels = [[RED, GREEN], [BLUE, RED]]
    np.testing.assert_array_equal(read(saved(tmp_path, pixels)), pixels)


def test_mean_and_std_follow_scale_in_the_order_of_the_channels(tmp_path: Path) -> None:
    file = saved(tmp_path, [[(255, 51, 0)] * 2] * 2)
    settings: dict[str, Any] = {"dtype": "float32", "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.1, 2.0]}
    np.testing.assert_allclose(read(file, **settings)[0, 0], [1.0, -0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(read(file, channels="bgr", **settings)[0, 0], [-1.0, -0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(read(file, **{**settings, "scale": 1.0})[0, 0], [509.0, 507.5, 0.0])
    assert read(file, **settings).dtype == np.float32


def test_layout_says_where_the_channels_stand(tmp_path: Path) -> None:
    file = saved(tmp_path, [[RED, GREEN, BLUE]] * 2)
    assert read(file, size=[2, 3]).shape == (2, 3, 3)
    np.testing.assert_array_equal(read(file, size=[2, 3], layout="nchw")[0], [[255, 0, 0]] * 2)


def test_the_middle_is_cut_out_at_the_proportions_of_the_image(tmp_path: Path) -> None:
    wide = saved(tmp_path, [[RED, RED, GREEN, GREEN, BLUE, BLUE]] * 2)
    np.testing.assert_array_equal(read(wide), [[GREEN, GREEN]] * 2)
    np.testing.assert_array_equal(read(wide, crop="none", resample="nearest", size=[1, 3]), [[RED, GREEN, BLUE]])


def test_resize_is_the_shorter_side_before_the_crop(tmp_path: Path) -> None:
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[2:6, 4:8] = 255  # all that is left of the middle half
    file = saved(tmp_path, pixels)
    assert read(file, size=[4, 4], resize=8).min() == 255
    assert read(file, size=[4, 4]).min() < 10


def test_the_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[RED, GREEN], [RED, GREEN]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    np.testing.assert_array_equal(read(saved(tmp_path, image, exif=exif)), [[RED, RED], [GREEN, GREEN]])


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("LA", (100, 255), (100, 100, 100)),
        ("RGBA", (200, 100, 0, 255), (200, 100, 0)),
        ("RGBA", (200, 100, 0, 0), (0, 0, 0)),
        ("P", 0, (9, 8, 7)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, colour: Any, expected: tuple[int, ...]) -> None:
    image = Image.new(mode, (2, 2), colour)
    if mode == "P":
        image.putpalette([9, 8, 7])
    np.testing.assert_array_equal(read(saved(tmp_path, image)), [[expected] * 2] * 2)


def test_images_of_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, Image.fromarray(np.full((2, 2), 40_000, np.uint16)))
    with pytest.raises(InputError, match=r"a\.png: has mode I;16, of more than 8 bits"):
        read(file)


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and which holds a few bytes of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (claiming(60_000, 60_000), "decompression bomb|pixels: 100,000,000 are the most"),
        (claiming(11_000, 10_000), "has 11000 x 10000 pixels: 100,000,000 are the most"),
        (claiming(100, 100), "cannot be decoded"),
        (b"no image at all", "cannot identify image file 'the file'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot identify"),
        (b"GIF89a" + bytes(40), "cannot identify"),
    ],
    ids=["bomb", "too many pixels", "too few bytes", "no image", "postscript", "gif"],
)
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.png: .*({words})"):
        read(tmp_path / "bad.png")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_every_image_that_is_cut_short_is_named(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(stream, kind)
    files = [tmp_path / f"{name}.{kind}" for name in "abc"]
    for file in files:
        file.write_bytes(stream.getvalue() if file == files[1] else stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(InputError) as caught:
        make([Sample(file.name, file) for file in files], PLAIN)
    assert f"a.{kind}: cannot be decoded" in str(caught.value)
    assert f"c.{kind}: cannot be decoded" in str(caught.value)
    assert f"b.{kind}" not in str(caught.value)
