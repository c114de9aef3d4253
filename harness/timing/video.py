"""Video streams: frames at their own rate, what nobody takes in time is dropped; then as many as can be answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from harness import stats
from harness.errors import InputError
from harness.records import PERCENTILES, LatencyPlan, Trial, VideoStream
from harness.timing.cameras import Clip, Played, Span, Worker, play
from harness.timing.laps import uncollected
from harness.timing.scenarios import PROBES, Shown, at_most_ms, median_s

QUEUE = 4
"""Frames of a stream that may wait where the suite does not say."""
DEFAULT = "p90_ms"
"""The percentile that is told where none is bounded."""


def video(
    clips: Sequence[Clip], workers: Sequence[Worker], plan: VideoStream, timing: LatencyPlan, most_s: float
) -> Shown:
    """Streams at their own rate, then as fast as they can be answered."""
    cameras, room = [clips[number % len(clips)] for number in range(plan.streams)], _room(workers[0].batch, plan.queue)
    bounded = [name for name in ("p99_ms", "p90_ms") if getattr(plan, name) is not None] or [DEFAULT]
    answered = max(stats.samples_for(PERCENTILES[bounded[0]]), timing.min_count)
    count = math.ceil(answered / (1 - (plan.most_drops or 0.0)) / plan.streams)
    run = partial(play, cameras, workers, room)
    with uncollected():
        run(Span(timing.warmup_s, PROBES, most_s), paced=False)  # to warm up
        paced = run(Span(timing.min_time_s, count, most_s), paced=True)
        free = run(Span(timing.min_time_s, PROBES, most_s), paced=False)
    found, notes = _told(paced, bounded, most_s)
    fastest = len(free.latencies_s) / free.lasted_s if free.arrived >= PROBES else None
    if fastest is None:
        notes += (_too_few(free, most_s),)
    trials = (
        _trial("video", paced, bounded[0], plan),
        Trial("video_unpaced", fastest, len(free.latencies_s), None, None),
    )
    return Shown({**found, "video_unpaced_fps": fastest}, trials, notes)


def _room(batch: int, queue: int | None) -> int:
    """How many frames of a stream may wait: enough for a batch, which could not be filled otherwise."""
    if queue is not None and queue < batch:
        raise InputError(f"queue: {queue} frames never fill a batch of {batch}: make it {batch}")
    return queue or max(QUEUE, batch)


def _told(played: Played, bounded: Sequence[str], most_s: float) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """Measures of the paced streams, and notes on what could not be told."""
    names = ("video_fps", "video_drops", "video_drop_share", *(f"video_{name}" for name in bounded))
    if played.arrived < PROBES:
        return dict.fromkeys(names), (_too_few(played, most_s),)
    found: dict[str, float | None] = {
        "video_fps": len(played.latencies_s) / played.lasted_s,
        "video_drops": played.dropped,
        "video_drop_share": played.dropped / played.arrived,
        **_shares(played.busy_s),
    }
    notes = []
    for name in bounded:
        answered = len(played.latencies_s)
        found[f"video_{name}"] = at_most_ms(played.latencies_s, stats.may_exceed(answered, PERCENTILES[name]))
        if found[f"video_{name}"] is None:
            least = stats.samples_for(PERCENTILES[name])
            notes.append(
                f"serving: video: {answered} answered frames are too few for a {name.removesuffix('_ms')}: it needs "
                f"{least}, and a longer max_time_s gives more"
            )
    return found, tuple(notes)


def _too_few(played: Played, most_s: float) -> str:
    few = f"{played.arrived} frames in {most_s:g} s are too few to tell anything"
    return f"serving: video: {few}, and a longer max_time_s gives more"


def _shares(busy_s: Mapping[str, float]) -> dict[str, float | None]:
    whole = math.fsum(busy_s.values())
    return {f"video_{stage}_share": each / whole if whole else None for stage, each in busy_s.items()}


def _trial(name: str, played: Played, percentile: str, plan: VideoStream) -> Trial:
    answered, bound_ms = played.latencies_s, getattr(plan, percentile)
    quantile_ms = at_most_ms(answered, stats.may_exceed(len(answered), PERCENTILES[percentile]))
    over = 0 if bound_ms is None else sum(one > bound_ms / 1e3 for one in answered)
    rate = played.arrived / played.window_s if played.window_s else None
    return Trial(name, rate, len(answered), median_s(answered) * 1e3 if answered else None, quantile_ms, over)
