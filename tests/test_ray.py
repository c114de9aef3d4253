"""Runs on a Ray cluster: here of several nodes' worth of processes, without GPUs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'trt-harness[ray]'")

from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from harness import suites  # noqa: E402
from harness.commands import run as command  # noqa: E402
from harness.errors import HarnessError, UsageError  # noqa: E402
from harness.records import Contestant, Failure, Gpu, Record, Run  # noqa: E402
from harness.runner import cluster  # noqa: E402
from harness.runner.client import Halt, WorkerProcess  # noqa: E402
from harness.runner.cluster import Cluster, seats_on  # noqa: E402
from harness.runner.duels import Match  # noqa: E402
from harness.runner.ground import ground  # noqa: E402
from harness.runner.remote import Lost, Member, RemoteSeat  # noqa: E402
from harness.runner.seat import gpu_of  # noqa: E402
from harness.runner.settings import Settings  # noqa: E402
from harness.runner.spread import spread_duels  # noqa: E402
from harness.store import read_run  # noqa: E402
from plans import PLAN  # noqa: E402
from test_resume import timeless  # noqa: E402
from test_screen import accept_runs  # noqa: E402
from test_turns import suite  # noqa: E402
from toy import fake_suite, harness  # noqa: E402

OURS = b"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES=1"
PRETENDED = """
import os
import sys
if sys.orig_argv[-4:-2] == ["-m", "harness.runner.worker"]:
    from pathlib import Path
    from harness import environment
    from harness.records import Gpu
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = seen.removeprefix("GPU-") if seen else "01"
    environment._gpus = lambda: tuple(Gpu("NVIDIA TEST", f"GPU-{one}", "580", "9.0", 80000) for one in numbers)
    with Path(__file__).parents[1].joinpath("seen").open("a") as told:
        print(seen, file=told)
"""
STORE = 80 << 20
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
VARIED = """
cases:
  - {match: '*/fp16/n-1', outputs: {y: {add: 0.5}}, latency_ms: 1.0}
  - {match: '*/fp16/n-3', crash: {stage: infer, kind: segfault}}
  - {match: '*/bf16/*', unsupported: no kernel for Relu}
  - {match: '*/fp32/n-1', latency_ms: {measured: [1.2, 1.2, 1.3]}, canary_ms: 0.5}
  - {latency_ms: 2.0, canary_ms: 0.5}
"""


@pytest.fixture(scope="module")
def nodes():
    """A head that measures nothing, and two nodes of type A."""
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE, "_system_config": QUICK}
    made = Nodes(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE, resources={"accelerator_type:A": 1}, wait=False)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on(nodes, kind="A"):
    return ["--ray", nodes.address, "--ray-accelerator", kind]


def untimed(run: Run) -> list[Record]:
    """The records of a run without times, and without what a log tells of processes."""
    found = []
    for one in run.records:
        error = one.error and replace(one.error, log="")
        silent = replace(one, error=error, earlier=tuple(replace(each, log="") for each in one.earlier))
        real = one.case.backend == "onnxruntime-cpu"
        if real:  # layers stand in the order of their times
            silent = replace(silent, latency=None, profile=None, fusion=None, headline="")
        found.append(timeless(silent))
    return found


def left() -> list[int]:
    """Processes of seats and their workers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and OURS in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # another user's, or ended
            continue
    return found


def ends() -> bool:
    """Whether nothing is left of seats, or soon will be."""
    deadline = time.monotonic() + 20
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not left()


def test_a_run_on_a_cluster_is_the_run_without_one_and_cases_take_turns_there(nodes, folder, monkeypatch):
    path = accept_runs(folder, 5)
    (folder / "script.yaml").write_text(VARIED)
    path.write_text(path.read_text().replace("precisions: [fp32]", "precisions: [fp32, fp16, bf16]"))
    real = suite(folder)
    options = ["--retries", "1", "--keep-outputs"]
    assert harness(folder, "run", path, real, "-o", "plain", *options) == 1
    (folder / "numpy.py").write_text("raise ImportError('imported from the working folder')")
    with monkeypatch.context() as here:
        here.setattr(WorkerProcess, "_begin", lambda *_: pytest.fail("a worker was started where nothing is measured"))
        assert harness(folder, "run", path, real, "-o", "cluster", *options, *on(nodes)) == 1

    plain, run = (read_run(folder / name) for name in ("plain", "cluster"))
    assert untimed(run) == untimed(plain)
    assert (run.gate, run.environments) == (plain.gate, plain.environments)
    statuses = ["regressed", "passed", "failed", "error", "skipped", "skipped", "new"]
    assert [one.status for one in run.records] == statuses
    assert harness(folder, "judge", "cluster") == 1  # from the outputs that were kept
    assert ends()

    plans = suites.load([real], None)
    last = run.records[-1]
    side = Contestant(last.digests.variant, last.attested["options"])
    matches = [Match(plans[0], side, side, None, "itself")] * 3
    found = ground(plans, lambda _: folder, keep_outputs=False, shard=None)
    roots = {plans[0].case.location.file: folder}
    asked = Cluster(nodes.address, "A")
    with cluster.seated(asked, Settings(folder / "cache"), plans, found, roots, ()) as (settings, _):
        assert len(settings.seats) == 2
        fought = spread_duels(matches, settings, more=lambda _, duel: 1 - len(duel.launches))
    assert [(len(duel.launches), duel.failures) for duel in fought] == [(1, ())] * 3


def test_nodes_that_are_not_alike_are_refused_by_name_with_all_that_differs(nodes, folder, capsys, monkeypatch):
    path = fake_suite(folder)
    real, arrived = command.ground, cluster._arrived

    def here(*arguments, **options):
        found = real(*arguments, **options)
        return replace(found, files={**found.files, "small.onnx": "0" * 64}, code="0" * 64)

    def arriving(*arguments):
        first, *others = arrived(*arguments).items()
        environment = first[1].environments["default"]
        versions = {**environment.versions, "numpy": "0.9"}
        other = replace(environment, fingerprint="cpu-other", versions=versions)
        return dict([*others, (first[0], replace(first[1], environments={"default": other}))])

    monkeypatch.setattr(command, "ground", here)
    monkeypatch.setattr(cluster, "_arrived", arriving)
    monkeypatch.setattr(cluster, "_marked", lambda _: nullcontext({folder / "gone/.shared": "--artefacts"}))

    assert harness(folder, "run", path, "-o", "out", *on(nodes)) == 2

    told = capsys.readouterr().err
    node = r" +\S+ \(node \w{8}\): "
    for words in (
        "small.onnx: holds something else",
        "the harness: its own code is another",
        f"{folder}/gone: is another folder there: name one on a shared file system with --artefacts",
    ):
        assert len(re.findall(node + re.escape(words), told)) == 2
    for words in (
        "machine class in environment 'default' is cpu-other, on ",
        "numpy in environment 'default' is 0.9, on ",
    ):
        assert len(re.findall(node + re.escape(words), told)) == 1
    assert not (folder / "out/run.json").exists()


def test_a_seat_on_a_gpu_has_the_class_of_its_whole_node_and_its_workers_see_the_gpu_that_ray_gave(nodes, folder):
    (folder / "pretended").mkdir()
    (folder / "pretended/sitecustomize.py").write_text(PRETENDED)
    path = os.pathsep.join([str(folder / "pretended"), *filter(None, [os.environ.get("PYTHONPATH")])])
    more = {"num_gpus": 2, "env_vars": {"PYTHONPATH": path}}
    node = nodes.add_node(num_cpus=2, object_store_memory=STORE, resources={"accelerator_type:G": 1}, **more)
    suite = fake_suite(folder)
    suite.write_text(suite.read_text().replace("backends: [fake]", "backends: [fake, onnxruntime-cuda]"))

    assert harness(folder, "run", suite, "-o", "out", *on(nodes, "G")) == 0

    run = read_run(folder / "out")
    assert [(one.case.backend, one.status) for one in run.records] == [
        *[("fake", "new")] * 2,
        *[("onnxruntime-cuda", "skipped")] * 2,
    ]
    assert run.environments["default"].fingerprint == "nvidia-test-x2"
    assert [gpu.uuid for gpu in run.environments["default"].gpus] == ["GPU-0", "GPU-1"]
    seen = (folder / "seen").read_text().split()
    assert {"None", "GPU-0", "GPU-1"} == set(seen)
    nodes.remove_node(node)


@pytest.mark.parametrize(("number", "place"), [(signal.SIGINT, "cluster"), (signal.SIGKILL, "local")])
def test_nothing_outlives_a_run_that_is_interrupted_or_killed(nodes, folder, number, place):
    path = fake_suite(folder, "cases: [{match: '*/n-3', crash: {stage: infer, kind: hang}}]")
    path.write_text(path.read_text().replace("min_count: 20", "enabled: false"))  # timing would wait for the other
    where = on(nodes) if place == "cluster" else ["--ray", "local"]
    arguments = ["run", path, "-o", "out", "--artefacts", folder / "cache", "--jobs", "2", *where]
    process = subprocess.Popen([sys.executable, "-m", "harness", *map(str, arguments)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while b'"measured"' not in journal(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # the other case hangs

    process.send_signal(number)

    assert process.wait(30) == (130 if number == signal.SIGINT else -number)
    assert ends()
    if number == signal.SIGINT:
        assert [one.status for one in read_run(folder / "out").records] == ["new"]


def test_a_node_that_is_killed_costs_an_attempt_of_its_case_and_the_others_go_on(nodes, folder, monkeypatch):
    """The last one that uses the cluster."""
    doomed, asked, killed = next(iter(nodes.worker_nodes)), RemoteSeat._answer, []

    def answer(self, member, plan, earlier):
        if not killed and doomed.node_id[:8] in member.name:
            killed.append(member)
            threading.Timer(0.2, lambda: nodes.remove_node(doomed, allow_graceful=False)).start()
        return asked(self, member, plan, earlier)

    monkeypatch.setattr(RemoteSeat, "_answer", answer)
    path = fake_suite(folder, "cases: [{takes_s: 0.5}]", "fp32, fp16")

    assert harness(folder, "run", path, "-o", "out", "--retries", "1", *on(nodes)) == 0

    records = read_run(folder / "out").records
    assert len(records) == 4
    (twice,) = [one for one in records if one.attempts > 1]
    (earlier,) = twice.earlier
    assert earlier.kind == "crash"
    assert f"(node {doomed.node_id[:8]}) was lost: " in earlier.message
    assert ends()


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2)])
def test_a_seat_that_is_lost_costs_its_case_and_without_any_left_the_run_ends(retries, attempts, monkeypatch, capsys):
    gone = Failure("crash", "measure", "node-1 was lost: scripted")
    members = [Member(None, f"node-{number}") for number in (1, 2)]

    def lost(self, member, *_):
        member.lost = True
        raise Lost(gone)

    monkeypatch.setattr(RemoteSeat, "_answer", lost)
    seat = RemoteSeat(members, retries, Halt())

    found = seat.outcome(PLAN)

    assert (found.error, found.attempts, len(found.earlier)) == (gone, attempts, attempts - 1)
    assert [one.lost for one in members] == [True, retries == 1]
    members[1].lost = True
    with pytest.raises(HarnessError, match=r"no node of the cluster is left; .* `--resume` goes on with it"):
        seat.outcome(PLAN)


def test_a_seat_of_a_run_that_ends_asks_no_other_node_and_leaves_the_reason_to_who_ended_it(monkeypatch):
    halt, member = Halt(), Member(None, "node-1")
    seat = RemoteSeat([member, Member(None, "node-2")], 3, halt)
    member.lock.acquire()  # another thread's, which does not come back
    halt.call()
    side = Contestant("0" * 64, {})

    assert seat.outcome(PLAN).error.message == "the run is ending"
    (found,) = seat.launch([Match(PLAN, side, side, None, "a")], "a")
    assert found.failures == ("harness in measure: the run is ending",)


def test_a_seat_that_is_lost_while_cases_take_turns_costs_the_case_at_hand_that_launch(monkeypatch):
    asked = []

    def stream(self, member, method, items, first):
        asked.append((member.name, [one.against for one in items]))
        yield "first"
        if member.name == "node-1":
            member.lost = True
            raise Lost(Failure("crash", "measure", "node-1 was lost: scripted"))
        yield from ["other"] * (len(items) - 1)

    monkeypatch.setattr(RemoteSeat, "_stream", stream)
    seat = RemoteSeat([Member(None, "node-1"), Member(None, "node-2")], 0, Halt())
    side = Contestant("0" * 64, {})

    found = list(seat.launch([Match(PLAN, side, side, None, name) for name in "abcd"], "a"))

    assert asked == [("node-1", list("abcd")), ("node-2", list("cd"))]
    assert found[1].failures == ("crash in measure: node-1 was lost: scripted",)
    assert [found[0], *found[2:]] == ["first", "first", "other"]


def journal(folder: Path) -> bytes:
    path = folder / "out/journal.jsonl"
    return path.read_bytes() if path.exists() else b""


A, B = ({"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, f"accelerator_type:{name}": 1.0}} for name in "AB")
HEAD = {"Alive": True, "Resources": {"node": 1.0, "CPU": 4.0}}


@pytest.mark.parametrize(
    ("asked", "on_gpu", "seats"),
    [
        (Cluster("auto"), True, 4),
        (Cluster("auto", "A"), True, 2),
        (Cluster("auto", jobs=3), True, 3),
        (Cluster("auto"), False, 3),
        (Cluster("auto", "B"), False, 1),
        (Cluster("auto", "B", jobs=5), False, 5),
    ],
)
def test_there_is_a_seat_for_each_gpu_or_for_each_node_of_the_type_asked_for(asked, on_gpu, seats):
    gone = {**A, "Alive": False}

    assert seats_on([HEAD, A, B, gone], asked, on_gpu=on_gpu) == seats


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Cluster("auto", "C"), "the cluster has no GPUs on nodes of type C; its types are: A, B"),
        (Cluster("auto", "A", jobs=3), "--jobs 3: the cluster has 2 GPUs on nodes of type A"),
    ],
)
def test_more_than_a_cluster_has_is_refused(asked, words):
    with pytest.raises(UsageError, match=words):
        seats_on([HEAD, A, B], asked, on_gpu=True)


@pytest.mark.parametrize(
    ("given", "visible", "uuid"),
    [("1", None, "GPU-b"), ("7", "3,7", "GPU-b"), ("GPU-x", "GPU-x,GPU-y", "GPU-a"), ("0", "", "GPU-a")],
)
def test_the_gpu_that_ray_gave_is_found_among_those_of_the_machine(given, visible, uuid):
    gpus = [Gpu("NVIDIA H200", f"GPU-{name}", "580", "9.0", 143771) for name in "ab"]

    assert gpu_of(given, gpus, visible) == uuid
    with pytest.raises(HarnessError, match="Ray gave GPU 2, CUDA sees 0 there"):
        gpu_of("2", [], visible)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://head:10001", "Ray Client is not supported: start the run on a node"),
        ("127.0.0.1:1", "nothing answers there"),
        ("127.0.0.1:99999", "nothing answers there"),
        ("nonsense", "--ray nonsense: "),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(folder, capsys, address, words):
    assert harness(folder, "run", fake_suite(folder), "--ray", address) == 2
    assert words in capsys.readouterr().err
