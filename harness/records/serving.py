"""Load on a case as users make it: the scenarios of MLPerf LoadGen, video streams, and the trials that were made."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SingleStream:
    """One query after the other, each of one sample."""

    p90_ms: float | None = None
    """Limit, as all that ends in `_ms` or begins with `min` here."""


@dataclass(frozen=True)
class MultiStream:
    """One query after the other, each of several samples."""

    samples: int = 8
    p99_ms: float | None = None


@dataclass(frozen=True)
class Server:
    """Queries that arrive at random (a Poisson process) whether the last is answered or not."""

    p90_ms: float | None = None
    p99_ms: float | None = None
    """The bound on the latency, one of the two."""
    rate_per_s: float | None = None
    """Arrivals a second; None: the highest rate that keeps the bound is searched."""
    min_per_s: float | None = None
    seed: int = 0

    @property
    def bound(self) -> tuple[str, float]:
        """Which percentile is bounded ("p99_ms"), and by how many milliseconds."""
        return ("p90_ms", self.p90_ms) if self.p90_ms is not None else ("p99_ms", self.p99_ms or 0.0)


@dataclass(frozen=True)
class Offline:
    """All samples are there at once."""

    min_per_s: float | None = None
    depth: int = 4
    """Samples in flight on each stream of a GPU."""


@dataclass(frozen=True)
class VideoStream:
    """Frames that are streamed from the file of an input, decoded, prepared and inferred."""

    fps: float | None = None
    """Frames a second of each stream; None: when the file says."""
    streams: int = 1
    queue: int | None = None
    """Frames of a stream that may wait; None: a few, or a batch."""
    fps_min: float | None = None
    drops_max: float | None = None
    """Share of the frames that arrived. None: no limit, or 0 where a percentile has one."""
    p90_ms: float | None = None
    p99_ms: float | None = None
    unpaced_fps_min: float | None = None

    @property
    def most_drops(self) -> float | None:
        """A percentile is of frames that were answered, and says nothing where others may be dropped."""
        bounded = self.p90_ms is not None or self.p99_ms is not None
        return 0.0 if self.drops_max is None and bounded else self.drops_max

    def unlimited(self) -> VideoStream:
        """What is measured."""
        return VideoStream(self.fps, self.streams, self.queue)


@dataclass(frozen=True)
class ServingPlan:
    """The scenarios that a case is put under."""

    sessions: int = 1
    """Sessions that answer side by side, each on a stream of its own where there is a GPU."""
    max_time_s: float = 120.0
    """What one scenario may take."""
    single_stream: SingleStream | None = None
    multi_stream: MultiStream | None = None
    server: Server | None = None
    offline: Offline | None = None
    video: VideoStream | None = None

    def unlimited(self) -> ServingPlan:
        """What is measured, without what it is judged by alone; trials end by the server's bound, so that stays."""
        return replace(
            self,
            single_stream=self.single_stream and SingleStream(),
            multi_stream=self.multi_stream and replace(self.multi_stream, p99_ms=None),
            server=self.server and replace(self.server, min_per_s=None),
            offline=self.offline and replace(self.offline, min_per_s=None),
            video=self.video and self.video.unlimited(),
        )


@dataclass(frozen=True)
class Trial:
    """Queries of one scenario, at one rate where they arrive by themselves."""

    scenario: str
    """"single_stream", "multi_stream", "server", "offline", "video" or "video_unpaced"."""
    rate_per_s: float | None
    """Of arrivals; of "offline" and "video_unpaced" the rate of answers."""
    queries: int
    """That were answered; a trial that can keep its bound no more ends there."""
    p50_ms: float | None
    quantile_ms: float | None
    """What the bounded percentile is at most, with 99 % confidence; of a trial that ended early, at least."""
    over: int = 0
    """Queries above the bound."""
    holds: bool | None = None
    """Whether the bound was kept; None where there is none."""
