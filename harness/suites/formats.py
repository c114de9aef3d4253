"""Files of other formats under `source`: what each is, and the way from there to a model that can be measured."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records.plans import ENGINE_SUFFIXES

_PYTORCH = "a factory that makes the network and loads it (source: torch:package.module:factory)"
_ORIGIN = "export ONNX from the framework that it was made in"

_WEIGHTS = "holds weights without the network they belong to"
_CAFFE = (
    "is of Caffe, from which no maintained converter writes ONNX",
    f"write the network anew in PyTorch, and name {_PYTORCH}",
)
_COREML = ("is of Core ML, from which no maintained converter writes ONNX", _ORIGIN)
_PADDLE = (
    "is of PaddlePaddle",
    "paddle2onnx --model_dir FOLDER --model_filename model.pdmodel --params_filename model.pdiparams "
    "--save_file model.onnx",
)
_ENGINE = (
    "is a built engine, of one GPU and TensorRT",
    "name the ONNX file that it was built from as the source, and the engine under `files: {fp16: …}`",
)

OTHERS: Mapping[str, tuple[str, str]] = {
    ".caffemodel": _CAFFE,
    ".prototxt": _CAFFE,
    ".tflite": ("is of TensorFlow Lite", "python -m tf2onnx.convert --tflite model.tflite --output model.onnx"),
    ".mlmodel": _COREML,
    ".mlpackage": _COREML,
    "saved_model.pb": ("is part of a SavedModel", "name its folder as the source"),
    ".pb": (
        "is a graph of TensorFlow 1",
        "python -m tf2onnx.convert --graphdef model.pb --inputs x:0 --outputs y:0 --output model.onnx",
    ),
    ".pdmodel": _PADDLE,
    ".pdiparams": _PADDLE,
    ".pdparams": (f"{_WEIGHTS} (of PaddlePaddle)", "save it by paddle.onnx.export"),
    ".weights.h5": (
        f"{_WEIGHTS} (of Keras)",
        "save the whole model as .keras, or name a factory that loads it (source: tensorflow:package.module:factory)",
    ),
    ".pt": (
        f"{_WEIGHTS}, or is of TorchScript",
        f"save an exported program by torch.export.save as .pt2, or name {_PYTORCH}",
    ),
    ".pth": (f"{_WEIGHTS} (of PyTorch)", f"name {_PYTORCH}"),
    ".ckpt": (_WEIGHTS, f"name {_PYTORCH}"),
    ".safetensors": (
        _WEIGHTS,
        f"name {_PYTORCH}; of a folder of transformers, optimum-cli export onnx --model FOLDER OUT (optimum-onnx)",
    ),
    ".gguf": (
        "is of llama.cpp, with weights in formats that ONNX does not have",
        f"name {_PYTORCH}; transformers reads some (from_pretrained(…, gguf_file=…)), in full precision",
    ),
    **dict.fromkeys(ENGINE_SUFFIXES, _ENGINE),
}
"""How a name ends, the longer ending first, to what it is and the way out."""


def why_other(text: str) -> str | None:
    """What a source of another format is, and what to do; None for all that may be a source."""
    path = text.rstrip("/").lower()
    for ending, (what, way) in OTHERS.items():
        if path.endswith(ending):
            return f"'{text}' {what}, and no source of a suite: {way}"
    return None
