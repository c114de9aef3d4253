"""What TensorRT's parser says of a model: it names every node that it does not take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.records.support import Parsed, Refused
from harness.sources.inspect import load_graph


def parse(trt: Any, network: Any, logger: Any, model: Path) -> Parsed:
    """What the parser says of a file that it parses into an empty network."""
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(model)):
        return Parsed()
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    reason = "; ".join(dict.fromkeys(error.desc() for error in errors)) or "the parser gives no reason"
    return Parsed(reason, tuple(_refused(errors, model)))


def _refused(errors: Any, model: Path) -> Iterator[Refused]:
    """The errors that name a node; before TensorRT 10 they have only its number, among those of the whole graph."""
    nodes = load_graph(model).graph.node
    for error in errors:
        number = error.node()
        in_graph = nodes[number] if 0 <= number < len(nodes) else None
        name = error.node_name() if hasattr(error, "node_name") else getattr(in_graph, "name", "")
        operator = error.node_operator() if hasattr(error, "node_operator") else getattr(in_graph, "op_type", "")
        if not operator:
            continue  # it is about the file
        if in_graph is not None and in_graph.op_type == operator and in_graph.domain:
            operator = f"{in_graph.domain}.{operator}"
        yield Refused(name or f"node {number}", operator, " ".join(error.desc().split()))
