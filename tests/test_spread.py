"""Runs on several seats: which GPU each sees, what they share, and how they end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness import suites
from harness.errors import HarnessError
from harness.records import Contestant, Duel, Environment, Failure, Gpu, Outcome, Screening
from harness.runner import duels as duels_module
from harness.runner import screen, spread
from harness.runner.bench import Bench
from harness.runner.client import Halt, WorkerFailed, WorkerProcess
from harness.runner.duels import Match
from harness.runner.health import SickDevice
from harness.runner.lock import device_locks
from harness.runner.remote import Member, RemoteSeat
from harness.runner.settings import Settings
from harness.runner.shared import Once
from harness.runner.spread import run, spread_duels, spread_over, together
from harness.runner.supply import Supply
from harness.runner.workers import Workers
from harness.store import read_run
from toy import fake_suite, harness

GPUS = tuple(Gpu("NVIDIA H200", f"GPU-{number}", "580", "9.0", 143771) for number in range(4))
HOST = Environment("host", "cpu", GPUS, {"driver": "580"}, "nvidia-h200-x4")


@pytest.fixture
def plans(tmp_path):
    return suites.load([fake_suite(tmp_path)], None)


def on(plan, backend):
    return replace(plan, case=replace(plan.case, backend=backend, id=plan.case.id.replace("fake", backend)))


def test_by_default_there_is_one_seat_for_each_gpu_that_the_cases_use(plans, tmp_path):
    settings = Settings(tmp_path)

    assert spread_over(settings, None, HOST, plans).seats == [settings]
    found = spread_over(settings, None, HOST, [*plans, on(plans[0], "tensorrt")]).seats
    assert [seat.gpu for seat in found] == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
    one = replace(HOST, gpus=GPUS[:1])
    assert spread_over(settings, None, one, [on(plans[0], "tensorrt")]).seats == [settings]


def test_more_jobs_than_gpus_take_them_by_turns(plans, tmp_path):
    two = replace(HOST, gpus=GPUS[:2])

    found = spread_over(Settings(tmp_path), 3, two, [on(plans[0], "onnxruntime-cuda")])

    assert [seat.gpu for seat in found.seats] == ["GPU-0", "GPU-1", "GPU-0"]
    assert all(seat.halt is found.halt for seat in found.seats)


def test_the_worker_of_a_seat_sees_its_gpu_alone(tmp_path):
    seat = replace(Settings(tmp_path / "cache"), gpu="GPU-3")
    worker = WorkerProcess(seat.cache, tmp_path / "scratch", seat.limits, {})
    try:
        worker.request("backend", name="fake")
        assert worker._process is not None
        variables = Path(f"/proc/{worker._process.pid}/environ").read_bytes().split(b"\0")
    finally:
        worker.close()
    assert b"CUDA_VISIBLE_DEVICES=GPU-3" in variables


def test_what_a_worker_with_one_gpu_tells_is_of_the_whole_machine(tmp_path):
    seat = Settings(tmp_path)
    main, other = (Workers(tmp_path, tmp_path / name, seat.limits) for name in "ab")
    main._hellos = {"default": HOST, "new": Failure("crash", "start", "scripted", "")}
    seen = replace(HOST, gpus=GPUS[2:3], fingerprint="nvidia-h200-x1", versions={"driver": "580", "tensorrt": "10"})
    other._hellos = {"default": seen, "new": seen}

    main.learn(other.told)

    for name in ("default", "new"):
        told = main._hellos[name]
        assert (told.gpus, told.fingerprint, told.versions) == (GPUS, HOST.fingerprint, seen.versions)


def test_what_many_need_is_made_once_and_what_fails_is_made_by_the_next():
    made, once = [], Once()

    def make() -> int:
        made.append(1)
        time.sleep(0.02)
        return len(made)

    threads = [threading.Thread(target=lambda: once.get("key", make)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, once.get("key", make)) == ([1], 1)
    once.forget("key")
    assert once.get("key", make) == 2

    def fail() -> int:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - any
        once.get("other", fail)
    assert once.known("other") is None
    assert once.get("other", make) == 3


def test_cases_of_one_model_are_divided_among_seats_and_share_one_reference(plans, tmp_path, monkeypatch):
    made, outcomes = [], {}
    make = Supply._make_reference
    monkeypatch.setattr(Supply, "_make_reference", lambda self, plan: made.append(plan) or make(self, plan))
    twice = [replace(plans[0], case=replace(plans[0].case, id=f"toy/net/fake/fp32/{name}")) for name in "ab"]
    both = threading.Barrier(2, timeout=60)
    measured = Bench.outcome

    def outcome(self, plan):
        both.wait()  # both seats have one
        return measured(self, plan)

    monkeypatch.setattr(Bench, "outcome", outcome)
    settings = Settings(tmp_path / "cache", jobs=2)
    with Bench(settings) as bench:
        run(twice, settings, bench, lambda plan, outcome: outcomes.update({plan.case.id: outcome}))

    assert outcomes.keys() == {plan.case.id for plan in twice}
    assert all(one.error is None and one.measurements for one in outcomes.values())
    assert len(made) == 1


def test_a_run_on_two_seats_has_the_records_of_one_seat(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = fake_suite(tmp_path)

    assert harness(tmp_path, "run", path, "-o", "one") == harness(tmp_path, "run", path, "--jobs", "2", "-o", "two")

    def judged(name):
        return [(one.case, one.status, one.headline, one.checks) for one in read_run(tmp_path / name).records]

    assert judged("one") == judged("two")


def test_the_first_error_ends_the_workers_of_all(tmp_path):
    settings = Settings(tmp_path / "cache", jobs=2)
    worker = WorkerProcess(settings.cache, tmp_path / "scratch", settings.limits, {})
    worker.request("backend", name="fake")

    def broken() -> None:
        raise RuntimeError("scripted")

    def waits() -> None:
        while worker.alive:
            time.sleep(0.01)

    with pytest.raises(RuntimeError, match="scripted"):
        together([waits, broken], settings)
    with pytest.raises(WorkerFailed, match="the run is ending"):
        worker.request("backend", name="fake")
    worker.close()


def test_what_the_end_of_a_run_brings_about_in_the_first_seat_does_not_hide_why_it_ended(tmp_path):
    settings = Settings(tmp_path / "cache", jobs=2)

    def full() -> None:
        raise HarnessError("the disk is full")

    def killed() -> None:
        while not settings.halt.called:
            time.sleep(0.001)
        raise SickDevice("the device is sick")

    with pytest.raises(HarnessError, match="the disk is full"):
        together([killed, full], settings)


def test_an_interrupt_of_the_first_seat_is_why_a_run_ended(tmp_path):
    settings = Settings(tmp_path / "cache", jobs=2)

    def interrupted() -> None:
        raise KeyboardInterrupt

    def killed() -> None:
        while not settings.halt.called:
            time.sleep(0.001)
        raise SickDevice("the device is sick")

    with pytest.raises(KeyboardInterrupt):
        together([interrupted, killed], settings)


@pytest.mark.parametrize("away", [False, True])
def test_launches_that_the_end_of_a_run_killed_are_not_told_and_count_as_none(plans, tmp_path, away):
    settings, told = Settings(tmp_path / "cache"), []
    seat = RemoteSeat([Member(None, "node-1")], 0, settings.halt) if away else None
    side = Contestant("0" * 64, {})
    matches = [Match(plan, side, side, None, "itself") for plan in plans]
    make = duels_module.launch

    def ending(*arguments):
        settings.halt.call()  # another seat ends the run while this one is about to ask its worker
        return make(*arguments)

    for launch in (ending, make):  # then it has ended before the launch
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(duels_module, "launch", launch)
            found = duels_module.duels(matches, replace(settings, elsewhere=seat), tell=lambda *one: told.append(one))
        assert told == []
        assert [(duel.launches, duel.failures) for duel in found] == [((), ())] * len(matches)


def test_measurements_that_the_end_of_a_run_killed_are_not_told_and_count_as_none(plans, tmp_path, monkeypatch):
    settings, told = Settings(tmp_path / "cache"), []
    once_more = screen.once_more
    monkeypatch.setattr(screen, "_wanted", lambda _: True)

    def ending(*arguments):
        settings.halt.call()
        return once_more(*arguments)

    monkeypatch.setattr(screen, "once_more", ending)
    asked = Screening("p10", (), (), "host")
    cases = [(plan, Outcome(), None, asked) for plan in plans]

    assert screen.measured(cases, settings, lambda *one: told.append(one)) == [asked] * len(cases)
    assert told == []


def test_workers_that_are_made_after_the_end_do_not_start(tmp_path):
    halt = Halt()
    halt.call()
    settings = Settings(tmp_path / "cache", halt=halt)
    worker = WorkerProcess(settings.cache, tmp_path / "scratch", settings.limits, {})

    with pytest.raises(WorkerFailed, match="the run is ending"):
        worker.request("backend", name="fake")


def test_turns_on_a_cpu_come_first_and_those_on_gpus_at_once_in_order(plans, tmp_path, monkeypatch):
    plan = plans[0]
    matches = [Match(on(plan, name), None, None, None, str(at)) for at, name in enumerate(["tensorrt", "fake"] * 3)]
    begun, seen = threading.Barrier(2, timeout=10), []

    def scripted(some, seat, *_):
        seen.append((seat.gpu, [match.against for match in some]))
        if "1" not in [match.against for match in some]:
            begun.wait()  # both GPUs are at work at the same time
        return [Duel((), "host", {}, match.against) for match in some]

    monkeypatch.setattr(spread, "duels", scripted)
    settings = spread_over(Settings(tmp_path), None, replace(HOST, gpus=GPUS[:2]), [matches[0].plan])

    found = spread_duels(matches, settings)

    assert [duel.against for duel in found] == list("012345")
    assert seen[0] == ("GPU-0", ["1", "3", "5"])
    assert sorted(seen[1:]) == [("GPU-0", ["0", "4"]), ("GPU-1", ["2"])]


def test_a_run_on_a_cluster_says_how_to_get_ray_where_it_is_absent(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)

    assert harness(tmp_path, "run", fake_suite(tmp_path), "-o", tmp_path / "out", "--ray", "auto") == 2
    assert harness(tmp_path, "run", tmp_path / "toy.yaml", "-o", tmp_path / "out", "--ray-accelerator", "H100") == 2

    told = capsys.readouterr().err
    assert "--ray: Ray is not installed here: pip install 'trt-harness[ray]'" in told
    assert "--ray-accelerator: chooses among the nodes of a cluster: give it with --ray" in told


def test_a_run_without_a_cluster_does_not_load_ray(tmp_path):
    code = "import sys; from harness.cli import main; sys.exit(main(sys.argv[1:]) or 'ray' in sys.modules)"
    arguments = ["run", fake_suite(tmp_path), "-o", tmp_path / "out", "--artefacts", tmp_path / "cache"]

    assert subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=False).returncode == 0


def test_who_waits_to_be_alone_is_not_overtaken():
    order, waiting = [], []

    def take(name: str, alone: bool) -> None:
        waiting.append(name)
        with device_locks(None if alone else "GPU-0", alone=alone):
            order.append(name)

    threads = [threading.Thread(target=take, args=(name, name == "alone")) for name in ("alone", "later")]
    with device_locks("GPU-1", alone=True):  # shares the CPU
        for thread in threads:
            thread.start()
            while len(waiting) <= threads.index(thread):
                time.sleep(0.001)
            time.sleep(0.2)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["alone", "later"]


def test_waiting_is_told_only_where_others_have_the_device():
    told = threading.Event()

    def take(alone: bool) -> None:
        with device_locks(None, alone=alone, waits=told.set):
            pass

    take(alone=True)
    with device_locks(None, alone=False):
        take(alone=False)
        assert not told.is_set()
        waiting = threading.Thread(target=take, args=[True], daemon=True)
        waiting.start()
        assert told.wait(10)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()
