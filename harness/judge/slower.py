"""Which layers slowed: two profiles of a case, matched by the names of layers and by the ONNX nodes in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.records import LayerTime, Profile, Verdict
from harness.records.profiles import BASELINE, cut

MOST = 3
"""Layers that a headline names."""
LEAST = 0.1
"""Of the whole slowdown: what adds less is not named, unless every layer does."""
NAMED = 3
"""Layers that stand for those which another one was split into."""
NODES = 3
"""Nodes that name a layer; of more the others are counted."""


@dataclass(frozen=True)
class Pair:
    """Layers that compute the same nodes, then and now: one of each, unless they were fused otherwise."""

    now: tuple[LayerTime, ...]
    before: tuple[LayerTime, ...]

    @property
    def now_ms(self) -> float:
        """The time of all of them."""
        return sum(layer.ms for layer in self.now)

    @property
    def before_ms(self) -> float:
        """The time of all of them; 0 where there were none."""
        return sum(layer.ms for layer in self.before)

    @property
    def fused_otherwise(self) -> bool:
        """Whether the nodes were distributed over layers in another way."""
        return bool(self.before) and sorted(map(_fusion, self.now)) != sorted(map(_fusion, self.before))


def naming_layers(verdict: Verdict, before: Profile | None, now: Profile | None) -> Verdict:
    """The verdict; that of a regressed case names the layers that slowed, where both profiles tell."""
    if verdict.status != "regressed" or before is None or now is None:
        return verdict
    words = slower(before, now)
    return replace(verdict, headline=f"{verdict.headline}; {words}") if words else verdict


def slower(before: Profile, now: Profile) -> str:
    """The layers that slowed most, in words; empty where the profiles cannot be compared."""
    if not before.layers or not now.layers or before.clock != now.clock:
        return ""
    growth = {pair: _growth(pair, before) for pair in pairs(before, now)}
    slowed = sorted((pair for pair in growth if growth[pair] > 0), key=lambda pair: -growth[pair])
    totals = f"{before.total_ms:.4g} -> {now.total_ms:.4g} ms"
    if now.total_ms <= before.total_ms or not slowed:
        return f"its layers take no longer ({totals}): the time went elsewhere"
    whole = sum(growth[pair] for pair in slowed)
    named = [pair for pair in slowed[:MOST] if growth[pair] >= LEAST * whole]
    many = "" if named else f"{len(slowed)} layers, most of all "
    return f"layers {totals}, slowed: {many}{'; '.join(_words(pair, before) for pair in named or slowed[:MOST])}"


def pairs(before: Profile, now: Profile) -> tuple[Pair, ...]:
    """The layers of both profiles in groups that share names or nodes; in the order of the layers now."""
    groups: list[tuple[set[str], list[LayerTime], list[LayerTime]]] = []
    for side, layers in enumerate((now.layers, before.layers)):
        for layer in layers:
            keys = _keys(layer)
            ours: list[LayerTime] = []
            theirs: list[LayerTime] = []
            for group in [group for group in groups if group[0] & keys]:
                groups.remove(group)
                keys, ours, theirs = keys | group[0], ours + group[1], theirs + group[2]
            (theirs if side else ours).append(layer)
            groups.append((keys, ours, theirs))
    found = [Pair(tuple(ours), tuple(theirs)) for _, ours, theirs in groups]
    return tuple(sorted(found, key=lambda pair: -pair.now_ms))


def label(layers: Sequence[LayerTime]) -> str:
    """Layers by the nodes that they compute, else by their names; of many the slowest."""
    slowest = sorted(layers, key=lambda layer: -layer.ms)[:NAMED]
    more = len(layers) - len(slowest)
    return ", ".join(map(_label, slowest)) + (f" and {more} more" if more else "")


def _label(layer: LayerTime) -> str:
    named, more = layer.nodes[:NODES], len(layer.nodes[NODES:]) + layer.more_nodes
    return " + ".join(named) + (f" + {more} more" if more else "") if named else layer.name


def _keys(layer: LayerTime) -> set[str]:
    """What a layer is matched by; a baseline holds shorter names."""
    return {cut(name, BASELINE.characters) for name in (layer.name, *layer.nodes)}


def _fusion(layer: LayerTime) -> tuple[int, Sequence[str]]:
    """The nodes of a layer, as many as a baseline holds, and how many there are."""
    kept = [cut(node, BASELINE.characters) for node in layer.nodes[: BASELINE.nodes]]
    return len(layer.nodes) + layer.more_nodes, kept


def _growth(pair: Pair, before: Profile) -> float:
    """By how many ms it slowed; what was too fast to be listed took what the fastest listed layer did, or less."""
    unlisted = before.layers[-1].ms * len(pair.now) if before.others and not pair.before else 0.0
    return pair.now_ms - max(pair.before_ms, unlisted) if pair.now else 0.0


def _words(pair: Pair, before: Profile) -> str:
    if not pair.before:
        among = f"not among the {len(before.layers)} slowest then" if before.others else "not there then"
        return f"{label(pair.now)}: {pair.now_ms:.3g} ms, {among}"
    was = (
        f" (was {'fused' if len(pair.before) == 1 else 'apart'}: {label(pair.before)})" if pair.fused_otherwise else ""
    )
    return f"{label(pair.now)}: {pair.before_ms:.3g} -> {pair.now_ms:.3g} ms{was}"
