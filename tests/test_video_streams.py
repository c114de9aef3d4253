"""Video streams: frames arrive at their rate whether anybody has time for them, and nothing that waited is left out."""

from __future__ import annotations

import time
from itertools import count as numbers
from itertools import islice

import numpy as np
import pytest

from film import cut, film, noise
from harness.errors import InputError
from harness.inputs.clips import Frame
from harness.judge.serving import judge_serving
from harness.records import LatencyPlan, Offline, Outcome, ServingPlan, VideoStream
from harness.runner.digests import plan_digest
from harness.runner.films import clip as of_file
from harness.store import read_run
from harness.suites import load
from harness.timing.cameras import Clip, Span, Worker, play
from harness.timing.video import video
from plans import plan
from raw import means_model
from test_suites_problems import told_of
from toy import harness

TIMING = LatencyPlan(min_time_s=1.0, min_count=64, warmup_s=0.0)


def clip(fps=100.0, frames=50, every=1, times_s=None, decode_s=0.0):
    """A clip whose pictures are the moments at which they were decoded."""

    def opened():
        for _ in range(frames):
            if decode_s:
                time.sleep(decode_s)
            yield time.perf_counter()

    times_s = [number / fps for number in range(frames)] if times_s is None else times_s
    return Clip(times_s, times_s[-1] + 1 / fps, every, opened)


def scripted(*each_ms, batch=1):
    """A session whose inferences take so long, over and over."""
    return Worker(batch, list, list, scripted_ms=(each_ms[number % len(each_ms)] for number in numbers()).__next__)


def real(infer_s=0.0, batch=1, seen=None):
    def infer(pictures):
        if seen is not None:
            seen.append((time.perf_counter(), pictures))
        time.sleep(infer_s)

    return Worker(batch, list, infer)


def paced(cameras, workers, room=4, least_s=1.0, count=0, most_s=60.0):
    return play(cameras, workers, room, Span(least_s, count, most_s), paced=True)


def test_frames_that_are_answered_in_time_are_all_answered_at_their_rate():
    played = paced([clip(100)], [scripted(4.0)])

    assert (played.arrived, played.dropped) == (100, 0)
    assert np.allclose(played.latencies_s, 4e-3)
    assert len(played.latencies_s) / played.lasted_s == pytest.approx(100)


def test_of_frames_that_come_twice_as_fast_as_they_are_answered_every_second_is_dropped():
    played = paced([clip(100)], [scripted(20.0)], room=3, least_s=20)

    assert played.arrived == 2000
    assert played.dropped / played.arrived == pytest.approx(0.5, abs=0.01)
    assert max(played.latencies_s) <= (3 + 1) * 20e-3 + 1e-9  # behind 3 that wait and one that is being answered
    assert len(played.latencies_s) / played.lasted_s == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize("room", [1, 2, 8])
def test_a_stall_drops_the_frames_for_which_there_is_no_room(room):
    """100 ms at 100 fps: ten frames arrive meanwhile, of which so many find room."""
    played = paced([clip(100)], [scripted(*[1.0] * 50, 100.0, *[1.0] * 200)], room=room, least_s=1.0)

    assert played.dropped == 9 - room
    assert max(played.latencies_s) == pytest.approx(0.1)


def test_without_a_rate_a_session_answers_as_many_as_it_can_and_none_is_dropped():
    played = play([clip(10)], [scripted(2.0)], 4, Span(5.0, 0, 60.0), paced=False)

    assert played.dropped == 0
    assert len(played.latencies_s) / played.lasted_s == pytest.approx(500)


def test_a_session_is_no_longer_at_work_than_streams_are_played(monkeypatch):
    """What is answered before the clock runs would be a rate that nothing can hold."""
    monkeypatch.setattr("harness.timing.cameras.LEAD_S", 0.1)
    played = play([clip(10)], [real(0.005)], 4, Span(0.01, 10, 60.0), paced=False)

    assert played.busy_s["infer"] <= played.lasted_s


def test_two_sessions_answer_twice_as_many():
    two = play([clip(10)], [scripted(2.0), scripted(2.0)], 4, Span(5.0, 0, 60.0), paced=False)

    assert len(two.latencies_s) / two.lasted_s == pytest.approx(1000)


def test_each_stream_has_a_queue_of_its_own():
    played = paced([clip(10, frames=10)] * 3, [scripted(10.0)], room=1)

    assert (played.arrived, played.dropped) == (30, 0)  # three at a time; one queue would hold one of them
    assert sorted(played.latencies_s)[-10:] == pytest.approx([30e-3] * 10)


def test_streams_of_unlike_rates_are_played_side_by_side_for_the_same_time():
    played = paced([clip(100), clip(2)], [scripted(1.0)], least_s=0.2, count=100)

    assert played.arrived >= 200  # as many as are asked for of two streams
    assert len(played.latencies_s) / played.lasted_s == pytest.approx(102, rel=0.01)
    assert sorted(played.latencies_s)[-4:] == pytest.approx([2e-3] * 4)  # at 0, 0.5, 1.0 and 1.5 s both are due


@pytest.mark.parametrize("fps", [1, 3, 7])
def test_streams_of_unlike_rates_bring_all_the_frames_that_a_percentile_needs(fps):
    shown = video([clip(21), clip(fps)], [scripted(1.0)], VideoStream(streams=2, p90_ms=9), TIMING, 60)

    assert shown.measures["video_p90_ms"] is not None, shown.notes


def test_frames_wait_until_a_batch_is_full_and_its_last_one_may_be_short():
    played = paced([clip(100)], [scripted(1.0, batch=4)], room=4, least_s=0.1)

    assert sorted(round(latency * 1e3) for latency in played.latencies_s) == sorted([31, 21, 11, 1] * 2 + [1, 1])


def test_only_each_so_manieth_frame_is_inferred():
    seen = []
    played = paced([clip(200, frames=10, every=5)], [real(seen=seen)], room=100, least_s=0.199)

    assert played.arrived == len(seen) == 8
    assert played.window_s == pytest.approx(0.2)


def test_frames_arrive_at_the_times_of_the_file_over_and_over():
    film_of_it = clip(50, frames=4, times_s=[0.0, 0.01, 0.1, 0.11], every=3)
    dues_s = list(islice(film_of_it.dues_s(), 10))

    assert [due_s for due_s, _ in dues_s] == pytest.approx([0.0, 0.01, 0.1, 0.11, 0.13, 0.14, 0.23, 0.24, 0.26, 0.27])
    assert [wanted for _, wanted in dues_s] == [True, False, False, True] * 2 + [True, False]


def test_a_clip_is_opened_anew_before_its_first_frame_is_due_again():
    """Opening takes 30 ms here, and the frames come each 50 ms; a camera never opens anything."""
    slow = clip(20, frames=4)

    def opened():
        time.sleep(0.03)
        return slow.open()

    played = paced([Clip(slow.times_s, slow.lasts_s, 1, opened)], [real()], room=100, least_s=0.99)
    assert played.arrived == 20
    assert played.busy_s["decode"] < 4 * 0.03  # of five times


def test_no_frame_is_decoded_before_it_is_due():
    seen = []
    begin = time.perf_counter()
    paced([clip(100, frames=20)], [real(seen=seen)], room=100, least_s=0.195)

    assert len(seen) == 20
    assert all(picture - begin >= number / 100 for number, (_, (picture,)) in enumerate(seen))


def test_a_camera_that_decodes_too_slowly_loses_frames_and_they_pay_for_it():
    """Each takes 20 ms, and arrives each 10 ms."""
    played = paced([clip(100, decode_s=0.02)], [real()], room=2, least_s=0.5)

    assert played.arrived == 50
    assert played.dropped > 10
    assert max(played.latencies_s) > 0.04
    assert played.busy_s["decode"] >= 50 * 0.02  # those that nobody wants are decoded as well


def test_decoding_that_lasts_longer_than_a_scenario_may_ends_and_the_rest_is_dropped():
    played = paced([clip(100, decode_s=0.05)], [real()], least_s=0.5, most_s=0.6)

    assert played.arrived == 50
    assert played.dropped >= 35


@pytest.mark.alone
def test_a_stall_of_a_real_session_drops_frames_and_delays_others():
    calls = numbers()
    stalled = Worker(1, list, lambda _: time.sleep(0.3 if next(calls) == 10 else 0))
    played = paced([clip(100)], [stalled], room=3, least_s=1.0)

    assert played.arrived == 100
    assert 20 <= played.dropped < 80  # 26 on a machine with nothing else to do
    assert max(played.latencies_s) >= 0.3


@pytest.mark.alone
def test_the_work_of_each_stage_is_counted():
    worker = Worker(1, lambda pictures: time.sleep(0.01) or pictures, lambda _: time.sleep(0.05))
    busy = paced([clip(10, frames=20, decode_s=0.002)], [worker], room=100, least_s=0.95).busy_s

    assert busy["decode"] >= 10 * 0.002
    assert busy["prepare"] >= 10 * 0.01
    assert busy["infer"] >= 10 * 0.05
    assert busy["infer"] > 0.5 * sum(busy.values())


@pytest.mark.parametrize("where", ["decode", "prepare", "infer"])
@pytest.mark.parametrize("rate", [True, False])
def test_an_error_of_one_stage_ends_the_others_and_is_told(where, rate):
    def fail(_):
        raise OSError("gone")

    def opened():
        for number in range(1000):
            if number == 5 and where == "decode":
                fail(0)
            yield number

    broken = Worker(1, fail if where == "prepare" else list, fail if where == "infer" else list)
    film_of_it = Clip([number / 100 for number in range(1000)], 10.0, 1, opened)
    begin = time.perf_counter()
    with pytest.raises(OSError, match="gone"):
        play([film_of_it] * 2, [broken, broken], 2, Span(10.0, 0, 60.0), paced=rate)
    assert time.perf_counter() - begin < 5


def test_a_clip_that_lost_frames_meanwhile_is_an_error():
    short = Clip([number / 100 for number in range(30)], 0.3, 1, lambda: iter(range(20)))

    with pytest.raises(InputError, match="20 frames are there now, 30 were before"):
        paced([short], [real()])


def test_a_percentile_has_the_frames_that_it_needs():
    shown = video([clip(100)], [scripted(4.0)], VideoStream(p99_ms=9), TIMING, 60)

    assert shown.measures["video_p99_ms"] == pytest.approx(4.0)
    assert "video_p90_ms" not in shown.measures
    assert (shown.trials[0].scenario, shown.trials[0].queries) == ("video", 662)
    assert shown.trials[0].rate_per_s == pytest.approx(100)


def test_where_frames_may_be_dropped_more_of_them_are_played():
    shown = video([clip(100)], [scripted(20.0)], VideoStream(p90_ms=200, drops_max=0.6), TIMING, 60)

    assert shown.trials[0].queries >= 64
    assert shown.measures["video_p90_ms"] is not None


def test_what_is_measured_is_told_without_any_limit():
    shown = video([clip(100)], [scripted(4.0)], VideoStream(), TIMING, 60)

    assert set(shown.measures) == {
        "video_fps",
        "video_drops",
        "video_drop_share",
        "video_p90_ms",
        "video_decode_share",
        "video_prepare_share",
        "video_infer_share",
        "video_unpaced_fps",
    }
    assert shown.measures["video_unpaced_fps"] == pytest.approx(250)
    assert shown.notes == ()


def test_too_few_frames_tell_nothing():
    shown = video([clip(1)], [scripted(4.0)], VideoStream(), TIMING, 5)

    assert shown.measures["video_fps"] is shown.measures["video_p90_ms"] is shown.measures["video_drops"] is None
    assert shown.notes == (
        "serving: video: 5 frames in 5 s are too few to tell anything, and a longer max_time_s gives more",
    )


def test_too_few_frames_for_a_percentile_tell_the_others():
    shown = video([clip(10)], [scripted(4.0)], VideoStream(p99_ms=5), TIMING, 5)

    assert shown.measures["video_p99_ms"] is None
    assert shown.measures["video_fps"] == pytest.approx(10)
    assert shown.notes[0].startswith("serving: video: 50 answered frames are too few for a p99: it needs 662")


@pytest.mark.alone
def test_warming_up_is_in_no_result():
    seen = []
    timing = LatencyPlan(min_time_s=0.2, min_count=1, warmup_s=0.3)
    shown = video([clip(400)], [real(seen=seen)], VideoStream(queue=1000), timing, 60)

    assert len(seen) > sum(trial.queries for trial in shown.trials) + 10
    assert shown.trials[0].queries == pytest.approx(80, abs=5)


def test_a_queue_holds_a_batch_and_one_that_cannot_is_an_error():
    assert video([clip(100)], [scripted(1.0, batch=16)], VideoStream(), TIMING, 60).measures["video_drops"] == 0
    with pytest.raises(InputError, match="queue: 4 frames never fill a batch of 16: make it 16"):
        video([clip(100)], [scripted(1.0, batch=16)], VideoStream(queue=4), TIMING, 60)


@pytest.mark.parametrize(
    ("stream", "measures", "reasons"),
    [
        (VideoStream(fps_min=25), {"video_fps": 24.0}, ["video 24 fps < 25 fps"]),
        (VideoStream(drops_max=0.01), {"video_drop_share": 0.02}, ["video drop 2 % > 1 %"]),
        (VideoStream(p99_ms=5, drops_max=0.5), {"video_drop_share": 0.5, "video_p99_ms": 4.0},
         ["video drop 50 % <= 50 %", "video p99 4 ms <= 5 ms"]),
        (VideoStream(p90_ms=5), {"video_drop_share": 0.001, "video_p90_ms": 4.0},
         ["video drop 0.1 % > 0 %", "video p90 4 ms <= 5 ms"]),
        (VideoStream(unpaced_fps_min=100), {"video_unpaced_fps": 250.0}, ["video unpaced 250 fps >= 100 fps"]),
        (VideoStream(), {"video_fps": 1.0}, []),
        (VideoStream(fps_min=25), {"video_fps": None},
         ["video was not measured, so the limit of 25 fps cannot be checked: the notes say why"]),
        (VideoStream(p99_ms=5), {"video_drop_share": 0.0, "video_p90_ms": 4.0},
         ["video drop 0 % <= 0 %",
          "video p99 was not measured, so the limit of 5 ms cannot be checked: its run was not asked for it: run the "
          "case again"]),
    ],
)  # fmt: skip
def test_rates_have_a_least_and_drops_and_times_a_most(stream, measures, reasons):
    checks = list(judge_serving(plan(serving=ServingPlan(video=stream)), Outcome(measures=measures)))

    assert [check.reason for check in checks] == reasons
    assert [check.ok for check in checks] == ["=" in reason for reason in reasons]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (VideoStream(), VideoStream(fps_min=5, drops_max=0.1, p90_ms=9, p99_ms=9, unpaced_fps_min=1), True),
        (VideoStream(), VideoStream(fps=25), False),
        (VideoStream(), VideoStream(streams=2), False),
        (VideoStream(queue=2), VideoStream(queue=3), False),
    ],
)
def test_what_was_measured_is_judged_again_under_other_limits_alone(before, after, same):
    digests = [plan_digest(plan(serving=ServingPlan(video=stream))) for stream in (before, after)]

    assert (digests[0] == digests[1]) is same


def test_loads_without_video_keep_the_digest_that_they_had(monkeypatch):
    monkeypatch.chdir("/")  # files count by their place beside the suite

    assert plan_digest(plan(serving=ServingPlan(offline=Offline()))).startswith("6982a335c33f2c52")


SUITE = """
suite: films
models:
  - name: means
    source: means.onnx
    shapes: [{n: 1}]
    backends: [onnxruntime-cpu]
    inputs:
      image: {video: a.mkv, size: 8}
    latency: {min_time_s: 0.3, warmup_s: 0.05}
    options: {onnxruntime-cpu: {threads: 1}}
    serving: {video: {}}
"""


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("PIL")
    (tmp_path / "pyproject.toml").touch()
    film(tmp_path / "a.mkv", noise(10), rate=100)
    means_model(tmp_path / "means.onnx")
    (tmp_path / "s.yaml").write_text(SUITE)
    return tmp_path


def change(folder, old, new):
    text = (folder / "s.yaml").read_text()
    assert old in text
    (folder / "s.yaml").write_text(text.replace(old, new))


def ran(folder):
    status = harness(folder, "run", folder / "s.yaml", "-o", folder / "out", "-q")
    (record,) = read_run(folder / "out").records
    return status, record


@pytest.mark.alone
def test_a_file_is_streamed_at_its_own_rate_and_as_fast_as_it_can_be(folder):
    change(folder, "video: {}}", "video: {queue: 100, fps_min: 50, drops_max: 0, p90_ms: 5000, unpaced_fps_min: 110}}")
    status, record = ran(folder)

    assert (status, record.status) == (0, "new"), record.headline
    assert 50 < record.measures["video_fps"] <= 100  # a machine that others keep busy may stall at the end
    assert record.measures["video_unpaced_fps"] > 110
    shares = [record.measures[f"video_{stage}_share"] for stage in ("decode", "prepare", "infer")]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    assert {trial.scenario for trial in record.trials} == {"video", "video_unpaced"}


@pytest.mark.alone
def test_a_rate_of_the_suite_comes_before_that_of_the_file(folder):
    change(folder, "video: {}", "video: {fps: 50, streams: 2}")
    change(folder, "serving: {", "serving: {sessions: 2, ")
    _, record = ran(folder)

    assert record.measures["video_fps"] == pytest.approx(100, rel=0.2)
    assert record.trials[0].rate_per_s == pytest.approx(100, rel=0.01)


def test_frames_that_are_lost_fail_the_case(folder):
    change(folder, "video: {}", "video: {fps: 100000, drops_max: 1%}")
    status, record = ran(folder)

    assert (status, record.status) == (1, "failed")
    assert record.headline.startswith("resource/video_drop_share: video drop ")


@pytest.mark.alone
def test_a_batch_of_frames_is_inferred_together(folder):
    change(folder, "{n: 1}", "{n: 4}")
    change(folder, "video: {}", "video: {queue: 100}")
    status, record = ran(folder)

    assert status == 0
    assert record.measures["video_drops"] == 0
    assert record.trials[0].p50_ms > 10  # the first of four waits for three more


def test_a_file_is_played_at_its_own_times(folder):
    made = of_file(film(folder / "b.mkv", noise(3), times_ms=[0, 10, 30]), "b.mkv", None, 1, 60)

    assert made.times_s == pytest.approx([0.0, 0.01, 0.03])
    assert made.lasts_s > 0.03


@pytest.mark.parametrize(
    ("times_s", "words"),
    [
        ([0.0, None, 0.2], "does not say when its frames are shown: set `fps`"),
        ([0.0, 0.2, 0.2], r"frame 2 is shown at 0\.200 s, not after the one before: set `fps`"),
        ([0.0], "does not say how long its only frame is shown: set `fps`"),
    ],
)
def test_times_that_tell_no_rate_are_an_error_unless_the_suite_tells_one(folder, monkeypatch, times_s, words):
    shown = [Frame(number, time_s, None, None) for number, time_s in enumerate(times_s)]
    monkeypatch.setattr("harness.runner.films.frames", lambda _: iter(shown))

    with pytest.raises(InputError, match=rf"a\.mkv: {words}"):
        of_file(folder / "a.mkv", "a.mkv", None, 1, 60)
    made = of_file(folder / "a.mkv", "a.mkv", 10, 1, 60)
    assert (list(made.times_s), made.lasts_s) == ([n / 10 for n in range(len(shown))], len(shown) / 10)


def test_a_file_that_is_cut_is_an_error_that_names_it(folder):
    cut(folder / "a.mkv")
    with pytest.raises(InputError, match=r"a\.mkv: is cut, or its header is wrong"):
        of_file(folder / "a.mkv", "a.mkv", None, 1, 60)


def test_the_scripted_backend_streams_on_its_scripted_clock(folder):
    (folder / "script.yaml").write_text("cases: [{latency_ms: 20.0}]")
    change(folder, "backends: [onnxruntime-cpu]", "backends: [fake]\n    reference: {backend: fake, precision: fp32}")
    change(folder, "{onnxruntime-cpu: {threads: 1}}", "{fake: {script: script.yaml}}")
    status, record = ran(folder)

    assert status == 0
    assert record.measures["video_unpaced_fps"] == pytest.approx(50)
    assert record.measures["video_drop_share"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        ("{video: {}}", "serving.video: streams the frames of one input, and no input is made from video"),
        ("{video: {fps: 0}}", "serving.video.fps: must be greater than 0, not 0"),
        ("{video: {queue: 0}}", "serving.video.queue: must be greater than or equal to 1, not 0"),
        (
            "{video: {drops_max: 2}}",
            "serving.video.drops_max: must be 0, or a share below 1 such as 2% or 0.02, not 2",
        ),
        ("{video: {fps_mn: 2}}", "serving.video.fps_mn: unknown key 'fps_mn', did you mean 'fps_min'?"),
    ],
)
def test_what_is_wrong_with_it_is_told(tmp_path, serving, message):
    assert f"models[0].{message}" in told_of(tmp_path, f"serving: {serving}")


def test_a_rate_at_which_too_few_frames_arrive_is_told_when_the_suite_is_read(folder, capsys):
    change(folder, "video: {}", "video: {fps: 5, p99_ms: 9}")

    assert harness(folder, "check", folder / "s.yaml") == 2
    assert (
        "models[0].serving.video.p99_ms: needs 662 frames, which arrive in 132.4 s, and max_time_s is 120"
        in capsys.readouterr().err
    )


def test_a_queue_that_holds_no_batch_is_an_error_at_the_place_of_the_model(folder):
    change(folder, "{n: 1}", "{n: 8}")
    change(folder, "video: {}", "video: {queue: 4}")
    status, record = ran(folder)

    assert (status, record.error.kind, record.error.stage) == (1, "input", "serve")
    assert "s.yaml:4:5: serving.video: queue: 4 frames never fill a batch of 8: make it 8" in record.error.message


def test_no_drops_can_be_asked_for(folder):
    change(folder, "video: {}", "video: {drops_max: 0}")

    assert load([folder / "s.yaml"])[0].serving.video == VideoStream(drops_max=0.0)
