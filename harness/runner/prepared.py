"""A case with its files and feeds at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.backends.base import BuildSpec, Tensor
from harness.cache import Cache
from harness.inputs.feeds import Feeds, further
from harness.records import Plan
from harness.sources import Fetched
from harness.sources.inspect import ModelInfo
from harness.variants import Variant

Batches = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Prepared:
    """A case with its files and feeds at hand."""

    fetched: Fetched
    info: ModelInfo
    variant: Variant
    feeds: Feeds
    spec: BuildSpec
    cache: Cache
    builds: int = 1
    """How often the case is built; what is built several times is built afresh."""
    trusted: tuple[str, ...] = ()
    """Digests of engine files of the suite's own that somebody vouches for."""


def samples(plan: Plan, prepared: Prepared) -> Batches:
    """The batches of the case, and more of them where inputs are random and few."""
    batches = prepared.feeds.batches
    sets, rows = prepared.fetched.test_sets, plan.fidelity.samples
    return [*batches, *further(plan, prepared.info, sets, batches[0], rows, prepared.cache)]
