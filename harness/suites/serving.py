"""The `serving:` part of a suite: load after MLPerf LoadGen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from harness.records import (
    PERCENTILES,
    LatencyPlan,
    MultiStream,
    Offline,
    Server,
    ServingPlan,
    SingleStream,
    VideoStream,
)
from harness.stats import samples_for
from harness.suites.fields import Choice, Share, Strict, one_key
from harness.timing.search import MOST_PER_S

SCENARIOS = ("single_stream", "multi_stream", "server", "offline", "video")
Milliseconds = Annotated[float, Field(gt=0, le=60_000)]
Rate = Annotated[float, Field(gt=0, le=MOST_PER_S)]


class SingleStreamEntry(Strict):
    """One query after the other, each of one sample."""

    p90_ms: Milliseconds | None = Field(None, description="90th percentile of the latency, at most.")


class MultiStreamEntry(Strict):
    """One query after the other, each of several samples, which the sessions share."""

    samples: Annotated[int, Field(ge=1, le=1024)] = Field(MultiStream.samples, description="Samples of a query.")
    p99_ms: Milliseconds | None = Field(None, description="99th percentile of the latency, at most.")


class ServerEntry(Choice):
    """Queries that arrive at random, one sample each; exactly one of p90_ms and p99_ms bounds their latency."""

    p90_ms: Milliseconds | None = Field(None, description="Bound on the 90th percentile, from the arrival on.")
    p99_ms: Milliseconds | None = Field(None, description="Bound on the 99th percentile, from the arrival on.")
    rate_per_s: Rate | None = Field(
        None, description="Arrivals a second; without it the highest rate that keeps the bound is searched."
    )
    min_per_s: Rate | None = Field(None, description="The highest rate, at least.")
    seed: int = Field(Server.seed, ge=0, le=2**63 - 1, description="Seed of the arrivals.")

    def kind(self) -> str:
        """Its bound, and whether the rate is given."""
        return f"{one_key(self, ('p90_ms', 'p99_ms'))} {'rate_per_s' in self.model_fields_set}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.kind()
        if self.rate_per_s is not None and self.min_per_s is not None:
            raise ValueError("sets rate_per_s and min_per_s: no highest rate is searched where the rate is given")
        return self


class OfflineEntry(Strict):
    """All samples are due at once."""

    min_per_s: Rate | None = Field(None, description="Samples a second, at least.")
    depth: Annotated[int, Field(ge=1, le=1024)] = Field(
        Offline.depth, description="Samples in flight on each stream of a GPU."
    )


class VideoEntry(Strict):
    """Frames streamed from the file of an input, at their rate and then as fast as they are answered."""

    fps: Rate | None = Field(None, description="Frames a second of each stream; default: when the file says.")
    streams: Annotated[int, Field(ge=1, le=64)] = Field(VideoStream.streams, description="Streams side by side.")
    queue: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Frames of a stream that wait; one that arrives while so many do is dropped. Default: 4, or the "
        "case's batch where that is more.",
    )
    fps_min: Rate | None = Field(None, description="Frames answered a second, over all streams, at least.")
    drops_max: Share | None = Field(
        None, description="Share of frames dropped, at most, such as 1%; default: none where a percentile is bounded."
    )
    p90_ms: Milliseconds | None = Field(None, description="90th percentile from arrival to result, at most.")
    p99_ms: Milliseconds | None = Field(None, description="99th percentile from arrival to result, at most.")
    unpaced_fps_min: Rate | None = Field(
        None, description="Frames answered a second where none waits until it is due, at least."
    )


class ServingEntry(Strict):
    """Load that a case is put under, and what it must do then."""

    sessions: Annotated[int, Field(ge=1, le=64)] = Field(
        ServingPlan.sessions, description="Sessions that answer side by side; on a GPU each has a stream of its own."
    )
    max_time_s: float = Field(ServingPlan.max_time_s, gt=0, le=3600, description="What one scenario may take.")
    single_stream: SingleStreamEntry | None = Field(None, description="One query after the other.")
    multi_stream: MultiStreamEntry | None = Field(None, description="Queries of several samples.")
    server: ServerEntry | None = Field(None, description="Random arrivals.")
    offline: OfflineEntry | None = Field(None, description="All at once.")
    video: VideoEntry | None = Field(None, description="Frames of the input that is made from video, as they arrive.")


def serving(entry: ServingEntry | None) -> ServingPlan | None:
    """The load of a case."""
    if entry is None:
        return None
    given = entry.model_dump(exclude_unset=True, exclude_none=True)
    kinds = zip(SCENARIOS, (SingleStream, MultiStream, Server, Offline, VideoStream), strict=True)
    return ServingPlan(**{**given, **{name: kind(**given[name]) for name, kind in kinds if name in given}})


Found = tuple[tuple[str, ...], str]
"""The keys inside of `serving` that are meant, and what is wrong with them."""


def wrong(entry: ServingEntry | None, timing: LatencyPlan, films: Mapping[str, int]) -> Iterator[Found]:
    """What shows only beside the model's other keys; `films`: inputs made from video, to every how many frames."""
    plan = serving(entry)
    if plan is None:
        return
    if all(getattr(plan, name) is None for name in SCENARIOS):
        yield (), f"names no scenario: {', '.join(SCENARIOS[:-1])} or {SCENARIOS[-1]}"
    if plan.server is not None:
        yield from _too_slow(plan, plan.server, timing)
    if plan.video is not None and len(films) != 1:
        told = f"those of {' and '.join(films)} could be meant" if films else "and no input is made from video"
        yield ("video",), f"streams the frames of one input, {told}"
    elif plan.video is not None:
        yield from _too_few_frames(plan, plan.video, next(iter(films.values())))


def _too_slow(plan: ServingPlan, server: Server, timing: LatencyPlan) -> Iterator[Found]:
    """A rate at which one trial takes longer than a scenario may."""
    rate_per_s = server.rate_per_s or server.min_per_s
    if rate_per_s is None:
        return
    from harness.timing.server import queries  # imports numpy, which only suites with a server wait for

    count = queries(server, rate_per_s, timing)
    if count / rate_per_s > plan.max_time_s:
        key = "rate_per_s" if server.rate_per_s is not None else "min_per_s"
        told = (
            f"a trial at {rate_per_s:g}/s has {count} queries and takes {count / rate_per_s:.4g} s, and max_time_s is"
        )
        yield ("server", key), f"{told} {plan.max_time_s:g}: give it more, or ask for less"


def _too_few_frames(plan: ServingPlan, video: VideoStream, every: int) -> Iterator[Found]:
    """Percentiles that need more frames than arrive while a scenario may last, where the rate is known."""
    for name in ("p99_ms", "p90_ms") if video.fps is not None else ():
        least_s = samples_for(PERCENTILES[name]) * every / ((video.fps or 0.0) * video.streams)
        if getattr(video, name) is not None and least_s > plan.max_time_s:
            told = f"needs {samples_for(PERCENTILES[name])} frames, which arrive in {least_s:.4g} s, and max_time_s is"
            yield ("video", name), f"{told} {plan.max_time_s:g}: give it more, or ask for less"
