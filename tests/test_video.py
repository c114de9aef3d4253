"""Video as inputs: which frames are taken and what becomes of them, and which files are refused."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from film import cut, film, noise
from harness.errors import InputError
from harness.inputs import images
from harness.inputs.clips import frames
from harness.inputs.prepared import prepared
from harness.inputs.samples import Sample
from harness.inputs.video import make
from harness.records import InputSpec, Preparation
from harness.store import read_run
from plans import plan
from raw import means_model
from test_images import PLAIN, saved
from toy import harness

pytest.importorskip("PIL")
pytest.importorskip("av")

CLIP = {**PLAIN, "size": [24, 32], "every": 1}
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def read(file, **settings):
    return make([Sample(file.name, file)], {**CLIP, **settings}).arrays["frames"]


def test_frames_are_the_pictures_in_the_order_in_which_they_are_shown(tmp_path):
    pictures = noise(7)

    np.testing.assert_array_equal(read(film(tmp_path / "a.mkv", pictures)), pictures)


def test_a_codec_that_stores_frames_in_another_order_gives_them_as_they_are_shown(tmp_path):
    pictures = [np.full((32, 32, 3), 8 * number) for number in range(30)]
    file = film(tmp_path / "a.mp4", pictures, codec="libx264", pixels="yuv420p")
    found = read(file, size=[32, 32]).mean(axis=(1, 2, 3))

    assert np.all(np.diff(found) > 4)
    np.testing.assert_allclose(found, [8 * number for number in range(30)], atol=4)


@pytest.mark.parametrize(
    ("codec", "pixels", "name"),
    [
        ("libsvtav1", "yuv420p", "a.mp4"),
        ("libx265", "yuv420p", "a.mov"),
        ("libvpx", "yuv420p", "a.webm"),
        ("libvpx-vp9", "yuva420p", "a.webm"),
        ("mpeg2video", "yuv420p", "a.mkv"),
        ("mpeg4", "yuv420p", "a.avi"),
        ("mjpeg", "yuvj420p", "a.mkv"),
    ],
)
def test_every_codec_that_is_named_is_read(tmp_path, codec, pixels, name):
    pictures = [np.full((64, 64, 3), shade, np.uint8) for shade in (40, 80, 120, 160)]
    found = read(film(tmp_path / name, pictures, codec=codec, pixels=pixels), size=[64, 64])

    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), [40, 80, 120, 160], atol=4)


def test_every_fifth_frame_is_taken_from_the_first_one_on(tmp_path):
    pictures = noise(12)
    file = film(tmp_path / "a.mkv", pictures)
    found = make([Sample("a.mkv", file)], {**CLIP, "every": 5})

    np.testing.assert_array_equal(found.arrays["frames"], [pictures[0], pictures[5], pictures[10]])
    assert found.names == ["a.mkv:0", "a.mkv:5", "a.mkv:10"]
    assert "a.mkv:1" in found.others
    assert len(found.others) == 9


@pytest.mark.parametrize(
    "settings",
    [
        {"size": [8, 8]},
        {"size": [8, 8], "resize": 12, "resample": "bicubic"},
        {"size": [9, 7], "crop": "none", "channels": "bgr", "layout": "nchw"},
        {"size": [8, 8], "dtype": "float32", "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3], "layout": "nchw"},
    ],
)
def test_a_frame_becomes_what_an_image_of_the_same_pixels_becomes(tmp_path, settings):
    (picture,) = noise(1)
    still = saved(tmp_path, picture)
    expected = images.make([Sample("a.png", still)], {**CLIP, **settings}).arrays["image"]

    np.testing.assert_array_equal(read(film(tmp_path / "a.mkv", [picture]), **settings), expected)


@pytest.mark.parametrize(("height", "width"), [(31, 33), (7, 5), (1, 3)])
def test_odd_sizes_are_read(tmp_path, height, width):
    pictures = noise(3, height, width)

    np.testing.assert_array_equal(read(film(tmp_path / "a.mkv", pictures), size=[height, width]), pictures)


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, WHITE, (90, 120, 40)])
def test_colours_are_those_that_were_filmed(tmp_path, colour):
    file = film(tmp_path / "a.mkv", [np.full((24, 32, 3), colour)], pixels="yuv444p")

    np.testing.assert_allclose(read(file)[0, 3, 3], colour, atol=3)


def test_frames_are_turned_as_the_file_says(tmp_path):
    picture = np.zeros((24, 32, 3))
    picture[:4, :4] = 255  # the upper left corner
    file = film(tmp_path / "a.mp4", [picture] * 3, codec="libx264", pixels="yuv420p", turned=90)
    found = read(file, size=[32, 24])[0].mean(axis=2)

    corners = {"upper left": found[1, 1], "upper right": found[1, -2], "lower left": found[-2, 1]}
    assert max(corners, key=corners.get) == "lower left"  # counter-clockwise, which is what FFmpeg's angle means
    assert found[-2, 1] > 200


def test_variable_frame_rates_keep_their_times(tmp_path):
    times_ms = [0, 10, 50, 60, 300, 301, 900]
    file = film(tmp_path / "a.mkv", noise(7), times_ms=times_ms)

    assert [round(frame.time_s * 1e3) for frame in frames(file)] == times_ms


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4"])
def test_a_file_whose_first_frame_is_shown_late_is_whole_until_it_is_cut(tmp_path, name):
    """Matroska and AVI say when they end, MP4 how long it lasts; cameras start when they like."""
    codec, pixels = ("ffv1", "bgr0") if name == "a.mkv" else ("libx264", "yuv420p")
    options = {"movflags": "+faststart"} if name == "a.mp4" else {}
    file = film(tmp_path / name, noise(30), codec=codec, pixels=pixels, options=options, first=50)

    assert len(list(frames(file))) == 30
    with pytest.raises(InputError, match=r"cut|cannot be decoded|damaged"):
        list(frames(cut(file, 0.7)))


@pytest.mark.parametrize("count", [9, 10, 13, 33])
def test_an_avi_file_is_whole_however_many_frames_its_codec_stored_in_another_order(tmp_path, count):
    """AVI keeps no times at which frames are shown, so the last one may seem to be shown before others."""
    pictures = [np.full((64, 64, 3), 6 * number, np.uint8) for number in range(count)]
    file = film(tmp_path / "a.avi", pictures, codec="libx264", pixels="yuv420p")

    assert len(list(frames(file))) == count
    with pytest.raises(InputError, match=r"cut|cannot be decoded|damaged"):
        list(frames(cut(file, 0.7)))


def test_files_of_a_folder_follow_each_other(tmp_path):
    first, second = noise(4)[:2], noise(4)[2:]
    found = make(
        [Sample("a.mkv", film(tmp_path / "a.mkv", first)), Sample("b.mkv", film(tmp_path / "b.mkv", second))], CLIP
    )

    np.testing.assert_array_equal(found.arrays["frames"], [*first, *second])
    assert found.names == ["a.mkv:0", "a.mkv:1", "b.mkv:0", "b.mkv:1"]


def damaged(folder):
    """A file of its whole length, of which a part is something else."""
    file = film(folder / "a.mkv", noise(20, 64, 64), codec="mpeg4", pixels="yuv420p")
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, 50):
        content[place] ^= 0xFF
    file.write_bytes(content)
    return file


def sound(folder):
    import av

    with av.open(str(folder / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder / "a.mkv"


def cover(folder):
    """Sound with a picture of its cover."""
    import av
    from av.stream import Disposition

    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        picture = container.add_stream("mjpeg", rate=1)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuvj420p"
        picture.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        for one in (stream, picture):
            container.mux(one.encode(None))
    return folder / "a.mp4"


def other_container(folder):
    return film(folder / "a.ts", noise(5), codec="libx264", pixels="yuv420p").rename(folder / "a.mp4")


def written(folder, content, name="a.mp4"):
    (folder / name).write_bytes(content)
    return folder / name


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n"
HOSTILE = {
    "a Matroska file that is cut": (
        lambda at: cut(film(at / "a.mkv", noise(20))),
        r"is cut, or its header is wrong: it says that it lasts 0\.800 s, and its \d+ frames end at",
    ),
    "an MP4 file that is cut": (
        lambda at: cut(film(at / "a.mp4", noise(20), codec="libx264", pixels="yuv420p")),
        "cannot be decoded",
    ),
    "an MP4 file with its index first that is cut": (
        lambda at: cut(
            film(at / "a.mp4", noise(20), codec="libx264", pixels="yuv420p", options={"movflags": "faststart"})
        ),
        "cannot be decoded|is cut|is damaged",
    ),
    "damage in the middle": (damaged, r"cannot be decoded from frame \d+ on: Invalid data|is damaged"),
    "sound alone": (sound, "holds no video stream"),
    "sound with a cover": (cover, "holds no video stream"),
    "another container": (other_container, "cannot be decoded"),
    "text": (lambda at: written(at, b"file,label\n" * 50), "cannot be decoded"),
    "a playlist of addresses": (lambda at: written(at, PLAYLIST), "cannot be decoded"),
    "an animation": (lambda at: written(at, b"GIF89a" + bytes(60), "a.mkv"), "cannot be decoded"),
    "10 bits": (
        lambda at: film(at / "a.mkv", noise(2), pixels="yuv420p10le"),
        "frame 0 has pixels of yuv420p10le, of more than 8 bits: convert it to 8",
    ),
    "turned a little": (
        lambda at: film(at / "a.mp4", noise(2), codec="libx264", pixels="yuv420p", turned=30),
        r"frame 0 is to be turned by (30|29) degrees: turn it",
    ),
    "another codec": (
        lambda at: film(at / "a.mkv", noise(2), codec="rawvideo", pixels="yuv420p"),
        "is encoded as rawvideo, which is not read: av1, ",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_whole_video_is_an_error_that_names_it(tmp_path, name):
    make_file, words = HOSTILE[name]

    with pytest.raises(InputError, match=rf"a\.(mkv|mp4): .*({words})"):
        read(make_file(tmp_path))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mp4", "libx264", "yuv420p"), ("a.mkv", "ffv1", "bgr0"), ("a.avi", "mpeg4", "yuv420p")],
)
def test_whatever_bytes_are_changed_a_file_is_read_or_refused(tmp_path, name, codec, pixels):
    content = film(tmp_path / name, noise(4), codec=codec, pixels=pixels).read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(40):
        changed = bytearray(content)
        for place in rng.integers(0, min(len(content), rng.choice([600, len(content)])), rng.choice([1, 3, 20])):
            changed[place] = rng.integers(0, 256)
        try:
            read(written(tmp_path, changed, name))
        except InputError:
            refused += 1
    assert 0 < refused < 40


def test_no_more_frames_than_the_most_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.inputs.clips.MOST_FRAMES", 3)

    with pytest.raises(InputError, match="has more than 3 frames"):
        read(film(tmp_path / "a.mkv", noise(4)))


SUITE = """
suite: films
models:
  - name: means
    source: means.onnx
    shapes: [{n: 4}]
    inputs:
      image: {video: SOURCE, size: 8, labels: labels.csv}
    accuracy:
      task: {metric: top1, output: logits, min: 0.9}
    latency: {enabled: false}
"""


@pytest.fixture
def folder(tmp_path):
    """Frames in which one channel is the brightest, and a model that names it."""
    pictures = [picture // 4 for picture in noise(7)]
    for number, picture in enumerate(pictures):
        picture[..., number % 3] += 150
    (tmp_path / "pyproject.toml").touch()
    film(tmp_path / "a.mkv", pictures)
    means_model(tmp_path / "means.onnx")
    label(tmp_path, [(number, number % 3) for number in range(7)])
    (tmp_path / "s.yaml").write_text(SUITE.replace("SOURCE", "a.mkv"))
    return tmp_path


def label(folder, rows):
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"a.mkv:{number},{value}\n" for number, value in rows))


def change(folder, old, new):
    text = (folder / "s.yaml").read_text()
    assert old in text
    (folder / "s.yaml").write_text(text.replace(old, new))


def ran(folder):
    out = folder / f"out-{sum(1 for _ in folder.glob('out-*'))}"
    status = harness(folder, "run", folder / "s.yaml", "-o", out, "-q")
    (record,) = read_run(out).records
    return status, record


def top1(record):
    return [check.value for check in record.checks if check.name == "task/top1"]


def test_frames_are_judged_by_the_labels_of_their_numbers(folder):
    status, record = ran(folder)

    assert (status, top1(record)) == (0, [1.0])
    label(folder, [(number, (number + (number > 3)) % 3) for number in range(7)])
    assert top1(ran(folder)[1]) == [pytest.approx(4 / 7)]


def test_frames_that_are_not_taken_may_have_labels(folder):
    change(folder, "size: 8", "size: 8, every: 2")
    change(folder, "{n: 4}", "{n: 2}")

    assert top1(ran(folder)[1]) == [1.0]
    label(folder, [(number, number % 3) for number in (0, 2, 4, 6)])
    assert top1(ran(folder)[1]) == [1.0]


def test_frames_can_be_mirrored_as_images_are(folder):
    change(folder, "latency:", "invariance: {flip: {max_drop: 0}}\n    latency:")
    status, record = ran(folder)

    assert status == 0, record.headline
    assert [check.ok for check in record.checks if "flip" in check.name]


def test_a_folder_of_clips_is_a_source(folder):
    (folder / "clips").mkdir()
    (folder / "a.mkv").rename(folder / "clips/a.mkv")
    change(folder, "a.mkv", "clips")

    assert top1(ran(folder)[1]) == [1.0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(number, 0) for number in range(6)], "labels.csv:7:1: 6 labels for 7 files: 'a.mkv:6' has none"),
        ([(number, 0) for number in range(8)], "labels.csv:9:1: there is no file 'a.mkv:7', did you mean"),
    ],
)
def test_a_table_that_does_not_fit_the_frames_is_an_error_at_its_line(folder, rows, words):
    label(folder, rows)
    status, record = ran(folder)

    assert (status, record.error.kind) == (1, "input")
    assert words in record.error.message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0, "red")], "labels.csv:2:1: 'red' is no class"),
        ([(0, 1), (0, 1)], "labels.csv:3:1: 'a.mkv:0' is labelled twice, first in line 2"),
    ],
)
def test_what_is_wrong_with_a_table_by_itself_is_told_before_anything_runs(folder, capsys, rows, words):
    label(folder, rows)

    assert harness(folder, "check", folder / "s.yaml") == 2
    assert words in capsys.readouterr().err


def test_a_file_without_a_byte_is_told_before_anything_runs(folder, capsys):
    (folder / "a.mkv").write_bytes(b"")

    assert harness(folder, "check", folder / "s.yaml") == 2
    assert "models[0].inputs.image.video: 'a.mkv' is empty (0 bytes)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key",
    ["serving: {video: {}}", "invariance: {flip: {}}", "int8: {calibration: {raw: a.mkv}}"],
)
def test_an_input_that_is_wrong_is_one_mistake_and_not_another_for_each_key_that_needs_it(folder, capsys, key):
    suite = folder / "s.yaml"
    suite.write_text(suite.read_text().replace("video: a.mkv", "video: gone.mkv") + f"    {key}\n")

    assert harness(folder, "check", suite) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "models[0]." in line]
    assert "models[0].inputs.image.video: no such file or folder: 'gone.mkv'" in told


def test_a_clip_that_was_cut_is_an_error_of_the_case_with_its_place(folder):
    cut(folder / "a.mkv")
    status, record = ran(folder)

    assert (status, record.status, record.error.kind) == (1, "error", "input")
    assert "inputs.image: a.mkv: is cut, or its header is wrong" in record.error.message


def test_frames_are_kept_and_made_anew_for_another_file(folder):
    ran(folder)
    kept = sorted((folder / "cache").rglob("frames.npy"))
    ran(folder)
    assert sorted((folder / "cache").rglob("frames.npy")) == kept

    film(folder / "a.mkv", noise(7))
    ran(folder)
    assert len(sorted((folder / "cache").rglob("frames.npy"))) == len(kept) + 1
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("every: 0", "every: must be greater than or equal to 1, not 0"),
        ("fps: 3", "unknown key 'fps'"),
        ("rate: 8000", "'rate' means nothing beside 'video'"),
    ],
)
def test_settings_that_do_not_fit_are_told(folder, capsys, settings, words):
    change(folder, "size: 8", f"size: 8, {settings}")

    assert harness(folder, "check", folder / "s.yaml") == 2
    assert words in capsys.readouterr().err


def test_without_its_package_the_error_names_the_extra(folder, monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("harness.inputs.kinds.version", version)
    with pytest.raises(InputError, match=r"`video` needs the package av, pillow: pip install 'trt-harness\[video\]'"):
        prepared(InputSpec("prepared", preparation=clip_of(folder)), plan(), None)


def clip_of(folder):
    return Preparation("video", str(folder / "a.mkv"), CLIP)


def test_neither_the_command_nor_a_suite_of_other_inputs_imports_the_decoder(folder):
    code = "import sys; from harness.cli import main; main(['check', sys.argv[1]]); print('av' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "s.yaml")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
