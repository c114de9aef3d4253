"""Train the digits network and write the two files that the digits suite reads.

    pip install 'trt-harness[torch]'
    python suites/digits/train.py

One seed fixes the split, the weights and the order of the batches, and training runs on one CPU thread, so a second
run of the same torch version gives the same network. Held-out top-1 is 0.9867 (444 of 450) with torch 2.13; other
versions may differ by an image or two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

SEED = 2024
HELD_OUT = 450
CALIBRATION = 128
EPOCHS = 30
BATCH = 64
OPSET = 17  # the newest that TensorRT 8.6 knows
IR_VERSION = 8  # the file format of opset 17, so that older runtimes open the file too


def block(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def network() -> nn.Sequential:
    """Three convolutions and two fully connected layers: [n, 1, 8, 8] to [n, 10]."""
    return nn.Sequential(
        *block(1, 16),
        *block(16, 32),
        nn.MaxPool2d(2),
        *block(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 2 * 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def split(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, then held-out ones; pixels 0 to 16 become 0 to 1."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = torch.from_numpy((digits.images[order, None] / 16).astype(np.float32))
    labels = torch.from_numpy(digits.target[order].astype(np.int64))
    return images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT]


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    model.eval()


@torch.no_grad()
def top1(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is their label's."""
    return (model(images).argmax(dim=1) == labels).double().mean().item()


def export(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write the model with its weights inside, input `image`, output `logits` and a free batch `n`."""
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    proto.ir_version = IR_VERSION
    for node in proto.graph.node:  # stack traces of the machine that exported: not reproducible, of no use to a reader
        del node.metadata_props[:]
    for part in (proto, proto.graph, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del part.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits network; write digits_cnn.onnx and digits.npz.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in one order
    torch.use_deterministic_algorithms(True)
    images, labels, held_images, held_labels = split(SEED)
    model = network()
    train(model, images, labels)

    # A batch of 2: an example batch of 1 would be taken for a fixed dimension.
    export(model, held_images[:2], out / "digits_cnn.onnx")
    np.savez_compressed(
        out / "digits.npz",
        images=held_images.numpy(),
        labels=held_labels.numpy(),
        calibration=images[:CALIBRATION].numpy(),
    )
    print(f"top-1 on {HELD_OUT} held-out images: {top1(model, held_images, held_labels):.4f}")


if __name__ == "__main__":
    main()
