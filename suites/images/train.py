"""Train the images network and write everything that the images suite reads.

    pip install 'trt-harness[images]' scikit-learn
    python suites/images/train.py

The images are scikit-learn's handwritten digits, drawn in warm or cool ink on a coloured, noisy ground, in several
sizes and formats. A class is a digit from 0 to 4 with its ink (class = 2 * digit + ink), so that the order of
the channels decides. The network is one convolution, whose filters are the principal components of patches of the
training images, rectified and pooled, and two fully connected layers. One seed fixes split, ink, noise and weights.
"""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neural_network import MLPClassifier

SEED = 2026
DIGITS = 5
HELD_OUT, CALIBRATION, ROUNDS = 120, 60, 6
SIDE = 32
MEAN, STD = (0.55, 0.5, 0.45), (0.25, 0.24, 0.26)
PATCH, FILTERS, STRIDE, POOL = 5, 12, 2, 3
OPSET, IR_VERSION = 17, 8  # the newest that TensorRT 8.6 knows
WARM, COOL = ((150, 30, 10), (230, 110, 60)), ((10, 40, 140), (70, 130, 225))


def drawn(pixels: np.ndarray, ink: int, rng: np.random.Generator) -> Image.Image:
    """A digit [8, 8] of 0 to 16 in one ink (0 warm, 1 cool) on a ground of its own, wider than it is high or not."""
    height, width = rng.integers(40, 65, 2)
    mask = Image.fromarray((pixels * 255 / 16).astype(np.uint8)).resize((34, 34), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (int(width), int(height)))
    canvas.paste(
        mask, (int(width - 34) // 2 + int(rng.integers(-2, 3)), int(height - 34) // 2 + int(rng.integers(-2, 3)))
    )
    share = np.asarray(canvas, np.float64)[..., None] / 255
    low, high = COOL if ink else WARM
    colour = rng.uniform(low, high)
    ground = rng.uniform(120, 220, 3)
    noisy = share * colour + (1 - share) * ground + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, number: int) -> tuple[str, bytes]:
    """Suffix and bytes of a file: every third a PNG, the others JPEG."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True) if number % 3 == 0 else image.save(stream, "JPEG", quality=85)
    return (".png" if number % 3 == 0 else ".jpg"), stream.getvalue()


def prepared(content: bytes) -> np.ndarray:
    """[3, SIDE, SIDE]: what the suite declares, written here once more, so that the two check each other."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    factor = SIDE / min(image.size)
    large = [max(SIDE, round(side * factor)) for side in image.size]
    left, top = (large[0] - SIDE) // 2, (large[1] - SIDE) // 2
    image = image.resize(tuple(large), Image.Resampling.BILINEAR).crop((left, top, left + SIDE, top + SIDE))
    return ((np.asarray(image, np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


def samples(seed: int) -> tuple[list[tuple[str, bytes]], np.ndarray]:
    """Files and classes: those held out, those for calibration, then those for training, each drawn several times."""
    data = load_digits(n_class=DIGITS)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.target))
    apart = HELD_OUT + CALIBRATION
    chosen = np.concatenate([order[:apart], np.tile(order[apart:], ROUNDS)])
    inks = rng.integers(0, 2, len(chosen))
    files = [encoded(drawn(data.images[at], ink, rng), n) for n, (at, ink) in enumerate(zip(chosen, inks, strict=True))]
    return files, 2 * data.target[chosen] + inks


def patches(images: np.ndarray) -> np.ndarray:
    """[images, places, 3 * PATCH * PATCH], as the convolution sees them."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(2, 3))[:, :, ::STRIDE, ::STRIDE]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(len(images), -1, 3 * PATCH * PATCH)


def features(images: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """[images, filters * places]: rectified answers of the filters, averaged over POOL x POOL places."""
    side = (SIDE - PATCH) // STRIDE + 1
    answers = np.maximum(patches(images) @ filters.T, 0).reshape(len(images), side, side, -1)
    kept = side // POOL * POOL
    pooled = answers[:, :kept, :kept].reshape(len(images), kept // POOL, POOL, kept // POOL, POOL, -1).mean(axis=(2, 4))
    return pooled.transpose(0, 3, 1, 2).reshape(len(images), -1)


def trained(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, MLPClassifier]:
    rng = np.random.default_rng(seed)
    some = patches(images[:400]).reshape(-1, 3 * PATCH * PATCH)
    components = PCA(FILTERS, random_state=seed).fit(some[rng.permutation(len(some))[:20_000]]).components_
    filters = np.concatenate([components, -components]).astype(np.float32)
    head = MLPClassifier((48,), alpha=1e-3, max_iter=60, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 60 rounds are not the end of it
        head.fit(features(images, filters), labels)
    return filters, head


def exported(filters: np.ndarray, head: MLPClassifier) -> onnx.ModelProto:
    """Input image [n, 3, SIDE, SIDE], output logits [n, 2 * DIGITS]."""
    weights = {
        "filters": filters.reshape(-1, 3, PATCH, PATCH),
        **{f"w{n}": matrix for n, matrix in enumerate(head.coefs_)},
        **{f"b{n}": vector for n, vector in enumerate(head.intercepts_)},
    }
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["answers"], "conv", strides=[STRIDE, STRIDE]),
        helper.make_node("Relu", ["answers"], ["rectified"], "relu"),
        helper.make_node("AveragePool", ["rectified"], ["pooled"], "pool", kernel_shape=[POOL] * 2, strides=[POOL] * 2),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w0", "b0"], ["hidden"], "hidden"),
        helper.make_node("Relu", ["hidden"], ["active"], "active"),
        helper.make_node("Gemm", ["active", "w1", "b1"], ["logits"], "classes"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2 * DIGITS])
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "images", [image], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def top1(filters: np.ndarray, head: MLPClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(head.predict(features(images, filters)) == labels))


def write(folder: Path, files: list[tuple[str, bytes]], labels: np.ndarray) -> None:
    """The files of a folder by number, and the table of their labels beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    names = [f"{number:03}{suffix}" for number, (suffix, _) in enumerate(files)]
    for name, (_, content) in zip(names, files, strict=True):
        (folder / name).write_bytes(content)
    rows = "".join(f"{name},{label}\n" for name, label in zip(names, labels, strict=True))
    folder.with_suffix(".csv").write_text(f"file,label\n{rows}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the images network; write its ONNX file and the images.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed makes other images and weights")
    asked = parser.parse_args()
    files, labels = samples(asked.seed)
    images = np.stack([prepared(content) for _, content in files])
    apart = HELD_OUT + CALIBRATION
    filters, head = trained(images[apart:], labels[apart:], asked.seed)
    write(asked.out / "held_out", files[:HELD_OUT], labels[:HELD_OUT])
    write(asked.out / "calibration", files[HELD_OUT:apart], labels[HELD_OUT:apart])
    onnx.save(exported(filters, head), asked.out / "inked_digits.onnx")
    print(f"top1 on {HELD_OUT} held-out images: {top1(filters, head, images[:HELD_OUT], labels[:HELD_OUT]):.4f}")


if __name__ == "__main__":
    main()
