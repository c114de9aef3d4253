"""Full-sized architectures with seeded random weights and the trained speech network, as factories of PyTorch modules.

Nothing is downloaded. Random weights are for speed and numerics, not for meaning.
`suites/architectures/export.py` writes ONNX files of the first and the third.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

SEED = 2024
MASKED = -10_000.0  # added to the scores of padding: far enough for softmax, and fits in fp16
RESIDUAL_SCALE = 0.25
HEAD_SPREAD = 0.02


class Encoder(nn.Module):
    """BERT from token ids and a mask of ones and zeros to the last hidden state.

    The mask is made here in the classic additive form, because the library's own way exports to index arithmetic.
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Hidden states [n, seq, hidden] of three int64 inputs [n, seq]."""
        dtype = self.bert.embeddings.word_embeddings.weight.dtype
        scores = (1.0 - attention_mask[:, None, None, :].to(dtype)) * MASKED
        return self.bert(input_ids, scores, token_type_ids).last_hidden_state


def resnet50() -> nn.Module:
    """ResNet-50: `x` [n, 3, 224, 224] to 1000 logits."""
    from torchvision.models import resnet50 as build

    torch.manual_seed(SEED)
    module = build(weights=None)
    tame_residuals(module)
    module.avgpool = nn.AvgPool2d(7)  # the same for 224 pixels; the adaptive one exports to a ReduceMean of opset 18
    settle_batch_norms(module)
    return module


def vit_b_16() -> nn.Module:
    """ViT-B/16: `x` [n, 3, 224, 224] to 1000 logits; the head is drawn, since it starts as 0."""
    from torchvision.models import vit_b_16 as build

    torch.manual_seed(SEED)
    module = build(weights=None)
    nn.init.normal_(module.heads.head.weight, std=HEAD_SPREAD)
    return module.eval()


def bert_base() -> nn.Module:
    """BERT-base, 12 layers, no pooler: three int64 inputs [n, seq] to hidden states [n, seq, 768]."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(SEED)
    bert = BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False)
    with torch.no_grad():
        for parameter in bert.parameters():
            if parameter.ndim == 1:  # biases start as 0 and scales as 1: equal ones would be merged into one tensor
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return Encoder(bert).eval()


class Residual(nn.Module):
    """A convolution beside which its input goes on."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [n, channels, t] of the same shape."""
        return frames + self.convolution(frames).relu()


class Recogniser(nn.Module):
    """The speech suite's network with folded batch normalisations: features [n, 40, t] to logits [n, t / 4, 11]."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(weights, "0", stride=2),
            nn.ReLU(),
            convolution(weights, "3", stride=2),
            nn.ReLU(),
            *(Residual(convolution(weights, f"{number}.block.0")) for number in (6, 7, 8)),
            convolution(weights, "9"),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits, frames before classes."""
        return self.layers(features).transpose(1, 2)


def convolution(weights: dict[str, Tensor], name: str, stride: int = 1) -> nn.Conv1d:
    """A convolution over time that leaves the length as it is, but for its stride; weights by the names of the file."""
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.weight_bias", weights.get(f"{name}.bias"))
    outs, ins, width = weight.shape
    made = nn.Conv1d(ins, outs, width, stride=stride, padding=width // 2)
    made.load_state_dict({"weight": weight, "bias": bias})
    return made


def digits_ctc() -> nn.Module:
    """The trained speech network as a PyTorch module, its weights read from the file of the speech suite."""
    import onnx
    from onnx.numpy_helper import to_array

    stored = onnx.load(Path(__file__).parents[1] / "speech" / "digits_ctc.onnx").graph.initializer
    return Recogniser({one.name: torch.from_numpy(to_array(one).copy()) for one in stored}).eval()


@torch.no_grad()
def tame_residuals(module: nn.Module) -> None:
    """Scale the last normalisation of every residual branch down, as training leaves it (Goyal et al. 2017 start at 0).

    With 1, as initialised, every block amplifies rounding: fp16 would move the logits by 2.5 %, with 0.25 by 0.16 %.
    """
    for block in module.modules():
        if hasattr(block, "bn3"):
            nn.init.constant_(block.bn3.weight, RESIDUAL_SCALE)


@torch.no_grad()
def settle_batch_norms(module: nn.Module, batches: int = 2, rows: int = 16) -> None:
    """Measure the running statistics on normal noise, which is also what the suite feeds.

    With their initial mean 0 and variance 1 nothing would be normalised and activations would grow with depth.
    """
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the plain average over all batches
    module.train()
    for _ in range(batches):
        module(torch.randn(rows, 3, 224, 224))
    module.eval()
