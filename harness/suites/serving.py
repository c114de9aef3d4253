"""The `serving:` part of a suite: load after MLPerf LoadGen."""

from __future__ import annotations

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


def too_slow(plan: ServingPlan | None, timing: LatencyPlan) -> tuple[str, str] | None:
    """The key of a rate at which one trial takes longer than a scenario may, and what is wrong with it."""
    if plan is None or plan.server is None or (rate_per_s := plan.server.rate_per_s or plan.server.min_per_s) is None:
        return None
    from harness.timing.server import queries  # imports numpy, which only suites with a server wait for

    count = queries(plan.server, rate_per_s, timing)
    lasts_s = count / rate_per_s
    if lasts_s <= plan.max_time_s:
        return None
    key = "rate_per_s" if plan.server.rate_per_s is not None else "min_per_s"
    told = f"a trial at {rate_per_s:g}/s has {count} queries and takes {lasts_s:.4g} s, and max_time_s is"
    return key, f"{told} {plan.max_time_s:g}: give it more, or ask for less"


def too_few_frames(plan: ServingPlan | None, every: int) -> tuple[str, str] | None:
    """The percentile that needs more frames than arrive while a scenario may last, and what is wrong with it."""
    if plan is None or plan.video is None or plan.video.fps is None:
        return None
    per_s = plan.video.fps * plan.video.streams / every
    for name in ("p99_ms", "p90_ms"):
        least = samples_for(PERCENTILES[name])
        if getattr(plan.video, name) is not None and least / per_s > plan.max_time_s:
            told = f"needs {least} frames, which arrive in {least / per_s:.4g} s, and max_time_s is"
            return name, f"{told} {plan.max_time_s:g}: give it more, or ask for less"
    return None


def asks_for_nothing(entry: ServingEntry | None) -> bool:
    """Whether there is an entry without a scenario."""
    return entry is not None and all(getattr(entry, name) is None for name in SCENARIOS)
