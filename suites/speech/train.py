"""Train the speech network on synthesised digits and write what the speech suite reads.

    apt-get install espeak-ng
    pip install 'trt-harness[torch,speech]'
    python suites/speech/train.py

A seed fixes clips, noise, weights and the order of the batches, and training runs on one CPU thread, so a second run of
the same versions gives the same network.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import onnx
import soundfile
import torch
from numpy.random import Generator
from synthesis import HELD_OUT, RATE, TRAINING, WORDS, Clip, check_voices, clip, with_noise
from torch import Tensor, nn

from harness.inputs.logmel import LogMel, log_mel
from harness.metrics.speech import greedy, word_errors

SEED = 2024
CLIPS = 3000
EPOCHS = 30
BATCH = 32
JUDGED = 500  # held-out clips that the word error rate is told of
COMMITTED = 40  # of these, which the suite reads
CALIBRATION = 16  # clips of training voices that int8 is calibrated with
FEATURES = LogMel(rate=RATE, mels=40, fmin=60.0, fmax=3800.0)
TOKENS = ("", *(f" {word}" for word in WORDS))
STRIDE = 4  # frames of features to one of the logits
OPSET = 17  # the newest that TensorRT 8.6 knows
IR_VERSION = 8  # the file format of opset 17, so that older runtimes open the file too


class Residual(nn.Module):
    """A convolution beside which its input goes on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*block(channels, channels))

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.block(frames)


def block(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv1d(channels_in, channels_out, kernel_size=5, stride=stride, padding=2, bias=False)
    return [convolution, nn.BatchNorm1d(channels_out), nn.ReLU()]


class Network(nn.Sequential):
    """Six convolutions over time: features [n, 40, t] to logits [n, ceil(t / 4), 11]."""

    def __init__(self) -> None:
        super().__init__(
            *block(FEATURES.mels, 64, stride=2),
            *block(64, 96, stride=2),
            *(Residual(96) for _ in range(3)),
            nn.Conv1d(96, len(TOKENS), kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).transpose(1, 2)


def noisy(clips: list[Clip], random: Generator) -> list[Clip]:
    """Clips as they are judged."""
    return [Clip(one.text, with_noise(one.samples, random, (8, 30))) for one in clips]


def features(clips: list[Clip], random: Generator, decibels: tuple[float, float]) -> list[Tensor]:
    heard = (with_noise(one.samples, random, decibels) for one in clips)
    return [torch.from_numpy(log_mel(samples, FEATURES)) for samples in heard]


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Features of one length, and how many frames of the logits each has."""
    frames = nn.utils.rnn.pad_sequence([row.T for row in rows], batch_first=True).transpose(1, 2)
    return frames, torch.tensor([-(-row.shape[1] // STRIDE) for row in rows])


def targets(clips: list[Clip]) -> list[Tensor]:
    return [torch.tensor([TOKENS.index(f" {word}") for word in one.text.split()]) for one in clips]


def train(model: nn.Module, clips: list[Clip], random: Generator) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(clips) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    wanted = targets(clips)
    model.train()
    for epoch in range(EPOCHS):
        heard, total = features(clips, random, (3, 30)), 0.0  # other noise in every epoch
        for rows in torch.randperm(len(clips)).split(BATCH):
            optimiser.zero_grad()
            frames, lengths = padded([heard[row] for row in rows])
            said = [wanted[row] for row in rows]
            scores = model(frames).log_softmax(2).transpose(0, 1)
            loss = nn.functional.ctc_loss(scores, torch.cat(said), lengths, torch.tensor([len(one) for one in said]))
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / len(clips):.4f}", flush=True)
    model.eval()


@torch.no_grad()
def word_error_rate(model: nn.Module, clips: list[Clip]) -> float:
    frames, lengths = padded([torch.from_numpy(log_mel(one.samples, FEATURES)) for one in clips])
    heard = greedy(model(frames).numpy(), TOKENS, lengths.numpy())
    return word_errors([one.text for one in clips], heard)


def export(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write the model with its weights inside, input `features`, output `logits`, free batch `n` and frames `t`."""
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["features"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("n"), 2: torch.export.Dim("t")},),
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


def write(clips: list[Clip], folder: Path) -> None:
    """FLAC files of 16 bits, and what is said in each."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "transcripts.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", "label"])
        for number, one in enumerate(clips):
            soundfile.write(folder / f"{number:02d}.flac", one.samples, RATE, subtype="PCM_16")
            table.writerow([f"{number:02d}.flac", one.text])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the speech network; write digits_ctc.onnx, clips/, calibration/."
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="of weights, training clips and noise")
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    torch.set_num_threads(1)  # sums in one order
    torch.use_deterministic_algorithms(True)

    check_voices()
    random = np.random.default_rng(SEED)  # what is judged is the same for every seed
    judged = [clip(HELD_OUT, random) for _ in range(JUDGED)]
    judged = noisy(judged, random)
    random = np.random.default_rng([chosen.seed, 1])
    clips = [clip(TRAINING, random) for _ in range(CLIPS)]

    model = Network()
    train(model, clips, random)
    write(judged[:COMMITTED], chosen.out / "clips")
    write(noisy(clips[:CALIBRATION], np.random.default_rng([chosen.seed, 2])), chosen.out / "calibration")
    export(model, padded(features(clips[:2], random, (3, 30)))[0], chosen.out / "digits_ctc.onnx")
    print(f"{sum(weights.numel() for weights in model.parameters())} weights; word error rate on held-out voices:")
    print(f"{JUDGED} clips: {word_error_rate(model, judged):.4f}")
    print(f"{COMMITTED} clips: {word_error_rate(model, judged[:COMMITTED]):.4f}")


if __name__ == "__main__":
    main()
