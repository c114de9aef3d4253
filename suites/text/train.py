"""Train the text network and write everything that the text suite reads.

    pip install 'trt-harness[text]'
    python suites/text/train.py

The texts are requests to an imaginary service desk, made from phrases: each asks for one of eight things, is wrapped
in small talk that says nothing, and has some letters wrong; some name a second thing in passing. The tokenizer has the
most frequent words whole and all others by letters. The network, trained in NumPy, is a table of embeddings, one layer
for every token, their mean over the mask, and a layer for the classes. One seed fixes texts, order and weights.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SEED = 2026
HELD_OUT, CALIBRATION, TRAINING = 240, 64, 4000
PIECES, WIDTH, HIDDEN, LONGEST = 400, 32, 48, 64
EPOCHS, BATCH, RATE = 30, 64, 3e-3
OPSET, IR_VERSION = 17, 8  # the newest that TensorRT 8.6 knows
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

ASKED = (
    ("reset my password", "i forgot my password", "the login rejects my password", "unlock my account"),
    ("send the invoice again", "the invoice is wrong", "i was charged twice", "correct the bill of last month"),
    ("cancel my subscription", "end the contract", "close my account", "do not renew the subscription"),
    ("the parcel has not arrived", "where is my delivery", "track the parcel", "the delivery is late"),
    ("the screen stays black", "the device does not start", "the battery does not charge", "the screen is broken"),
    ("the page loads slowly", "the connection drops", "there is no network", "the download stops"),
    ("change my address", "i moved to another street", "update my phone number", "my name is spelled wrong"),
    ("how do i export my data", "where is the manual", "explain the new menu", "show me how to print a report"),
)
BEFORE = ("hello", "good morning", "dear team", "sorry to bother you", "as i said on the phone", "it is me again")
AFTER = ("please", "thank you", "as soon as possible", "this is urgent", "since yesterday", "i have tried everything")
ASIDE = ("this is not about how to", "forget what i wrote on", "that is settled:", "no longer a question:")


def text(kind: int, rng: np.random.Generator) -> str:
    """One request; its length and how much of it says nothing are drawn."""
    parts = [rng.choice(BEFORE) for _ in range(rng.integers(0, 3))]
    parts.append(rng.choice(ASKED[kind]))
    if rng.random() < 0.15:
        other = (kind + rng.integers(1, len(ASKED))) % len(ASKED)
        aside = f"{rng.choice(ASIDE)} {rng.choice(ASKED[other])}"
        parts.insert(int(rng.integers(0, len(parts) + 1)), aside)
    parts += [rng.choice(AFTER) for _ in range(rng.integers(0, 4))]
    return misspelt(" ".join(parts), rng)


def misspelt(whole: str, rng: np.random.Generator) -> str:
    """The text with about one letter of thirty dropped or replaced."""
    letters = [one for one in whole if one == " " or rng.random() > 0.02]
    wrong = [chr(rng.integers(97, 123)) if one.isalpha() and rng.random() < 0.02 else one for one in letters]
    return "".join(wrong)


def texts(count: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    kinds = rng.integers(0, len(ASKED), count)
    return [text(int(kind), rng) for kind in kinds], kinds


def tokenizer_of(lines: list[str]) -> Tokenizer:
    """Word pieces with [CLS] in front and [SEP] behind: all letters, and the most frequent words.

    The package's own trainer is not used: of equally frequent pieces it takes others in every run.
    """
    splitter = pre_tokenizers.Whitespace()
    counted = Counter(word for line in lines for word, _ in splitter.pre_tokenize_str(line))
    letters = sorted({letter for word in counted for letter in word})
    frequent = sorted(counted, key=lambda word: (-counted[word], word))
    pieces = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent])
    made = Tokenizer(
        models.WordPiece({piece: n for n, piece in enumerate(list(pieces)[:PIECES])}, unk_token=SPECIAL[1])
    )
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = splitter
    ends = [(token, made.token_to_id(token)) for token in SPECIAL[2:]]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return made


def encoded(tokenizer: Tokenizer, lines: list[str], length: int = LONGEST) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask [lines, length], written here once more, so that this and the suite check each other."""
    ids = np.zeros((len(lines), length), np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(tokenizer.encode_batch(lines)):
        size = min(length, len(one.ids))
        ids[row, :size], mask[row, :size] = one.ids[:size], 1
    return ids, mask


def fresh(rng: np.random.Generator) -> dict[str, np.ndarray]:
    def drawn(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, rows**-0.5, (rows, columns))

    return {
        "table": rng.normal(0, 0.5, (PIECES, WIDTH)),
        "w0": drawn(WIDTH, HIDDEN),
        "b0": np.zeros(HIDDEN),
        "w1": drawn(HIDDEN, len(ASKED)),
        "b1": np.zeros(len(ASKED)),
    }


def forward(net: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Embedded tokens, what is left of them after the first layer, embedding [rows, HIDDEN], logits [rows, classes]."""
    embedded = net["table"][ids]
    active = np.maximum(embedded @ net["w0"] + net["b0"], 0)
    share = mask / mask.sum(axis=1, keepdims=True)
    mean = np.einsum("rth,rt->rh", active, share)
    return embedded, active, mean, mean @ net["w1"] + net["b1"]


def gradients(
    net: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray, kinds: np.ndarray
) -> dict[str, np.ndarray]:
    """Of the mean cross entropy."""
    embedded, active, mean, logits = forward(net, ids, mask)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    wrong = odds / odds.sum(axis=1, keepdims=True)
    wrong[np.arange(len(kinds)), kinds] -= 1
    wrong /= len(kinds)
    back = (wrong @ net["w1"].T)[:, None, :] * (mask / mask.sum(axis=1, keepdims=True))[:, :, None] * (active > 0)
    table = np.zeros_like(net["table"])
    np.add.at(table, ids, back @ net["w0"].T)
    return {
        "table": table,
        "w0": np.einsum("rtw,rth->wh", embedded, back),
        "b0": back.sum(axis=(0, 1)),
        "w1": mean.T @ wrong,
        "b1": wrong.sum(axis=0),
    }


def batches(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(EPOCHS):
        order = rng.permutation(count)
        yield from np.array_split(order, -(-count // BATCH))


def trained(ids: np.ndarray, mask: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Adam (Kingma and Ba, 2015) with its usual settings."""
    net = fresh(rng)
    first, second = ({name: np.zeros_like(value) for name, value in net.items()} for _ in range(2))
    for step, rows in enumerate(batches(len(kinds), rng), 1):
        for name, slope in gradients(net, ids[rows], mask[rows], kinds[rows]).items():
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            scaled = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
            net[name] -= RATE * first[name] / (1 - 0.9**step) / scaled
    return net


def exported(net: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Inputs input_ids and attention_mask [n, seq], outputs logits [n, classes] and embedding [n, HIDDEN]."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"], "embed"),
        helper.make_node("MatMul", ["embedded", "w0"], ["product"], "project"),
        helper.make_node("Add", ["product", "b0"], ["moved"], "bias"),
        helper.make_node("Relu", ["moved"], ["active"], "rectify"),
        helper.make_node("Cast", ["attention_mask"], ["weights"], "weights_of_mask", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"], "column_of_mask"),
        helper.make_node("Mul", ["active", "column"], ["kept"], "mask"),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sums"], "sum", keepdims=0),
        helper.make_node("ReduceSum", ["weights", "middle"], ["counts"], "count", keepdims=1),
        helper.make_node("Div", ["sums", "counts"], ["embedding"], "mean"),
        helper.make_node("Gemm", ["embedding", "w1", "b1"], ["logits"], "classes"),
    ]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "seq"]) for n in ("input_ids", "attention_mask")
    ]
    sizes = {"logits": len(ASKED), "embedding": HIDDEN}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()]
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in net.items()]
    stored += [numpy_helper.from_array(np.array([axis]), name) for name, axis in (("last", -1), ("middle", 1))]
    graph = helper.make_graph(nodes, "requests", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the text network; write ONNX file, tokenizer and texts.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed makes other texts and weights")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(asked.seed)
    (held, labels), (calibration, _), (training, kinds) = (texts(n, rng) for n in (HELD_OUT, CALIBRATION, TRAINING))
    tokenizer = tokenizer_of(training)
    net = trained(*encoded(tokenizer, training), kinds, rng)
    answers = forward(net, *encoded(tokenizer, held))[-1].argmax(axis=1)

    tokenizer.save(str(asked.out / "tokenizer.json"), pretty=False)
    onnx.save(exported(net), asked.out / "requests.onnx")
    (asked.out / "held_out.txt").write_text("\n".join(held) + "\n")
    (asked.out / "calibration.txt").write_text("\n".join(calibration) + "\n")
    rows = "".join(f"{line},{label}\n" for line, label in enumerate(labels, 1))
    (asked.out / "held_out.csv").write_text(f"file,label\n{rows}")
    print(f"accuracy on {HELD_OUT} held-out texts: {np.mean(answers == labels):.4f}")


if __name__ == "__main__":
    main()
