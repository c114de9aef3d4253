"""Cameras and what answers them: frames are decoded when they are due, wait for a session, are prepared and inferred.

A latency counts from the moment at which a frame was due until its result is on the host, so it holds decoding, the
time in the queue, preparing, the copies and the inference. Decoding of a frame never begins before it is due.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice, takewhile
from typing import Any

from harness.errors import InputError
from harness.timing.belt import Belt, Shot
from harness.timing.lanes import LEAD_S, ScriptedLane, until


@dataclass(frozen=True)
class Clip:
    """A file as a camera plays it, over and over."""

    times_s: Sequence[float]
    """When each frame arrives, from the first one on."""
    lasts_s: float
    """After that it begins anew."""
    every: int
    """Each so manieth frame is inferred, the others are only decoded."""
    open: Callable[[], Iterator[Any]]
    """Its frames, decoded one by one as they are asked for."""

    def dues_s(self) -> Iterator[tuple[float, bool]]:
        """When each frame arrives without end, and whether it is inferred."""
        begin_s = 0.0
        while True:
            for place, at_s in enumerate(self.times_s):
                yield begin_s + at_s, place % self.every == 0
            begin_s += self.lasts_s


class Reel:
    """The frames of a clip without end."""

    def __init__(self, clip: Clip) -> None:
        self._clip, self._opened, self._left = clip, clip.open(), len(clip.times_s)

    def next(self) -> Any:
        """The next frame, decoded now."""
        for picture in self._opened:
            self._left -= 1
            return picture
        there = len(self._clip.times_s) - self._left
        raise InputError(f"{there} frames are there now, {len(self._clip.times_s)} were before: leave it alone")

    def rewind(self) -> None:
        """Open the clip anew where it has ended: while nothing is due, for no camera does so."""
        if self._left == 0:
            self._opened, self._left = self._clip.open(), len(self._clip.times_s)


@dataclass(frozen=True)
class Worker:
    """A session: makes feeds of so many frames, and infers them."""

    batch: int
    prepare: Callable[[Sequence[Any]], Any]
    infer: Callable[[Any], Any]
    scripted_ms: Callable[[], float] | None = None


@dataclass(frozen=True)
class Span:
    """For how long streams are played: so long, and so many frames to infer for each; never longer than `most_s`.

    Frames that arrive at their rate are counted over all streams, for these are played side by side until the end.
    """

    least_s: float
    count: int
    most_s: float


@dataclass(frozen=True)
class Played:
    """What became of the frames of all streams."""

    latencies_s: Sequence[float]
    dropped: int
    window_s: float
    """In which the frames arrived; 0 where they came as fast as they were answered."""
    lasted_s: float
    """That, or until the last frame was answered where that is longer."""
    busy_s: Mapping[str, float]
    """Seconds of work by stage, over all threads."""

    @property
    def arrived(self) -> int:
        """Frames that were to be inferred."""
        return len(self.latencies_s) + self.dropped


def play(cameras: Sequence[Clip], workers: Sequence[Worker], room: int, span: Span, *, paced: bool) -> Played:
    """Play a clip for each stream, at its rate or as fast as it is answered; of each stream `room` frames may wait."""
    if workers[0].scripted_ms is not None:
        return _scripted(cameras, workers, room, span, paced=paced)
    belt = Belt(len(cameras), room, paced=paced, now=time.perf_counter)
    shoot, reels = _paced if paced else _unpaced, [Reel(clip) for clip in cameras]
    window_s = _window_s(cameras, span) if paced else 0.0
    span = replace(span, least_s=window_s) if paced else span
    begin = time.perf_counter() + (LEAD_S if paced else 0.0)  # what comes as it is taken begins at once
    with ThreadPoolExecutor(len(cameras) + len(workers)) as threads:
        work = [threads.submit(_answer, worker, belt) for worker in workers]
        for stream, (clip, reel) in enumerate(zip(cameras, reels, strict=True)):
            work.append(threads.submit(shoot, stream, clip, reel, belt, begin, span))
    for one in work:
        one.result()
    busy = {"decode": belt.decode_s, "prepare": belt.prepare_s, "infer": belt.infer_s}
    return Played(belt.latencies_s, belt.dropped, window_s, max(window_s, belt.done_s - begin), busy)


def _window_s(cameras: Sequence[Clip], span: Span) -> float:
    """When the next frame of any stream would be due, once as many have arrived as are played."""
    dues, wanted_frames = heapq.merge(*(clip.dues_s() for clip in cameras)), span.count * len(cameras)
    taken, last_s, (due_s, wanted) = 0, -1.0, next(dues)
    while due_s == last_s or (due_s < span.most_s and (due_s < span.least_s or taken < wanted_frames)):
        taken, last_s, (due_s, wanted) = taken + wanted, due_s, next(dues)  # those due together are all played
    return due_s


def _dues_s(clip: Clip, window_s: float) -> Iterator[tuple[float, bool]]:
    """When each frame arrives in a window, and whether it is inferred."""
    return takewhile(lambda due: due[0] < window_s, clip.dues_s())


def _paced(stream: int, clip: Clip, reel: Reel, belt: Belt, begin: float, span: Span) -> None:
    """Decode every frame when it is due, as long as the span's least."""
    with belt.shooting():
        for number, (due_s, wanted) in enumerate(_dues_s(clip, span.least_s)):
            until(begin + due_s)
            if time.perf_counter() - begin > span.most_s:  # decoding is slower than that
                belt.lost(sum(wants for _, wants in islice(_dues_s(clip, span.least_s), number, None)))
                return
            if not _arrives(stream, belt, reel, begin + due_s, wanted=wanted):
                return


def _unpaced(stream: int, clip: Clip, reel: Reel, belt: Belt, begin: float, span: Span) -> None:
    """Decode the next frame as soon as there is room for it."""
    taken = 0
    with belt.shooting():
        for _, wanted in clip.dues_s():
            gone_s = time.perf_counter() - begin
            if (gone_s >= span.least_s and taken >= span.count) or gone_s >= span.most_s:
                return
            if not _arrives(stream, belt, reel, begin + gone_s, wanted=wanted):
                return
            taken += wanted


def _arrives(stream: int, belt: Belt, reel: Reel, due_s: float, *, wanted: bool) -> bool:
    """Decode a frame and hand it on; False where no more is wanted."""
    start = time.perf_counter()
    picture = reel.next()
    belt.decoded(time.perf_counter() - start)
    goes_on = belt.arrive(Shot(stream, due_s, picture)) if wanted else True
    reel.rewind()
    return goes_on


def _answer(worker: Worker, belt: Belt) -> None:
    with belt.answering():
        while shots := belt.take(worker.batch):
            start = time.perf_counter()
            feeds = worker.prepare([shot.picture for shot in shots])
            ready = time.perf_counter()
            worker.infer(feeds)
            done = time.perf_counter()
            belt.answered(shots, ready - start, done - ready, done)


def _scripted(cameras: Sequence[Clip], workers: Sequence[Worker], room: int, span: Span, *, paced: bool) -> Played:
    """The same on scripted clocks, in no time at all: only inference takes any."""
    lanes = [ScriptedLane(one.scripted_ms) for one in workers if one.scripted_ms is not None]
    window_s, moment = _window_s(cameras, span) if paced else 0.0, 0.0
    belt = Belt(len(cameras), room, paced=paced, now=lambda: moment)

    def serve(before_s: float, batch: int) -> None:
        """Take what is taken before a moment."""
        nonlocal moment
        while (due_s := belt.ready(batch)) is not None:
            lane = min(lanes, key=lambda one: one.now())
            moment = max(due_s, lane.now())
            if moment > before_s:
                return
            shots, start = belt.take(batch), moment
            done = lane.serve(start)
            belt.answered(shots, 0.0, done - start, done)

    def more() -> Iterator[tuple[float, int]]:
        """Frames that come as fast as they are taken."""
        for number in count():
            if (moment >= span.least_s and number >= span.count * len(cameras)) or moment >= span.most_s:
                return
            yield 0.0, number % len(cameras)

    for due_s, stream in _arrivals(cameras, window_s) if paced else more():
        serve(due_s if paced else math.inf, workers[0].batch)
        belt.arrive(Shot(stream, due_s, None))
    serve(math.inf, workers[0].batch)
    serve(math.inf, 1)  # what fills no batch any more
    busy = {"decode": 0.0, "prepare": 0.0, "infer": belt.infer_s}
    return Played(belt.latencies_s, belt.dropped, window_s, max(window_s, belt.done_s), busy)


def _arrivals(cameras: Sequence[Clip], window_s: float) -> list[tuple[float, int]]:
    """When each frame that is inferred is due, and of which stream it is."""
    return sorted(
        (due_s, stream) for stream, clip in enumerate(cameras) for due_s, wanted in _dues_s(clip, window_s) if wanted
    )
