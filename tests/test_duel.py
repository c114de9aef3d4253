"""Two sides timed in turns: arithmetic on scripted durations, and real sessions."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from clocks import FakeNvml, Script, scripted, side
from harness.backends.base import Artefact, BuildSpec, Step
from harness.backends.onnxruntime import Cpu
from harness.errors import CaseError
from harness.timing.duel import DuelSettings, duel
from harness.timing.evidence import Watch, watch
from harness.timing.nvml import Device
from harness.timing.sides import LocalSide
from models import attention, conv_net

SHORT = DuelSettings(min_pairs=10, min_time_s=0.01, patience_s=0.0, warmup_s=0.0)


def run(a, b, settings=SHORT, *, seen=None):
    return duel(a, b, settings, first="a", watch=seen or Watch(None))


def on_gpu(**script):
    return Watch(Device(FakeNvml(**script), "GPU-1"))


def waiting(cpu_s=0.002, switches=1):
    return {"wall_s": 0.004, "cpu_s": cpu_s, "waited_s": 0.004 - cpu_s, "switches": switches}


def test_the_launch_tells_the_logarithm_of_the_ratio():
    launch = run(side(1.0), side(1.03))

    assert launch.log_ratio == pytest.approx(math.log(1.03))
    assert (launch.a_p50_ms, launch.b_p50_ms) == (1.0, 1.03)
    assert (launch.spoiled, launch.redone, launch.first) == (None, {}, "a")


def test_a_side_against_itself_has_no_ratio_and_no_tail():
    launch = run(side(0.2, 0.21, 0.19), side(0.2, 0.21, 0.19))

    assert launch.log_ratio == 0
    assert launch.tail == 0


def test_the_tail_is_the_share_of_iterations_above_one_and_a_half_medians_of_a():
    launch = run(side(1.0), side(*[1.0] * 18, 2.0), DuelSettings(min_pairs=380, long_time_s=9.0))

    assert launch.log_ratio == 0
    assert launch.tail == pytest.approx(1 / 19)
    assert run(side(1.0), side(1.49)).tail == 0


def test_the_order_turns_round_from_pair_to_pair():
    turns: list[str] = []
    launch = run(Script("a", 1.0, turns=turns), Script("b", 1.0, turns=turns))

    pairs = "".join(turns)[-2 * launch.pairs :]
    assert pairs == "abba" * (launch.pairs // 2)
    assert launch.pairs % 2 == 0


def test_the_first_iteration_of_a_block_counts_nowhere():
    launch = run(Script("a", 1.0, first_ms=9.0), Script("b", 1.0, first_ms=1.0))

    assert (launch.log_ratio, launch.tail, launch.a_p50_ms) == (0, 0, 1.0)


@pytest.mark.parametrize(("median_ms", "calls"), [(0.001, 200), (0.1, 15), (2.0, 5), (3.9, 5), (7.0, 2), (100.0, 1)])
def test_blocks_last_some_milliseconds(median_ms, calls):
    a, b = Script("a", median_ms), Script("b", median_ms)
    launch = run(a, b)

    assert a.counts[-1] == b.counts[-1] == calls + 1
    assert launch.samples == launch.pairs * calls


def test_a_launch_has_its_pairs_and_its_time():
    by_pairs = run(side(1.0), side(1.0), DuelSettings(min_pairs=60, min_time_s=0.01))
    by_time = run(side(1.0), side(2.0), DuelSettings(min_pairs=2, min_time_s=0.4))

    assert by_pairs.pairs == 60
    assert 0.4 <= by_time.samples * 1e-3 < 0.41


@pytest.mark.parametrize(("median_ms", "pairs"), [(1.9, 50), (3.0, 34), (5.0, 26), (15.0, 34), (19.0, 28), (30.0, 20)])
def test_sides_of_some_milliseconds_have_fewer_pairs_once_their_time_is_long(median_ms, pairs):
    assert run(side(median_ms), side(median_ms), DuelSettings(warmup_s=0.0)).pairs == pairs


def test_slow_sides_have_fewer_pairs_but_never_fewer_than_the_fewest():
    settings = DuelSettings(max_time_s=2.0, fewer_pairs=100, fewest_pairs=4, max_warmup_s=0.1)

    assert run(side(50.0), side(50.0), settings).pairs == 20
    assert run(side(5000.0), side(5000.0), settings).pairs == 4


def test_warm_up_lasts_until_blocks_agree():
    falling = [100.0 * 0.9**n for n in range(60)]
    slow, fast = (
        Script("a", 1.0),
        LocalSide(Step(lambda _: None, scripted_ms=iter([*falling, *[0.2] * 10**5]).__next__)),
    )

    launch = run(slow, fast, DuelSettings(min_pairs=10, min_time_s=0.01, warmup_s=0.0))

    assert launch.b_p50_ms == 0.2
    assert launch.tail == 0


def test_warm_up_ends_though_a_side_never_settles():
    launch = run(side(1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0), side(1.0), DuelSettings(max_warmup_s=0.3))

    assert launch.pairs >= 50


def test_pairs_whose_sides_saw_other_clocks_are_measured_again():
    launch = run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(sm_mhz=[1980, 1755, 1755, 1755, 1980, 1980]))

    assert launch.redone == {"clocks": 1}
    assert launch.spoiled is None
    assert launch.evidence.sm_mhz == (1755, 1980)


def test_a_step_of_the_clock_below_one_percent_is_nothing():
    assert run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(sm_mhz=[1980, 1965] * 100)).redone == {}


def test_a_redone_pair_is_measured_in_the_same_order():
    turns: list[str] = []
    seen = on_gpu(sm_mhz=[1980, 1980, 1980, 1700, 1980])
    launch = run(Script("a", 1.0, turns=turns), Script("b", 1.0, turns=turns), seen=seen)

    assert "".join(turns)[-2 * launch.pairs - 2 :].startswith("abbabaab")


def test_a_launch_that_is_never_clean_is_spoiled_and_says_by_what():
    launch = run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(sm_mhz=[1980, 1500] * 1000))

    assert launch.pairs == launch.redone["clocks"] == 11
    assert launch.spoiled == "11 of 11 pairs were disturbed: 11 by clocks (SM clock 1500 MHz for a, 1980 MHz for b)"


def test_a_burst_is_waited_for():
    burst = on_gpu(sm_mhz=[1980, 1500] * 300 + [1980])
    launch = run(Script("a", 1.0), Script("b", 1.0), DuelSettings(min_pairs=10, min_time_s=0.01), seen=burst)

    assert launch.redone == {"clocks": 300}
    assert (launch.spoiled, launch.pairs) == (None, 10)


def test_new_throttling_disturbs_a_pair_and_old_throttling_does_not():
    begins = run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(reasons=[0, 0, 0x40, 0x40, 0]))
    always = run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(reasons=[0x44]))
    one_sided = run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(reasons=[0, 0, 0x4, 0]))

    assert begins.redone == one_sided.redone == {"throttling": 1}
    assert begins.evidence.throttled == ("HwThermalSlowdown",)
    assert always.redone == {}
    assert always.evidence.throttled == ("HwThermalSlowdown", "SwPowerCap")


def test_pairs_in_which_a_side_had_to_wait_for_a_cpu_are_measured_again():
    quiet = [waiting(cpu_s=0.004, switches=0)]
    launch = run(Script("a", 1.0, shows=[*quiet * 7, waiting(), *quiet * 90]), Script("b", 1.0, shows=quiet * 90))

    assert launch.redone == {"waiting": 1}
    assert launch.evidence.cpu_share < 1


def test_what_a_side_does_to_itself_is_what_it_costs():
    quiet, late = [waiting(cpu_s=0.004, switches=0)] * 400, [waiting()] * 400
    slow = run(Script("a", 1.0, shows=quiet), Script("b", 1.3, shows=late), DuelSettings(min_pairs=60))

    assert (slow.spoiled, slow.log_ratio) == (None, pytest.approx(math.log(1.3)))
    assert list(slow.redone) == ["kept: of b alone"]
    other = run(Script("a", 1.3, shows=late), Script("b", 1.0, shows=quiet), DuelSettings(min_pairs=60))
    assert (other.spoiled, list(other.redone)) == (None, ["kept: of a alone"])


def test_a_neighbour_that_hits_both_sides_spoils_the_launch():
    quiet, late = waiting(cpu_s=0.004, switches=0), waiting()
    some = [late if at % 3 else quiet for at in range(900)]
    launch = run(Script("a", 1.0, shows=some), Script("b", 1.3, shows=some[1:]), DuelSettings(min_pairs=60))

    assert "pairs were disturbed" in launch.spoiled
    assert list(launch.redone) == ["waiting"]


def test_what_hits_whichever_comes_second_is_no_sides_own():
    launch = run(
        Script("a", 1.0), Script("b", 1.0), DuelSettings(min_pairs=60), seen=on_gpu(sm_mhz=[1980, 1500] * 9000)
    )

    assert "by clocks" in launch.spoiled


def test_sleeping_is_not_waiting():
    asleep = [{"wall_s": 0.004, "cpu_s": 0.001, "waited_s": 0.0, "switches": 0}] * 400
    launch = run(Script("a", 1.0, shows=asleep), Script("b", 1.0, shows=asleep))

    assert launch.redone == {}
    assert launch.evidence.cpu_share == pytest.approx(0.25)


def test_a_launch_beside_another_process_on_the_gpu_is_spoiled():
    import os

    launch = run(Script("a", 1.0), Script("b", 1.0), seen=on_gpu(processes=[[os.getpid()], [os.getpid(), 4711]]))

    assert launch.spoiled == "other processes used the GPU: train-4711 (process 4711)"
    assert launch.evidence.foreign == ("train-4711 (process 4711)",)


def test_scripted_sides_show_no_evidence_of_the_host():
    assert run(side(1.0), side(1.0)).evidence.cpu_share is None


def test_sides_on_different_clocks_are_refused():
    a, b = Script("a", 1.0), Script("b", 1.0)
    b.decided_on = "gpu"

    with pytest.raises(CaseError, match="one side is timed by the host's clock, the other by the gpu's"):
        run(a, b)


def test_a_side_without_any_time_is_refused():
    with pytest.raises(CaseError, match="too short to be timed"):
        run(side(1.0), Script("b", 0.0))


def test_the_settings_are_told_for_the_record():
    assert DuelSettings(min_pairs=7).record()["min_pairs"] == 7
    assert DuelSettings().record() != DuelSettings(block_ms=8.0).record()


def session(model, folder, name):
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    spec = BuildSpec(name, path, "fp32", {}, {}, {"threads": 1})
    return Cpu().open(Artefact(path), spec)


@pytest.mark.parametrize(
    ("model", "feeds"),
    [
        (conv_net, {"image": np.ones((4, 1, 8, 8), np.float32)}),
        (attention, {"tokens": np.ones((1, 16, 32), np.float32)}),
    ],
)
def test_two_real_sessions_are_timed_in_turns(model, feeds, tmp_path):
    sessions = [session(model(), tmp_path, name) for name in "ab"]
    a, b = (LocalSide(one.bind(feeds)) for one in sessions)
    launch = duel(a, b, DuelSettings(min_pairs=4, min_time_s=0.01, warmup_s=0.0), first="b", watch=watch(None))
    for one in sessions:
        one.close()

    assert launch.first == "b"
    assert launch.pairs >= 4 or launch.spoiled  # where others keep the machine busy
    assert launch.samples >= 4 * 5
    assert launch.a_p50_ms > 0
    assert math.isfinite(launch.log_ratio)
    assert 0 < launch.evidence.cpu_share <= 1.05
    assert launch.evidence.load is not None
    assert launch.evidence.sm_mhz is None


def test_a_local_side_tells_how_much_of_a_cpu_its_thread_had():
    import time

    asleep = LocalSide(Step(lambda _: time.sleep(0.02))).block(2)
    awake = LocalSide(Step(lambda _: sum(range(200_000)))).block(2)

    assert asleep.cpu_s < 0.5 * asleep.wall_s
    assert asleep.wall_s >= 0.04
    assert awake.cpu_s > 0
    assert len(awake.host_ms) == 2
    assert awake.gpu_ms is None


def test_the_fake_script_is_followed_in_order():
    assert LocalSide(scripted(1.0, 2.0, 3.0)).block(4).host_ms == (1.0, 2.0, 3.0, 1.0)
