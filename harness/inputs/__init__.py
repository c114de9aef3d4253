"""Inputs: seeded or stored feeds for a case.

A generator is a function `(spec: InputSpec, dtype: np.dtype, shape: tuple[int, ...], rng: np.random.Generator)`
that returns an array of that type and shape, or raises InputError. Data from files is not generated: it is streamed,
see `harness.inputs.feeds`. Raw files, such as images, are made into arrays first, see `harness.inputs.prepared`.
"""

from __future__ import annotations

from harness.registry import Registry

GENERATORS = Registry(
    "input generator",
    {
        "normal": "harness.inputs.random:normal",
        "uniform": "harness.inputs.random:uniform",
        "integers": "harness.inputs.random:integers",
        "ones": "harness.inputs.random:ones",
        "zeros": "harness.inputs.random:zeros",
        "default": "harness.inputs.random:fit_to_dtype",
    },
)

PREPARATIONS = Registry(
    "preparation",
    {
        "audio": "harness.inputs.audio:make",
        "images": "harness.inputs.images:make",
        "text": "harness.inputs.text:make",
        "video": "harness.inputs.video:make",
    },
)
