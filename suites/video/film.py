"""Film the clips of the video suite, and write what is to be seen in each frame of the one that it streams.

    pip install 'trt-harness[video]' scikit-learn
    python suites/video/film.py

The digits are those that suites/images holds out from the training of its network, drawn as there: a digit from 0 to 4
in warm or cool ink on a ground of its own, with noise in every frame. Each is filmed for a few frames, in which it
moves on a circle and comes nearer. One seed fixes all of it; the encoder runs on one thread, so the same versions
write the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SEED, DIGITS, HELD_OUT, CALIBRATION = 2026, 5, 120, 60
"""As in suites/images/train.py: of its order the first so many, and those after them, were never trained on."""
SCENES, FRAMES, FPS = 20, 8, 25
HEIGHT, WIDTH, DIGIT = 72, 96, 46
WARM, COOL = ((150, 30, 10), (230, 110, 60)), ((10, 40, 140), (70, 130, 225))


def scene(pixels: np.ndarray, ink: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Frames [HEIGHT, WIDTH, 3] of a digit [8, 8] of 0 to 16 in one ink (0 warm, 1 cool)."""
    low, high = COOL if ink else WARM
    colour, ground = rng.uniform(low, high), rng.uniform(120, 220, 3)
    begin = rng.uniform(0, 2 * np.pi)
    mask = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
    frames = []
    for angle in begin + np.linspace(0, np.pi, FRAMES):
        side = round(DIGIT * (1 + 0.08 * np.sin(angle)))
        canvas = Image.new("L", (WIDTH, HEIGHT))
        left, top = (WIDTH - side) / 2 + 3 * np.cos(angle), (HEIGHT - side) / 2 + 3 * np.sin(angle)
        canvas.paste(mask.resize((side, side), Image.Resampling.BICUBIC), (round(left), round(top)))
        share = np.asarray(canvas, np.float64)[..., None] / 255
        noisy = share * colour + (1 - share) * ground + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return frames


def filmed(digits: np.ndarray, scenes: int, rng: np.random.Generator) -> tuple[list[np.ndarray], list[int]]:
    """Frames and their classes (2 * digit + ink), scene after scene, of some of the digits."""
    data = load_digits(n_class=DIGITS)
    frames: list[np.ndarray] = []
    labels: list[int] = []
    for number, at in enumerate(rng.choice(digits, scenes, replace=False)):
        frames += scene(data.images[at], number % 2, rng)
        labels += [2 * int(data.target[at]) + number % 2] * FRAMES
    return frames, labels


def encode(file: Path, frames: list[np.ndarray]) -> None:
    """H.264 in MP4, as a camera would."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "medium", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    """Write clip.mp4, labels.csv and calibration.mp4."""
    parser = argparse.ArgumentParser(description="Film the clips of the video suite.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed films other digits")
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    order = np.random.default_rng(SEED).permutation(len(load_digits(n_class=DIGITS).target))
    frames, labels = filmed(order[:HELD_OUT], SCENES, rng)
    encode(asked.out / "clip.mp4", frames)
    encode(asked.out / "calibration.mp4", filmed(order[HELD_OUT : HELD_OUT + CALIBRATION], SCENES // 2, rng)[0])
    rows = "".join(f"clip.mp4:{number},{label}\n" for number, label in enumerate(labels))
    (asked.out / "labels.csv").write_text(f"file,label\n{rows}")
    print(f"{len(frames)} frames, {(asked.out / 'clip.mp4').stat().st_size} bytes")


if __name__ == "__main__":
    main()
