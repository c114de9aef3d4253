"""Suites and models from elsewhere: what they may reach, how much they may take, and what their names may do."""

from __future__ import annotations

import io
import os
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from builders import check, record, run
from harness import report
from harness.errors import InputError, OutOfMemory, SuiteError, UsageError
from harness.foreign import plain, shown, visible
from harness.inputs.feeds import feeds
from harness.inputs.files import read_array
from harness.inputs.room import most_bytes, told
from harness.records import Source
from harness.sources.digest import model_digest
from harness.sources.inspect import inspect
from harness.suitefile import is_suite
from harness.suites import load
from harness.suites.globs import matches
from models import conv_net
from plans import plan
from toy import harness, small_model

SUITE = "suite: s\nmodels: [{{name: m, source: '{source}'}}]\n"


def suite(folder: Path, source: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    path = folder / "s.yaml"
    path.write_text(SUITE.format(source=source))
    return path


def problem(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        load([path])
    (only,) = caught.value.problems
    assert (only.file, only.line) == (str(path), 2)
    return only.message


# --- what they may reach -----------------------------------------------------------------------------------------


def test_a_suite_that_is_a_link_out_of_the_root_is_refused(tmp_path):
    suite(tmp_path / "elsewhere", "m.onnx")
    root = tmp_path / "root"
    (root / ".git").mkdir(parents=True)
    (root / "s.yaml").symlink_to(tmp_path / "elsewhere/s.yaml")

    with pytest.raises(UsageError, match="is a link that leaves the root"):
        load([root])


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null"])
def test_what_is_no_plain_file_is_no_suite_and_is_not_read(tmp_path, target):
    (tmp_path / "s.yaml").symlink_to(target)

    assert not is_suite(tmp_path / "s.yaml")
    with pytest.raises(UsageError, match="cannot be read: is no file"):
        load([tmp_path / "s.yaml"])


def test_a_file_larger_than_a_suite_may_be_is_refused(tmp_path):
    path = suite(tmp_path, "m.onnx")
    path.write_text(path.read_text() + "#" * (9 << 20))

    with pytest.raises(SuiteError, match=r"s\.yaml:1:1: is larger than 8 MiB"):
        load([path])


@pytest.mark.parametrize("link", ["test_data_set_0", "test_data_set_0/input_0.pb"])
def test_stored_data_behind_a_link_out_of_the_root_is_refused(tmp_path, link):
    (tmp_path / "secret").mkdir()
    path = suite(tmp_path / "root", "set")
    place = tmp_path / "root/set" / link
    place.parent.mkdir(parents=True)
    (tmp_path / "root/set/model.onnx").touch()
    place.symlink_to(tmp_path / "secret")

    assert "leaves the root" in problem(path)


def anywhere(folder):
    return lambda text: folder / text


def test_a_glob_does_not_walk_in_circles(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/m.onnx").touch()
    for name in ("b", "c", "a/d", "a/e"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)

    assert matches(tmp_path, "**/*.onnx", anywhere(tmp_path)) == ["a/m.onnx"]


def test_a_glob_does_not_walk_out_of_the_root(tmp_path):
    path = suite(tmp_path / "root", "**/*.onnx")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/m.onnx").touch()
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")

    assert "matches no .onnx file" in problem(path)
    assert "leaves the root" in problem(suite(tmp_path / "root", "li*/*.onnx"))


def test_a_glob_that_looks_at_too_many_files_is_refused(tmp_path, monkeypatch):
    from harness.suites import globs

    monkeypatch.setattr(globs, "MOST", 10)
    for number in range(11):
        (tmp_path / f"{number}.txt").touch()

    assert "looks at more than 10 files" in problem(suite(tmp_path, "*.onnx"))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.onnx", ["a.onnx"]),
        ("**/*.onnx", ["a.onnx", "d/b.onnx", "d/e/c.onnx"]),
        ("d/**", ["d", "d/b.onnx", "d/e", "d/e/c.onnx"]),
        ("*/e/*", ["d/e/c.onnx"]),
        ("d/*/", ["d/e"]),
        (".*/*", [".hidden/h.onnx"]),
        ("[ab].onnx", ["a.onnx"]),
        ("../{}/?.onnx", ["../{}/a.onnx"]),
    ],
)
def test_a_glob_matches_as_in_a_shell(tmp_path, pattern, found):
    for name in ("a.onnx", "d/b.onnx", "d/e/c.onnx", ".hidden/h.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    names = [name.format(tmp_path.name) for name in found]
    assert matches(tmp_path, pattern.format(tmp_path.name), anywhere(tmp_path)) == names


def test_a_match_of_a_glob_that_would_be_a_folder_above_is_refused(tmp_path):
    (tmp_path / "...onnx").touch()  # its stem is ..

    assert "'..' cannot be part of a case id: it would be a folder" in problem(suite(tmp_path, ".*.onnx"))


# --- how much they may take --------------------------------------------------------------------------------------


def test_a_few_lines_that_multiply_to_too_many_cases_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("harness.suites.expand"), "MAX_CASES", 10)
    (tmp_path / "m.onnx").touch()
    path = tmp_path / "s.yaml"
    keys = "precisions: [fp32, fp16], shapes: [{n: 1}, {n: 2}], shape_fuzz: 4"
    path.write_text(f"suite: s\nmodels: [{{name: m, source: m.onnx, {keys}}}]\n")

    assert problem(path) == "makes more than 10 cases of this file"


@pytest.mark.parametrize(
    "keys",
    [
        "inputs: {x: {integers: [0, 1" + "0" * 400 + "]}}",
        "shapes: [{n: 1" + "0" * 400 + "}]",
        "fidelity: {samples: 1000000000000}",
        "builds: 0x" + "f" * 2999,
        f"shapes: [{{{', '.join(f'd{n}: 1' for n in range(100))}}}]",
        f"shapes: [{{{', '.join(f'dimension{n}: 1000' for n in range(20))}}}]",
    ],
)
def test_numbers_beyond_what_anything_takes_are_mistakes_of_the_suite(tmp_path, keys):
    (tmp_path / "m.onnx").touch()
    path = tmp_path / "s.yaml"
    path.write_text(f"suite: s\nmodels: [{{name: m, source: m.onnx, {keys}}}]\n")

    assert problem(path)


def test_many_mistakes_are_told_up_to_a_number(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(f"suite: s\nmodels: [{', '.join(['{a: 1}'] * 5000)}]\n")

    with pytest.raises(SuiteError) as caught:
        load([path])

    assert len(caught.value.problems) == 1000


def packed(folder: Path, data: bytes, name: str = "a.npy") -> Path:
    path = folder / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return path


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_pickles_are_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    data = npy(np.array([Evil()], dtype=object))
    (tmp_path / "a.npy").write_bytes(data)

    for path in (tmp_path / "a.npy", packed(tmp_path, data)):
        with pytest.raises(InputError, match="pickle"):
            read_array(path)
    assert not (tmp_path / "trace").exists()


def test_an_array_whose_header_claims_more_than_its_file_holds_takes_no_memory(tmp_path):
    data = npy(np.zeros(8, np.float32)).replace(b"(8,), }           ", b"(999999999999,), }")
    assert b"999999999999" in data
    (tmp_path / "a.npy").write_bytes(data)

    for path in (tmp_path / "a.npy", packed(tmp_path, data)):
        with pytest.raises(InputError, match="more than the file holds"):
            read_array(path)


def test_an_archive_that_unpacks_to_more_than_the_machine_holds_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = packed(tmp_path, npy(np.zeros(1 << 22, np.uint8)))
    monkeypatch.setattr("harness.inputs.room.most_bytes", lambda: 1 << 20)

    with pytest.raises(
        OutOfMemory, match=r"\[4194304\] would take 4096 KiB, more than half of this machine's 2048 KiB"
    ):
        read_array(path)


def test_a_shape_that_no_memory_holds_is_refused_with_figures(tmp_path):
    info = inspect(small_model(tmp_path / "m.onnx"))
    made = plan(source=Source("file", str(tmp_path / "m.onnx")), dimensions={"n": 2**62})

    with pytest.raises(OutOfMemory, match=r"input 'x': \[4611686018427387904, 4\] would take 128 EiB"):
        feeds(made, info, ())
    assert most_bytes() > 2**28
    assert told(10**400) == "more bytes than can be counted"


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_that_holds_a_built_engine_is_refused_wherever_it_stands(tmp_path):
    model = conv_net()
    node = helper.make_node("EPContext", ["image"], ["e"], name="engine", domain="com.microsoft", embed_mode=1)
    branch = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))

    with pytest.raises(InputError, match=r"m\.onnx: the node 'engine' \(EPContext\) is a built engine"):
        inspect(saved(tmp_path, model))


@pytest.mark.parametrize("dims", [[2**40], [2**62, 4], [-1]])
def test_a_tensor_that_claims_what_is_not_there_is_refused(tmp_path, dims):
    model = conv_net()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)

    with pytest.raises(InputError, match="the tensor 'w1'"):
        inspect(saved(tmp_path, model))


@pytest.mark.parametrize("role", ["input", "output"])
def test_a_model_with_two_of_one_name_is_refused(tmp_path, role):
    model = conv_net()
    values = getattr(model.graph, role)
    values.append(values[0])

    with pytest.raises(InputError, match=f"2 {role}s have the name"):
        inspect(saved(tmp_path, model))


def test_a_name_that_is_no_text_is_refused(tmp_path):
    data = conv_net().SerializeToString().replace(b"image", b"im\xff\xfee")
    (tmp_path / "m.onnx").write_bytes(data)

    with pytest.raises(InputError, match="is not UTF-8 text"):
        inspect(tmp_path / "m.onnx")


def test_a_sparse_tensor_that_stands_for_a_huge_one_is_refused(tmp_path):
    model = conv_net()
    values = (numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(*values, [2**40]))

    with pytest.raises(InputError, match="the sparse tensor 's' stands for"):
        inspect(saved(tmp_path, model))


@pytest.mark.parametrize(("offset", "length"), [("0", "9999999"), ("9999999", "4"), ("-4", "4"), ("x", "4"), ("", "4")])
def test_weights_that_are_not_in_their_file_are_refused(tmp_path, offset, length):
    model = conv_net()
    tensor = model.graph.initializer[0]
    tensor.raw_data = b""
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w", "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "w").write_bytes(bytes(64))

    with pytest.raises(InputError, match=r"'w1'"):
        model_digest(saved(tmp_path, model))


# --- what their names may do -------------------------------------------------------------------------------------

EVIL = "a\x1b[2J\u202eb\n::error::c\n##vso[task.setvariable variable=x]d\x07"


def test_foreign_text_gives_a_terminal_and_a_log_of_ci_no_command():
    assert shown(EVIL) == "a[2Jb\n: :error::c\n# #vso[task.setvariable variable=x]d"
    assert plain(EVIL) == "a[2Jb ::error::c ##vso[task.setvariable variable=x]d"
    assert visible("tab\tand ä") == "tab\tand ä"
    assert shown("suite.yaml::s/m/fake") == "suite.yaml::s/m/fake"


def test_messages_of_commands_show_foreign_text_harmlessly(tmp_path, capsys):
    path = suite(tmp_path, "m.onnx")
    path.write_text('suite: s\nmodels: [{name: m, "\\e[31m\\n::set-output name=x::y": 1, source: m.onnx}]\n')

    assert harness(tmp_path, "check", path) == 2

    told_ = capsys.readouterr().err
    assert "\x1b" not in told_
    assert "\n: :set-output" in told_


def test_the_page_turns_no_text_round(tmp_path):
    page = report.html(run(record(status="failed", headline="invoice\u202efdp.exe")))

    assert "\u202e" not in page
    assert "invoicefdp.exe" in page


@pytest.mark.parametrize("text", ["see https://evil.example", "www.evil.example", "hello @owner", "as #12 says"])
def test_the_summary_makes_no_links_or_mentions(text):
    summary = report.summary(run(record(status="failed", headline=text)))

    assert text not in summary


@pytest.mark.parametrize("text", ["a;=1+1", "a; @x", "＝1+1", "a|-1"])  # noqa: RUF001
def test_no_cell_of_the_csv_becomes_a_formula_whatever_separates_cells(text):
    found = report.csv(run(record(headline=text)))

    signs = [place for place, char in enumerate(found) if char in "=@＝" or found[place : place + 2] == "-1"]  # noqa: RUF001
    assert signs
    assert {found[place - 1] for place in signs} == {"'"}


def test_a_name_that_is_markup_stays_a_name_in_the_report_of_debug():
    from harness.report.debug import _code, _words

    assert _code("layer.1/conv") == "`layer.1/conv`"
    assert _code("a`<b>|c") == r"<code>a\`&lt;b&gt;\|c</code>"
    assert _words("Conv <img src=x>\n# c") == "Conv &lt;img src=x&gt; # c"


def test_junit_and_csv_hold_one_case_a_record_whatever_it_says():
    drawn = run(record(status="failed", headline=EVIL, checks=(check(reason=EVIL, ok=False),)))

    assert len(report.csv(drawn).splitlines()) == 2
    assert report.junit(drawn).count("<testcase") == 1


# --- what a script of the fake backend may do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{crash: {kind: child, pid_file: ../victim}}", "pid_file: expected the name of a file that is not there yet"),
        ("{crash: {kind: child, pid_file: victim}}", "pid_file: expected the name of a file that is not there yet"),
        ("{crash: {kind: memory, mib: 99999999}}", "mib: expected a whole number up to 4096"),
        ("{crash: {kind: exit, attempts: a}}", "attempts and probes of a crash are whole numbers"),
        ("{outputs: {y: {file: ../../victim.npz}}}", "leaves the folder of the script"),
        ("{match: " + "[" * 5000 + "}", "the script cannot be read"),
    ],
)
def test_a_script_reaches_nothing_outside_of_its_folder_and_takes_a_bounded_amount(tmp_path, monkeypatch, entry, words):
    from harness.backends.base import Artefact, BuildSpec
    from harness.backends.fake import Fake

    (tmp_path / "victim").write_text("mine")
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "victim").write_text("mine")
    monkeypatch.chdir(folder)
    (folder / "script.yaml").write_text(f"cases: [{entry}]\n")
    model = small_model(folder / "m.onnx")
    spec = BuildSpec("s/m", model, "fp32", {}, {}, {"script": str(folder / "script.yaml")})

    with pytest.raises(InputError, match=words):
        Fake().open(Artefact(model), spec).infer({"x": np.zeros((1, 4), np.float32)})

    assert [file.read_text() for file in (tmp_path / "victim", folder / "victim")] == ["mine", "mine"]
