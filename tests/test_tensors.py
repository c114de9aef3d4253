"""Reference outputs on disk."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from harness.inputs.dtypes import numpy_dtype
from harness.runner import tensors
from harness.sources.inspect import dtype_name

TYPES = [dtype_name(code) for code in TensorProto.DataType.values() if code != TensorProto.UNDEFINED]


@pytest.mark.parametrize("name", TYPES)
def test_every_element_type_of_onnx_is_read_as_it_was_written(tmp_path, name):
    dtype = numpy_dtype(name)
    batches = [{"y": np.ones((2, 3), dtype)}, {"y": np.ones((), dtype)}, {"y": np.empty((0, 3), dtype)}]

    tensors.save(tmp_path, batches, inputs="digest")
    found, about = tensors.load(tmp_path)

    assert about == {"inputs": "digest"}
    for one, other in zip(found, batches, strict=True):
        assert (one["y"].dtype, one["y"].shape) == (dtype, other["y"].shape)
        assert one["y"].tolist() == other["y"].astype(str if name == "string" else dtype).tolist()
