# ruff: noqa: ARG002, ARG005, N802, N815 - stand-ins have the names and arguments of what they stand for
"""What an iteration is: with transfers, from a graph, with a cold cache, with others in flight."""

from __future__ import annotations

import ctypes
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from clocks import Stream, scripted
from harness.backends import cuda, cuda_graph, onnxruntime, transfers
from harness.backends.base import PLAIN, Artefact, BuildSpec, Mode, Part, Step
from harness.backends.fake import Fake
from harness.errors import CaseError, OutOfMemory, Unsupported
from harness.records import LatencyPlan
from harness.runner import windows
from harness.timing import flush
from harness.timing.loop import measure, window
from harness.timing.throughput import Lane, throughput
from models import conv_net

COLD = {"min_time_s": 0.0001, "min_count": 5, "warmup_s": 0.0}
OFF = {"transfers": False, "cuda_graph": False, "flush_l2": False, "streams": 1, "depth": 1}


@contextmanager
def canary(device):
    yield Step(lambda _: None, scripted_ms=lambda: 0.5)


ON = {"transfers": True, "cuda_graph": True, "flush_l2": True, "streams": 2, "depth": 3}


@pytest.fixture
def stream(monkeypatch):
    made = Stream()
    monkeypatch.setattr("harness.timing.laps.Events", made.events)
    return made


class Cuda:
    """The CUDA runtime on the host's memory: copies copy, and every call is written down."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out")
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrL2CacheSize=38)

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.held: dict[int, object] = {}
        self.captured = 0

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, *arguments))
            return getattr(self, f"_{name}", lambda *_: (0,))(*arguments)

        return call

    def _cudaMallocHost(self, nbytes):
        memory = ctypes.create_string_buffer(nbytes)
        self.held[ctypes.addressof(memory)] = memory
        return 0, ctypes.addressof(memory)

    _cudaMalloc = _cudaMallocHost

    def _cudaFreeHost(self, address):
        del self.held[address]
        return (0,)

    _cudaFree = _cudaFreeHost

    def _cudaMemcpyAsync(self, target, source, nbytes, kind, stream):
        ctypes.memmove(target, source, nbytes)
        return (0,)

    def _cudaGetDevice(self):
        return 0, 0

    def _cudaDeviceGetAttribute(self, kind, device):
        return 0, 4096

    def _cudaStreamEndCapture(self, stream):
        return self.captured, "graph"

    def _cudaGraphInstantiateWithFlags(self, graph, flags):
        return 0, "executable"


@pytest.fixture
def gpu(monkeypatch):
    made = Cuda()
    for module in (cuda, cuda_graph, transfers, flush):
        monkeypatch.setattr(module, "runtime", lambda: made)
    return made


def test_the_parts_of_an_iteration_are_told_apart(stream):
    parts = (
        Part("copy_in", stream.takes(0.2)),
        Part("compute", stream.takes(1.0)),
        Part("copy_out", stream.takes(0.1)),
    )
    latency, made_of = window(Step(lambda _: None, stream=1, parts=parts), LatencyPlan(**COLD, transfers=True))

    assert latency.gpu.p50_ms == pytest.approx(1.3)
    assert latency.settings["transfers"] is True
    enqueue_ms = made_of.pop("enqueue_ms")
    assert made_of == pytest.approx({"copy_in_ms": 0.2, "compute_ms": 1.0, "copy_out_ms": 0.1})
    assert 0 <= enqueue_ms <= latency.host.p99_ms


def test_an_iteration_without_parts_tells_its_enqueueing_alone(stream):
    assert set(window(Step(stream.takes(1.0), stream=1), LatencyPlan(**COLD))[1]) == {"enqueue_ms"}


def test_host_work_is_made_of_nothing():
    assert window(scripted(1.0), LatencyPlan(**COLD))[1] == {}


def test_what_is_done_before_an_iteration_is_not_timed(stream):
    step = Step(stream.takes(1.0), stream=1, before=stream.takes(7.0))

    assert measure(step, LatencyPlan(**COLD)).gpu.p99_ms == pytest.approx(1.0)


def test_the_settings_are_in_the_record(stream):
    plan = LatencyPlan(**COLD, **ON)

    assert measure(Step(stream.takes(1.0), stream=1), plan).settings.items() >= ON.items()


def test_a_cpu_is_timed_without_what_it_has_not_and_a_note_says_so():
    plan, notes = windows.applied(LatencyPlan(transfers=True, depth=4), "cpu")

    assert plan == LatencyPlan()
    assert notes == ("latency: transfers, depth are of GPUs: timed without on the CPU",)
    assert windows.applied(LatencyPlan(), "cpu") == (LatencyPlan(), ())
    assert windows.applied(LatencyPlan(**ON), "cuda") == (LatencyPlan(**ON), ())


def conv_session(folder):
    onnx.save(conv_net(), folder / "m.onnx")
    spec = BuildSpec("s/m/fake/fp32/static", folder / "m.onnx", "fp32", {}, {}, {})
    return Fake().open(Artefact(spec.model), spec)


def test_a_case_on_the_cpu_is_timed_on_its_own_session(tmp_path):
    def another(mode):
        raise AssertionError("no other session is needed")

    with closing(conv_session(tmp_path)) as session:
        timed = windows.time(LatencyPlan(**ON), "cpu", session, another, {}, canary)

    assert timed.latency.settings.items() >= OFF.items()
    assert timed.measures == {}
    assert len(timed.notes) == 1


def test_a_window_knows_what_the_canary_took_and_a_case_without_one_is_timed_all_the_same():
    session = SimpleNamespace(bind=lambda feeds: Step(lambda _: None))

    @contextmanager
    def broken(device):
        raise OutOfMemory("CUDA call failed: cudaErrorMemoryAllocation")
        yield

    def time(canary):
        return windows.time(LatencyPlan(**COLD), "cpu", session, None, {}, canary)

    assert time(canary).latency.canary_ms == 0.5
    without = time(broken)
    assert without.latency.canary_ms is None
    assert "the canary could not be measured" in without.notes[0]


@pytest.mark.parametrize(
    ("gpu_ms", "enqueue_ms", "settings", "words"),
    [
        (4.0, 3.9, {}, ["enqueueing takes 3.9 of 4 ms", "cuda_graph: true"]),
        (4.0, 3.9, {"cuda_graph": True}, ["enqueueing takes 3.9 of 4 ms", "a larger batch tells"]),
        (4.0, 3.5, {}, []),
        (4.0, None, {}, []),
        (None, 3.9, {}, []),
    ],
)
def test_a_gpu_that_waits_for_the_host_is_told(gpu_ms, enqueue_ms, settings, words):
    latency = SimpleNamespace(gpu=None if gpu_ms is None else SimpleNamespace(p50_ms=gpu_ms))

    notes = [*windows.host_bound(latency, {"enqueue_ms": enqueue_ms}, LatencyPlan(**settings))]

    assert len(notes) == bool(words)
    assert all(word in note for note in notes for word in words)


class GpuSession:
    """A session on a scripted stream; it knows the mode it was opened in, and whether it was closed."""

    def __init__(self, stream, mode=PLAIN):
        self.stream, self.mode, self.closed = stream, mode, False

    def bind(self, feeds):
        return Step(self.stream.takes(1.0), stream=1)

    def close(self):
        self.closed = True


def test_a_case_that_is_timed_otherwise_has_a_session_for_it(stream):
    opened = []

    def another(mode):
        opened.append(GpuSession(stream, mode))
        return opened[-1]

    plan = LatencyPlan(**COLD, transfers=True, cuda_graph=True)
    windows.time(plan, "cuda", GpuSession(stream), another, {}, canary)

    assert [(one.mode, one.closed) for one in opened] == [(Mode(transfers=True, cuda_graph=True), True)]


def test_the_throughput_has_a_session_for_each_stream(stream, monkeypatch):
    opened, seen = [], []
    monkeypatch.setattr(windows, "throughput", lambda steps, plan: seen.append(len(steps)) or 123.0)

    def another(mode):
        opened.append(GpuSession(stream, mode))
        return opened[-1]

    timed = windows.time(LatencyPlan(**COLD, streams=3, depth=2), "cuda", GpuSession(stream), another, {}, canary)

    assert (len(opened), seen) == (2, [3])
    assert timed.measures["throughput_per_s"] == 123.0


class Flight:
    """Events of a GPU that finishes one iteration in 10 ms, one after the other; its clock runs as it is waited for."""

    def __init__(self):
        self.now, self.busy_until, self.most, self.moments = 0.0, 0.0, 0, {}

    def run(self, count):
        self.busy_until = max(self.now, self.busy_until) + 0.01

    def mark(self, number):
        self.moments[number] = self.busy_until
        self.most = max(self.most, sum(moment > self.now for moment in self.moments.values()))

    def wait(self, number):
        self.now = max(self.now, self.moments[number])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_iterations_are_in_flight_than_asked_for(depth):
    flight = Flight()
    lane = Lane(Step(flight.run, stream=1), flight, depth)
    for _ in range(10):
        lane.enqueue()
    lane.drain()

    assert flight.most == depth
    assert flight.now == pytest.approx(0.1)


def test_the_throughput_is_finished_iterations_a_second(monkeypatch):
    flight = Flight()
    monkeypatch.setattr("harness.timing.throughput.Events", lambda stream, count: flight)
    plan = LatencyPlan(min_time_s=1.0, min_count=5, warmup_s=0.4, depth=4)

    assert throughput([Step(flight.run, stream=1)], plan, lambda: flight.now) == pytest.approx(100.0)


def test_the_throughput_of_a_cpu_is_refused():
    with pytest.raises(CaseError, match="streams"):
        throughput([scripted(1.0)], LatencyPlan(depth=2))


def test_transfers_enclose_the_work_and_move_every_byte(gpu):
    device_in, device_out = np.zeros(4, np.float32), np.zeros(2, np.int64)

    def compute(count):
        device_out[:] = int(device_in.sum())

    made = transfers.Transfers(
        {"x": (device_in.ctypes.data, np.arange(4, dtype=np.float32))}, {"y": (device_out.ctypes.data, 16)}, stream=5
    )
    step = made.around(compute)
    step.run(2)

    assert [part.name for part in step.parts] == ["copy_in", "compute", "copy_out"]
    copies = [call for call in gpu.calls if call[0] == "cudaMemcpyAsync"]
    assert [(nbytes, kind, stream) for _, _, _, nbytes, kind, stream in copies] == [(16, "in", 5), (16, "out", 5)] * 2
    assert np.frombuffer(ctypes.string_at(copies[-1][1], 16), np.int64).tolist() == [6, 6]
    made.free()
    assert gpu.held == {}


def test_a_graph_is_captured_once_and_launched_as_often_as_wanted(gpu):
    enqueued = []
    graph = cuda_graph.Graph(5, lambda: enqueued.append(1))
    graph.launch(3)
    graph.free()

    assert len(enqueued) == 1
    assert [call[0] for call in gpu.calls] == [
        "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "cudaGraphDestroy",
        *["cudaGraphLaunch"] * 3, "cudaGraphExecDestroy",
    ]  # fmt: skip


def test_work_that_cannot_be_captured_is_unsupported_and_ends_the_capture(gpu):
    def refuses():
        raise CaseError("it waits for the GPU")

    with pytest.raises(Unsupported, match=r"latency\.cuda_graph: .* it waits for the GPU"):
        cuda_graph.Graph(5, refuses)

    assert gpu.calls[-1] == ("cudaStreamEndCapture", 5)


def test_a_capture_that_cuda_spoils_is_unsupported(gpu):
    gpu.captured = 901

    with pytest.raises(Unsupported, match="901"):
        cuda_graph.Graph(5, lambda: None)


def test_a_flush_overwrites_the_whole_cache_and_waits(gpu):
    with flush.flushed(Step(lambda _: None, stream=5)) as cold:
        cold.before()
        names = [call[0] for call in gpu.calls]
        overwrite = next(call for call in gpu.calls if call[0] == "cudaMemsetAsync")

    assert names[-2:] == ["cudaMemsetAsync", "cudaStreamSynchronize"]
    assert overwrite[3:] == (4096, 5)
    assert gpu.held == {}


SPEC = BuildSpec("s/m/b/fp32/static", Path("m.onnx"), "fp32", {}, {}, {})


def test_onnxruntime_captures_graphs_where_they_are_asked_for_alone(monkeypatch):
    monkeypatch.setattr(onnxruntime, "Stream", lambda: SimpleNamespace(handle=7))
    ((_, plain),) = onnxruntime.Cuda()._providers(SPEC)
    ((_, graph),) = onnxruntime.Cuda()._providers(replace(SPEC, mode=Mode(cuda_graph=True)))

    assert "enable_cuda_graph" not in plain
    assert graph == {**plain, "enable_cuda_graph": 1}


def test_onnxruntimes_tensorrt_provider_refuses_graphs():
    with pytest.raises(Unsupported, match="not for onnxruntime-tensorrt"):
        onnxruntime.TensorRT()._providers(replace(SPEC, mode=Mode(cuda_graph=True)))
