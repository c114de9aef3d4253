"""Inputs: seeded or stored feeds for a case."""

from __future__ import annotations

from harness.registry import Registry

GENERATORS = Registry(
    "input generator",
    {
        "file": "harness.inputs.files:rows",
        "normal": "harness.inputs.random:normal",
        "uniform": "harness.inputs.random:uniform",
        "integers": "harness.inputs.random:integers",
        "ones": "harness.inputs.random:ones",
        "zeros": "harness.inputs.random:zeros",
        "default": "harness.inputs.random:fit_to_dtype",
    },
)
