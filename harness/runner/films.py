"""Video streams of a case: its files as cameras, its sessions as what answers their frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from harness.backends.base import Feeds, Session
from harness.errors import InputError
from harness.inputs.clips import Frame, frames
from harness.inputs.kinds import KINDS
from harness.inputs.samples import samples
from harness.inputs.video import Pictures
from harness.records import LatencyPlan, Plan, Preparation, VideoStream
from harness.timing.cameras import Clip, Worker
from harness.timing.scenarios import Shown
from harness.timing.video import video


def stream(plan: Plan, load: VideoStream, timing: LatencyPlan, sessions: Sequence[Session], feeds: Feeds) -> Shown:
    """What becomes of the frames of the case's video; every other input stays that of the first batch.

    InputError, with the model's place in the suite, where the file or the queue is not fit for it.
    """
    place = plan.case.location
    try:
        return _streamed(plan, load, timing, sessions, feeds)
    except InputError as error:
        raise InputError(f"{place.file}:{place.line}:{place.column}: serving.video: {error}") from None


def _streamed(plan: Plan, load: VideoStream, timing: LatencyPlan, sessions: Sequence[Session], feeds: Feeds) -> Shown:
    name, preparation = of_video(plan)
    most_s = plan.serving.max_time_s if plan.serving else 0.0
    files = samples(Path(preparation.source), KINDS[preparation.kind].suffixes)[: load.streams]
    every: int = preparation.settings["every"]
    clips = [clip(one.file, one.name, load.fps, every, most_s) for one in files]
    workers = [_worker(session, preparation, name, feeds) for session in sessions]
    return video(clips, workers, load, timing, most_s)


def of_video(plan: Plan) -> tuple[str, Preparation]:
    """The input that is made from video; InputError unless there is exactly one."""
    found = [
        (name, spec.preparation)
        for name, spec in plan.inputs.items()
        if spec.preparation is not None and spec.preparation.kind == "video"
    ]
    if len(found) != 1:
        raise InputError(f"needs exactly one input that is made from video, not {len(found)}")
    return found[0]


def clip(file: Path, name: str, fps: float | None, every: int, most_s: float) -> Clip:
    """A file as a camera plays it: it is decoded once to the end, or to `most_s`, to know when its frames are due."""
    times_s: list[float | None] = []
    last: Frame | None = None
    try:
        for last in frames(file):
            times_s.append(last.time_s if fps is None else last.number / fps)
            if (times_s[-1] or 0.0) > most_s:
                break
        due_s, ends_s = _dues_s(times_s, None if last is None else last.lasts_s, fps)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return Clip(due_s, ends_s, every, partial(frames, file))


def _dues_s(times_s: Sequence[float | None], lasts_s: float | None, fps: float | None) -> tuple[list[float], float]:
    """When each frame is due, and when the first one is again; InputError where the file does not tell."""
    known = [time_s for time_s in times_s if time_s is not None]
    if len(known) < len(times_s):
        raise InputError("does not say when its frames are shown: set `fps`")
    for number, (before_s, after_s) in enumerate(pairwise(known), 1):
        if after_s <= before_s:
            raise InputError(f"frame {number} is shown at {after_s:.3f} s, not after the one before: set `fps`")
    if fps is not None:
        return known, len(known) / fps
    if lasts_s is None and len(known) < 2:
        raise InputError("does not say how long its only frame is shown: set `fps`")
    return known, known[-1] + (lasts_s or known[-1] / (len(known) - 1))


def _worker(session: Session, preparation: Preparation, name: str, feeds: Feeds) -> Worker:
    first = feeds[name]
    batch, step = len(first), session.bind(feeds)
    scripted_ms = step.scripted_load_ms or step.scripted_ms
    pictures = Pictures(preparation.settings)

    def prepare(taken: Sequence[Frame]) -> Feeds:
        filled = [*taken, *[taken[-1]] * (batch - len(taken))]  # the last batch of all may lack some
        return {**feeds, name: pictures.batch(filled).astype(first.dtype, copy=False)}

    return Worker(batch, prepare, session.infer, scripted_ms)
