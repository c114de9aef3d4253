"""Rules of the model sources."""

from __future__ import annotations

import hashlib
import io
import urllib.error
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import InputError
from harness.records import Source
from harness.sources import SOURCES
from harness.sources.digest import file_digest, model_digest
from harness.sources.inspect import external_files, inspect
from harness.sources.url import open_https
from models import attention, conv_net


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(conv_net().SerializeToString())
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_external(folder: Path, location: str = "net.data") -> Path:
    proto = conv_net()
    onnx.save(proto, folder / "big.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    loaded = onnx.load(folder / "big.onnx", load_external_data=False)
    for tensor in loaded.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "big.onnx").write_bytes(loaded.SerializeToString())
    return folder / "big.onnx"


class Server:
    """Answers every address with the same bytes and counts the calls."""

    def __init__(self, data: bytes = b"", error: Exception | None = None, length: str | None = None) -> None:
        self.data, self.error, self.calls = data, error, 0
        self.headers = {"Content-Length": length} if length else {}

    def __call__(self, _address: str):
        self.calls += 1
        if self.error:
            raise self.error
        return nullcontext(SimpleNamespace(read=io.BytesIO(self.data).read, headers=self.headers))


def download(server, digest, cache, address="https://example.org/net.onnx", **options):
    return SOURCES.load("url")(Source("url", address, digest), cache, server, **options)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_refuses_what_is_not_there_with_an_input_error(kind, tmp_path):
    with pytest.raises(InputError):
        SOURCES.load(kind)(Source(kind, str(tmp_path / "none")), tmp_path)


def test_digest_of_a_plain_model_is_its_sha256(model, tmp_path):
    fetched = SOURCES.load("file")(Source("file", str(model)), tmp_path)
    assert fetched.sha256 == sha256(model.read_bytes())
    assert fetched.test_sets == ()


def test_wrong_digest_names_both(model, tmp_path):
    with pytest.raises(InputError) as caught:
        SOURCES.load("file")(Source("file", str(model), "0" * 64), tmp_path)
    assert "0" * 64 in str(caught.value)
    assert file_digest(model) in str(caught.value)


def test_upper_case_digest_is_the_same_digest(model, tmp_path):
    source = Source("file", str(model), file_digest(model).upper())
    assert SOURCES.load("file")(source, tmp_path).model == model


def test_missing_model_names_the_nearest_file(model, tmp_path):
    with pytest.raises(InputError, match=r"did you mean 'net\.onnx'"):
        SOURCES.load("file")(Source("file", str(tmp_path / "nett.onnx")), tmp_path)


def test_digest_follows_a_changed_file(model):
    before = model_digest(model)
    model.write_bytes(conv_net(16).SerializeToString() + b"")
    assert model_digest(model) != before


def test_digest_covers_weights_beside_the_model(tmp_path):
    path = with_external(tmp_path)
    before = model_digest(path)
    assert external_files(path) == (tmp_path / "net.data",)
    (tmp_path / "net.data").write_bytes(b"other" + (tmp_path / "net.data").read_bytes())
    assert model_digest(path) != before


def test_inspecting_never_reads_weights_beside_the_model(tmp_path):
    path = with_external(tmp_path)
    (tmp_path / "net.data").unlink()
    assert [tensor.name for tensor in inspect(path).inputs] == ["image"]
    with pytest.raises(InputError, match=r"net\.data"):
        model_digest(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "", "."])
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    with pytest.raises(InputError):
        model_digest(with_external(folder, location))


def test_weights_behind_a_symlink_to_elsewhere_are_refused(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = with_external(folder)
    (folder / "net.data").rename(tmp_path / "net.data")
    (folder / "net.data").symlink_to(tmp_path / "net.data")
    with pytest.raises(InputError, match="outside"):
        model_digest(path)


def test_folder_brings_its_test_sets_in_numeric_order(tmp_path):
    (tmp_path / "model.onnx").write_bytes(conv_net().SerializeToString())
    for number in (10, 9, 0):
        (tmp_path / f"test_data_set_{number}").mkdir()
    fetched = SOURCES.load("folder")(Source("folder", str(tmp_path)), tmp_path)
    assert [folder.name for folder in fetched.test_sets] == [f"test_data_set_{number}" for number in (0, 9, 10)]


def test_inspect_tells_types_shapes_and_opset():
    def value(name, code, dims):
        return helper.make_tensor_value_info(name, code, dims)

    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["y"])],
        "g",
        [
            value("a", TensorProto.FLOAT, ["n", 3, None]),
            value("b", TensorProto.BFLOAT16, None),
            value("c", TensorProto.FLOAT8E4M3FN, []),
            value("d", TensorProto.STRING, [1]),
            value("w", TensorProto.FLOAT, [1]),
            helper.make_tensor_sequence_value_info("s", TensorProto.INT64, ["n"]),
        ],
        [value("y", TensorProto.FLOAT, ["n", 3, None])],
        [numpy_helper.from_array(np.ones(1, np.float32), "w")],
    )
    info = _inspect(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    found = {tensor.name: (tensor.dtype, tensor.dims, tensor.kind) for tensor in info.inputs}
    assert found == {
        "a": ("float32", ("n", 3, None), "tensor"),
        "b": ("bfloat16", None, "tensor"),
        "c": ("float8_e4m3fn", (), "tensor"),
        "d": ("string", (1,), "tensor"),
        "s": ("int64", ("n",), "sequence"),
    }
    assert info.opset == 19


def _inspect(proto, folder=None):
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.onnx"
        path.write_bytes(proto.SerializeToString())
        return inspect(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not a complete ONNX model"),
        (b"hello world", "not a complete ONNX model"),
    ],
)
def test_a_file_that_is_no_model_is_said_to_be_none(tmp_path, data, says):
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(InputError, match=says):
        inspect(tmp_path / "m.onnx")


def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path):
    data = attention(8, 2).SerializeToString()
    for end in range(0, len(data) - 1, 97):
        path = tmp_path / f"{end}.onnx"
        path.write_bytes(data[:end])
        with pytest.raises(InputError):
            inspect(path)


def test_download_is_kept_by_its_digest_and_fetched_once(tmp_path):
    server = Server(conv_net().SerializeToString())
    digest = sha256(server.data)
    first = download(server, digest, tmp_path)
    assert download(server, digest, tmp_path) == first
    assert (server.calls, first.sha256, first.model) == (1, digest, tmp_path / "downloads" / f"{digest}.onnx")


def test_damaged_download_in_the_cache_is_fetched_again(tmp_path):
    server = Server(conv_net().SerializeToString())
    fetched = download(server, sha256(server.data), tmp_path)
    fetched.model.write_bytes(b"damaged")
    assert download(server, sha256(server.data), tmp_path).model.read_bytes() == server.data


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (Server(b"other"), sha256(b"other")),
        (Server(error=urllib.error.URLError("no route to host")), "no route to host"),
        (Server(error=urllib.error.HTTPError("a", 404, "Not Found", None, None)), "404 Not Found"),
        (Server(error=TimeoutError("timed out")), "timed out"),
        (Server(b"x" * 2000), "larger than"),
        (Server(b"", length="2000"), None),
        (Server(b"x", length="2000"), "larger than"),
    ],
)
def test_failed_download_says_why_and_leaves_nothing(tmp_path, server, says):
    with pytest.raises(InputError, match=says):
        download(server, "0" * 64, tmp_path, max_bytes=1000)
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize("address", ["http://example.org/a.onnx", "file:///etc/hostname", "ftp://example.org/a"])
def test_only_https_is_fetched(tmp_path, address):
    server = Server(b"x")
    with pytest.raises(InputError, match="https"):
        download(server, sha256(b"x"), tmp_path, address)
    assert server.calls == 0


def test_download_without_a_digest_is_refused(tmp_path):
    with pytest.raises(InputError, match="sha256"):
        download(Server(b"x"), None, tmp_path)


def test_redirect_away_from_https_is_refused():
    handler = open_https.__globals__["_HttpsOnly"]()
    with pytest.raises(urllib.error.URLError, match="not https"):
        handler.redirect_request(None, None, 302, "Found", {}, "http://example.org/a.onnx")
