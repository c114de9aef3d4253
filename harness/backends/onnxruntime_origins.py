"""Which nodes of the file each node of ONNX Runtime's optimised graph computes, by the names of both and of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backends.fusion import constant, label, repeated
from harness.sources.inspect import load_graph

_LAYOUT = "_nchwc"
"""What the CPU's blocked layout appends to the name of a tensor to name the node that computes it."""
_FUSED = "fused "
_DERIVED = re.compile(r"(_token_\d+|/\w*Fusion\w*/?)$")
"""What is appended to the name of a node that another takes the place of: "conv_token_1", "mm/MatMulAddFusion"."""
_CAST = "InsertedPrecisionFreeCast_"
"""What is put before the name of a tensor that is kept in fp32 where the file has it in fp16."""
_MOVED = "_pre_q"
"""What is appended to the name of a tensor that is quantised where the file does so later."""
_BODY = "_inlfunc_"
"""What is put, with the name of a function, before the names of nodes and tensors in its body."""
_MOVES = frozenset(
    (
        *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"),
        *("ReorderInput", "ReorderOutput", "MemcpyFromHost", "MemcpyToHost"),
    )
)
OWN = _MOVES | {"QuantizeLinear", "DequantizeLinear"}
"""Operators that ONNX Runtime puts in by itself: other layouts, types and places of the same numbers."""


@dataclass(frozen=True)
class Place:
    """One node of the optimised graph."""

    name: str
    """Empty where the node has none."""
    op: str
    label: str
    nodes: tuple[str, ...]
    """Names of the nodes of the file that it computes."""


def places(file: Path, optimised: Path) -> tuple[Place, ...]:
    """The nodes of an optimised graph in order, with the nodes of the file that each computes."""
    return placed(load_graph(file).graph, load_graph(optimised).graph)


def placed(file: Any, optimised: Any) -> tuple[Place, ...]:
    """`places` of two GraphProtos."""
    original, final = list(file.node), list(optimised.node)
    # what is folded is computed no more; quantised weights may be read as they are
    folded = {place for place in constant(file) if original[place].op_type != "DequantizeLinear"}
    origin = _origins(original, final, folded)
    return tuple(
        Place(node.name, node.op_type, label(node), tuple(label(original[place]) for place in sorted(origin[index])))
        for index, node in enumerate(final)
    )


def _origins(original: Sequence[Any], final: Sequence[Any], folded: set[int]) -> list[set[int]]:
    """For each node of the optimised graph, the places in the file of the nodes that it computes.

    A node stands for the one of its name and those that make its outputs, unless another stands for them, and for
    everything before these up to tensors that the optimised graph still has, or that it has once for several nodes
    that compute the same. Quantised operators stand for what follows until it is quantised, convolutions for the sum
    and the activation that they do as well, and nodes of a function's body for the node that calls it.
    """
    makers = {output: place for place, node in enumerate(original) for output in node.output if output}
    kept = {_tensor(name, makers) for node in final for name in (*node.input, *node.output)}
    named = {node.name: place for place, node in enumerate(original) if node.name}
    behind = _Behind(original, final, makers, kept)
    roots = (*_by_name(final, named, makers), *_derived(final, named), *behind.outputs())
    owners: dict[int, int] = {}
    for index, root in roots:
        owners.setdefault(root, index)
    for root, index in [*owners.items()]:
        owners |= dict.fromkeys(behind.absorbed(index, root, owners), index)
    gone = (repeated(original) | folded) - owners.keys()
    found: list[set[int]] = [set() for _ in final]
    for root, index in owners.items():
        ahead = [root]
        while ahead:
            place = ahead.pop()
            if original[place].op_type != "Constant" and place not in found[index]:
                found[index].add(place)
                before = {makers.get(tensor) for tensor in original[place].input if tensor not in kept} - gone
                ahead += [one for one in before if one is not None and owners.get(one, index) == index]
    _called(original, final, found)
    return found


def _by_name(final: Sequence[Any], named: Mapping[str, int], makers: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Places in the optimised graph and in the file of nodes whose name tells that they belong together."""
    for index, node in enumerate(final):
        by_tensor = (
            makers.get(_tensor(node.name.removesuffix(_LAYOUT), makers)) if node.name.endswith(_LAYOUT) else None
        )
        root = named.get(node.name, named.get(node.name.removeprefix(_FUSED), by_tensor))
        if root is not None:
            yield index, root


def _derived(final: Sequence[Any], named: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Places in the optimised graph of nodes that stand in the place of another, and that place in the file."""
    for index, node in enumerate(final):
        name = _DERIVED.sub("", node.name)
        if node.name not in named and name in named:
            yield index, named[name]


class _Behind:
    """What stands before or behind the nodes of both graphs."""

    def __init__(
        self, original: Sequence[Any], final: Sequence[Any], makers: Mapping[str, int], kept: set[str]
    ) -> None:
        self._original, self._final, self._makers, self._kept = original, final, makers, kept
        self._made = {output: index for index, node in enumerate(final) for output in node.output}
        self._readers: dict[str, list[int]] = {}
        for place, node in enumerate(original):
            for name in node.input:
                self._readers.setdefault(name, []).append(place)

    def outputs(self) -> Iterator[tuple[int, int]]:
        """Places in the optimised graph and in the file of nodes that make the same tensor."""
        for index, node in enumerate(self._final):
            made = [self._makers.get(_tensor(name, self._makers)) for name in node.output]
            yield from ((self._computing(index, root), root) for root in made if root is not None)

    def _computing(self, index: int, root: int) -> int:
        """The node that computes what others only bring into the layout, shape or type of the file."""
        node = self._final[index]
        while node.op_type in _MOVES and node.op_type != self._original[root].op_type:
            source = node.input[0]
            if source not in self._made or _tensor(source, self._makers) in self._makers or _BODY in source:
                break
            index = self._made[source]
            node = self._final[index]
        return index

    def absorbed(self, index: int, root: int, owners: Mapping[int, int]) -> list[int]:
        """What the file does with the result of a node that the optimised graph does within it."""
        node = self._final[index]
        if node.op_type == "Conv":
            return self._summed(node, root, owners)
        changed = node.op_type.startswith("QLinear") and self._original[root].op_type != node.op_type
        return self._quantised(root, owners) if changed or _DERIVED.search(node.name) else []

    def _summed(self, node: Any, root: int, owners: Mapping[int, int]) -> list[int]:
        """What a convolution in blocks adds to its result, as its fourth input, and its activation."""
        wanted = [{"Add", "Sum"}] if len(node.input) > 3 and node.input[3] else []
        wanted += [{attribute.s.decode()} for attribute in node.attribute if attribute.name == "activation"]
        found = [root]
        for operators in wanted:
            reader = self._only_reader(found[-1], owners)
            if reader is None or self._original[reader].op_type not in operators:
                break
            found.append(reader)
        return found[1:]

    def _quantised(self, root: int, owners: Mapping[int, int]) -> list[int]:
        """What is done until it is quantised, which a node that computes in bytes does by itself."""
        found = [root]
        while (operator := self._original[found[-1]].op_type) != "QuantizeLinear":
            reader = self._only_reader(found[-1], owners)
            if reader is None or operator == "DequantizeLinear":
                return []
            found.append(reader)
        return found[1:]

    def _only_reader(self, place: int, owners: Mapping[int, int]) -> int | None:
        """The one node of the file that reads a result that the optimised graph has not, unless it is told already."""
        made = {name for name in self._original[place].output if name}
        readers = [reader for name in made for reader in self._readers.get(name, ())]
        alone = len(readers) == 1 and readers[0] not in owners and self._kept.isdisjoint(made)
        return readers[0] if alone else None


def _called(original: Sequence[Any], final: Sequence[Any], found: list[set[int]]) -> None:
    """Adds to nodes of functions' bodies the call in the file: the one that makes what is made of their tensors.

    Whoever reads a tensor comes later in the graph, and only a body reads what is named for it.
    """
    told = [" ".join((node.name, *node.output)) for node in final]
    bodies = " ".join(words for words in told if _BODY in words)
    functions = {op for op in {node.op_type for node in original} if f"{_BODY}{op}_" in bodies}
    calls = {place for place, node in enumerate(original) if node.op_type in functions}
    readers: dict[str, list[int]] = {}
    for index in reversed(range(len(final))):
        if not found[index] and _BODY in told[index]:
            behind = (found[reader] for name in final[index].output for reader in readers.get(name, ()) if name)
            found[index] = calls & set().union(*behind)
        for name in final[index].input:
            readers.setdefault(name, []).append(index)


def _tensor(name: str, makers: Mapping[str, int]) -> str:
    """What a tensor is called in the file."""
    return name if name in makers else name.removeprefix(_CAST).removesuffix(_MOVED)
