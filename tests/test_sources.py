"""Rules of the model sources."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
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
    """Answers every address with the same bytes, or the part that is asked for, and remembers what it was asked.

    `cut` gives after how many bytes of an answer the connection ends, one for each answer.
    """

    def __init__(self, data: bytes = b"", error: Exception | None = None, length: str | None = None, **how) -> None:
        self.data, self.error, self.asked, self._length = data, error, [], length
        self.cut = list(how.get("cut", ()))
        self.tag = how.get("tag", '"1"')
        self.ranges = how.get("ranges", True)
        self.lie = how.get("lie", {})

    def __call__(self, _address: str, headers):
        self.asked.append(dict(headers))
        if self.error:
            raise self.error
        start, status = 0, 200
        if self.ranges and "Range" in headers and headers.get("If-Range", self.tag) == self.tag:
            start, status = int(headers["Range"].removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(self.data):
                raise urllib.error.HTTPError("a", 416, "Range Not Satisfiable", None, None)
        told = {"Content-Length": self._length or str(len(self.data) - start), "ETag": self.tag}
        if status == 206:
            told["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        body = self.data[start:][: self.cut.pop(0) if self.cut else None]
        told = {key: value for key, value in {**told, **self.lie}.items() if value is not None}
        return nullcontext(SimpleNamespace(read=io.BytesIO(body).read, headers=told, status=status))

    @property
    def calls(self) -> int:
        return len(self.asked)


def download(server, digest, cache, address="https://example.org/net.onnx", **options):
    return SOURCES.load("url")(Source("url", address, digest), cache, server, pause=lambda _: None, **options)


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


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "", ".", "x" * 300, "a\0b"])
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
        (Server(b"other", length="5000"), "larger than"),
        (Server(error=urllib.error.URLError("no route to host")), "no route to host"),
        (Server(error=urllib.error.HTTPError("a", 404, "Not Found", None, None)), "404 Not Found"),
        (Server(error=TimeoutError("timed out")), "timed out"),
        (Server(b"x" * 2000, lie={"Content-Length": None}), "larger than"),
        (Server(b"", length="2000"), "larger than"),
        (Server(b"", length="500"), "cut after 0 of 500 bytes"),
    ],
)
def test_failed_download_says_why_and_leaves_nothing(tmp_path, server, says):
    with pytest.raises(InputError, match=says):
        download(server, "0" * 64, tmp_path, max_bytes=1000)
    assert list((tmp_path / "downloads").iterdir()) == []


NET = conv_net().SerializeToString()


def test_a_cut_download_goes_on_where_it_was_cut(tmp_path):
    server = Server(NET, cut=[100, 0, 300])
    fetched = download(server, sha256(NET), tmp_path)

    assert fetched.model.read_bytes() == NET
    assert [one.get("Range") for one in server.asked] == [None, "bytes=100-", "bytes=100-", "bytes=400-"]
    assert server.asked[1]["If-Range"] == '"1"'
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [fetched.model.name]


def test_what_came_of_a_cut_download_is_gone_on_with_by_the_next_run(tmp_path):
    with pytest.raises(InputError, match=r"was cut after 400 of \d+ bytes: what came is kept; check the network"):
        download(Server(NET, cut=[100, 100, 100, 100]), sha256(NET), tmp_path)
    server = Server(NET)

    assert download(server, sha256(NET), tmp_path).model.read_bytes() == NET
    assert server.asked == [{"Range": "bytes=400-", "If-Range": '"1"'}]


@pytest.mark.parametrize("how", [{"tag": '"2"'}, {"ranges": False}, {"tag": None}])
def test_a_file_that_changed_on_the_server_is_fetched_whole(tmp_path, how):
    digest = sha256(NET)
    with pytest.raises(InputError):
        download(Server(b"old" * 500, cut=[100, 0, 0, 0], tag=how.get("tag", '"1"') and '"1"'), digest, tmp_path)
    assert download(Server(NET, **how), digest, tmp_path).model.read_bytes() == NET


def test_more_than_the_server_has_is_thrown_away(tmp_path):
    digest = sha256(NET)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / f"{digest}.part").write_bytes(NET + b"more")
    assert download(Server(NET), digest, tmp_path).model.read_bytes() == NET


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"Content-Range": "bytes 5-9/10"}, "sent something else"),
        ({"Content-Range": None}, "sent something else"),
        ({"Content-Range": "bytes 100-200/99999999"}, "larger than"),
    ],
)
def test_a_server_that_lies_about_a_part_is_one_error(tmp_path, lie, says):
    with pytest.raises(InputError, match=says):
        download(Server(NET, cut=[100], lie=lie), sha256(NET), tmp_path, max_bytes=len(NET))
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_server_that_sends_another_file_is_one_error_also_when_it_sends_it_in_parts(tmp_path):
    server = Server(b"other" * 100, cut=[100])
    with pytest.raises(InputError, match=r"the SHA-256 of what came is [0-9a-f]{64}, the suite says 0{64}"):
        download(server, "0" * 64, tmp_path)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_two_that_want_the_same_file_fetch_it_once(tmp_path):
    digest, server = sha256(NET), Server(NET)

    def slow(address, headers):
        time.sleep(0.05)
        return server(address, headers)

    threads = [threading.Thread(target=download, args=(slow, digest, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.calls == 1
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [f"{digest}.onnx"]


def test_a_file_whose_size_and_time_were_restored_is_hashed_again(model):
    before, stamp = file_digest(model), model.stat()
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    os.utime(model, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert file_digest(model) != before


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
