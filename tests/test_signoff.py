"""Sign-off: a decision holds for exactly the bytes that were signed, and a bundle for exactly the files in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import record
from builders import run as make_run
from harness import bundles, report
from harness.signatures import check, read_signatures, subject
from harness.store import write_run
from toy import fake_suite, harness

CASE = "vision/digits/tensorrt/fp16/n-64"
RUN = make_run(record(CASE), record("vision/other/tensorrt/fp16/n-1"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored(name: str = "run", run=RUN) -> Path:
    path = Path(name)
    path.mkdir()
    write_run(run, path)
    report.write(run, path)
    return path


def sign(path: Path, *options: object, by: str = "Ann Miller", note: str = "spec 4.2") -> int:
    return harness(path, "sign", path, "--by", by, "--note", note, *options)


def key(name: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name, "-C", ""], check=True)
    return Path(name)


def allowed(*owners: tuple[str, Path]) -> Path:
    lines = [f"{owner} {Path(f'{made}.pub').read_text()}" for owner, made in owners]
    Path("allowed").write_text("".join(lines))
    return Path("allowed")


def alter(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=1) + "\n")


# --- signing and verifying ---------------------------------------------------------------------------------------


def test_a_signed_run_verifies_and_shows_its_signature_in_the_report(folder, capsys):
    path = stored()

    assert sign(path) == 0
    told = capsys.readouterr().out
    assert sha256((path / "run.json").read_bytes()).hexdigest() in told
    assert "anybody who may write here can make such a record anew" in told
    assert harness(path, "verify", path) == 0

    told = capsys.readouterr().out
    assert "approved by Ann Miller, " in told
    assert "holds: run.json is byte for byte what was signed" in told
    assert "verified by digest alone" in told
    page = (path / "report.html").read_text()
    section = page[page.index('<section id="signoff">') :]
    assert all(word in section for word in ("✓ approved", "Ann Miller", "spec 4.2", "✓ run.json"))


def test_a_run_that_nobody_signed_is_not_verified(folder, capsys):
    path = stored()

    assert harness(path, "verify", path) == 1
    assert "NOT VERIFIED: run: nobody signed this run" in capsys.readouterr().out


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_altered_byte_anywhere_breaks_every_signature(tmp_path, data):
    content = (write_run(RUN, tmp_path)).read_bytes()
    (tmp_path / "report.html").touch()
    if not (tmp_path / "signatures.json").exists():
        assert sign(tmp_path) == 0
    found = read_signatures((tmp_path / "signatures.json").read_bytes())
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    altered = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]

    assert not any(one.problems for one in check(content, found))
    assert all(one.problems for one in check(altered, found))


def test_a_run_altered_after_it_was_signed_is_told_by_case_and_by_signer(folder, capsys):
    path = stored()
    sign(path)
    sign(path, by="Bea Jones")
    alter(path / "run.json", lambda run: run["records"][0].update(status="improved"))
    capsys.readouterr()

    assert harness(path, "verify", path) == 1

    told = capsys.readouterr().out
    assert f"DOES NOT HOLD: altered cases: {CASE}\n" in told
    assert "NOT VERIFIED: run: what Ann Miller, Bea Jones signed no longer holds" in told
    assert sign(path, by="Cid") == 2  # nothing is added to what was altered
    assert "what Ann Miller, Bea Jones signed no longer holds" in capsys.readouterr().err
    assert harness(path, "report", path) == 0
    assert "✗ no: run.json was altered after it was signed" in (path / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: run["records"].pop(), "cases that were taken out: vision/other/tensorrt/fp16/n-1"),
        (lambda run: run["gate"].update(passed=False, exit_status=1), "the gate: FAILED (exit 1): 2 passed, when it"),
        (lambda run: run.update(commit="0" * 40), "no case and not the gate"),
        (lambda run: run.update(id="other"), "run.json is another run: other, signed was"),
        (lambda run: run.update(schema="x"), "run.json is no run any more"),
    ],
)
def test_what_was_altered_is_told(folder, capsys, change, words):
    path = stored()
    sign(path)
    alter(path / "run.json", change)
    capsys.readouterr()

    assert harness(path, "verify", path) == 1
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("gone", ["run.json", "signatures.json"])
def test_what_is_gone_does_not_verify(folder, gone):
    path = stored()
    sign(path)
    (path / gone).unlink()

    assert harness(path, "verify", path) == 1


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"schema": "harness.signatures/1", "signatures": [1]}']
)
def test_damaged_signatures_do_not_verify(folder, content):
    path = stored()
    (path / "signatures.json").write_bytes(content)

    assert harness(path, "verify", path) == 1
    assert sign(path) == 2


def test_the_last_decision_of_each_signer_counts(folder, capsys):
    path = stored()
    sign(path, "--decision", "rejected", note="wrong threshold")
    sign(path, by="Bea Jones")
    capsys.readouterr()

    assert harness(path, "verify", path) == 1  # nobody overrules another
    assert "NOT VERIFIED: run: Ann Miller rejected this run: wrong threshold" in capsys.readouterr().out
    sign(path)
    assert harness(path, "verify", path) == 0


@pytest.mark.parametrize("place", [0, 1])
def test_a_signature_that_was_taken_out_or_altered_is_noticed_by_the_next(folder, capsys, place):
    path = stored()
    for name in ("Ann", "Bea", "Cid"):
        sign(path, by=name)
    alter(path / "signatures.json", lambda data: data["signatures"].pop(place))
    capsys.readouterr()

    assert harness(path, "verify", path) == 1
    assert "the signature before it was removed, altered, or put there later" in capsys.readouterr().out


def test_an_approval_of_a_run_whose_gate_failed_says_so(folder, capsys):
    path = stored(run=make_run(record(CASE, "failed")))

    sign(path)

    assert "note: approved although its gate did not pass" in capsys.readouterr().out
    harness(path, "verify", path)
    told = capsys.readouterr().out
    assert "gate then FAILED (exit 1): 1 failed" in told
    assert "note: approved although its gate did not pass" in told


def test_only_a_finished_run_is_signed_and_a_signer_has_a_name(folder, capsys):
    Path("empty").mkdir()
    assert sign(Path("empty")) == 2
    path = stored()
    assert sign(path, by=" ") == 2
    assert sign(path, note="") == 2
    assert not (path / "signatures.json").exists()
    assert harness(path, "verify", "nowhere") == 2


@pytest.mark.parametrize("name", ["tampered.json", "report.html", "signatures.json"])
def test_no_other_file_of_a_run_passes_for_what_was_signed(folder, capsys, name):
    path = stored()
    sign(path)
    (path / "tampered.json").write_text((path / "run.json").read_text().replace("4f1c09ab", "4f1c09ac"))
    capsys.readouterr()

    for command in ("verify", "sign", "bundle"):
        options = {"sign": ("--by", "Bea", "--note", "x"), "bundle": ("-o", "b.zip")}.get(command, ())
        assert harness(path, command, path / name, *options) == 2
        assert "give the folder of a run, or its run.json" in capsys.readouterr().err
    assert harness(path, "verify", path / "run.json") == 0
    assert harness(path, "report", path / "tampered.json", "-o", "drawn") == 0
    assert "Ann Miller" not in Path("drawn/report.html").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["gate"].update(passed=True, exit_status=0),
        lambda run: run["gate"].update(passed=True, exit_status=0, counts={"passed": 1}),
        lambda run: run["gate"].update(counts={}),
        lambda run: run["gate"].update(passed=True),
    ],
)
def test_a_run_whose_gate_is_not_what_its_cases_make_is_signed_by_nobody(folder, capsys, change):
    path = stored(run=make_run(record(CASE, "failed")))
    alter(path / "run.json", change)

    assert sign(path) == 2

    assert "is not what its cases make (FAILED (exit 1): 1 failed)" in capsys.readouterr().err
    assert not (path / "signatures.json").exists()


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "tomorrow", ""])
def test_a_time_that_is_none_does_not_keep_a_signature_from_being_read(folder, capsys, time):
    path = stored()
    sign(path)
    alter(path / "signatures.json", lambda data: data["signatures"][0]["statement"].update(signed=time))
    capsys.readouterr()

    assert harness(path, "verify", path) == 0  # nothing but a key vouches for the time
    assert f"approved by Ann Miller, {time}: spec 4.2" in capsys.readouterr().out
    assert harness(path, "report", path) == 0


def test_a_note_cannot_pass_for_words_of_the_harness(folder, capsys):
    path = stored()
    sign(path)
    alter(path / "signatures.json", lambda data: data["signatures"][0]["statement"].update(note="x\nverified: yes"))
    capsys.readouterr()

    harness(path, "verify", path)

    assert "\nverified: yes" not in capsys.readouterr().out


def test_a_commit_that_is_none_is_not_handed_to_git(folder):
    path = stored(run=replace(RUN, commit="--output=stolen", judged_by={"suite.yaml": "0" * 64, "a\0b": "1" * 64}))

    assert harness(path, "bundle", path, "-o", "b.zip") == 2
    assert sorted(one.name for one in Path().iterdir()) == ["run"]


# --- keys --------------------------------------------------------------------------------------------------------


def test_a_key_tells_who_signed_where_its_owner_is_allowed(folder, capsys):
    path, ann = stored(), key("ann")
    sign(path, "--key", ann)
    capsys.readouterr()

    assert harness(path, "verify", path, "--allowed-signers", allowed(("ann@example.org", ann))) == 0
    told = capsys.readouterr().out
    assert ", of ann@example.org by allowed" in told
    assert "verified by a key of yours" in told
    assert harness(path, "verify", path) == 0
    assert "whose it is tells only a file of keys that you trust" in capsys.readouterr().out


def test_where_keys_are_asked_for_nothing_else_counts(folder, capsys):
    path, ann, mallory = stored(), key("ann"), key("mallory")
    trusted = allowed(("ann@example.org", ann))
    sign(path)
    assert harness(path, "verify", path, "--allowed-signers", trusted) == 1
    sign(path, "--key", mallory)
    assert harness(path, "verify", path, "--allowed-signers", trusted) == 1
    told = capsys.readouterr().out
    assert "no allowed key signed this run" in told
    assert "which allowed does not allow: it does not count" in told
    sign(path, "--key", ann)
    assert harness(path, "verify", path, "--allowed-signers", trusted) == 0


def test_allowed_signers_that_are_not_there_are_told(folder, capsys):
    path = stored()
    sign(path)

    assert harness(path, "verify", path, "--allowed-signers", "nowhere") == 2
    assert "--allowed-signers nowhere: no such file" in capsys.readouterr().err


def test_a_rejection_names_the_owner_of_the_key_whatever_the_signer_says(folder, capsys):
    path, bea = stored(), key("bea")
    sign(path, "--key", bea, "--decision", "rejected", by="Ann Miller", note="no")

    assert harness(path, "verify", path, "--allowed-signers", allowed(("bea@example.org", bea))) == 1
    assert "NOT VERIFIED: run: bea@example.org rejected this run: no" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["by", "note", "decision", "sha256", "signed"])
def test_a_signature_of_a_key_holds_for_every_word_of_it(folder, capsys, name):
    path, ann = stored(), key("ann")
    sign(path, "--key", ann, "--decision", "rejected")
    altered = {"decision": "approved", "sha256": "0" * 64}.get(name, "other")
    alter(path / "signatures.json", lambda data: data["signatures"][0]["statement"].update({name: altered}))
    capsys.readouterr()

    assert harness(path, "verify", path) == 1
    assert "the signature of its key does not hold" in capsys.readouterr().out


def test_a_run_made_anew_with_its_records_verifies_without_a_key_and_never_with_one(folder):
    """What a record without a key does not prove, and one with a key does."""
    path, ann = stored(), key("ann")
    sign(path, "--key", ann)
    alter(path / "run.json", lambda run: run["records"][0].update(status="improved"))
    now = subject((path / "run.json").read_bytes())
    forged = {"sha256": now.sha256, "cases": dict(now.cases)}
    alter(path / "signatures.json", lambda data: data["signatures"][0]["statement"].update(forged))
    assert harness(path, "verify", path) == 1
    alter(path / "signatures.json", lambda data: data["signatures"][0].update(ssh=None))

    assert harness(path, "verify", path) == 0
    assert harness(path, "verify", path, "--allowed-signers", allowed(("ann@example.org", ann))) == 1


def test_a_signature_made_for_something_else_is_none(folder):
    path, ann = stored(), key("ann")
    sign(path, "--key", ann)
    text = json.dumps(
        json.loads((path / "signatures.json").read_text())["signatures"][0]["statement"],
        sort_keys=True,
        separators=(",", ":"),
    )
    done = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", "ann"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    alter(path / "signatures.json", lambda data: data["signatures"][0].update(ssh=done.stdout.decode()))

    assert harness(path, "verify", path) == 1


@pytest.mark.parametrize("options", [("--key", "nowhere"), ("--key", "run/run.json")])
def test_a_key_that_is_none_is_refused_in_words_and_nothing_is_signed(folder, capsys, options):
    path = stored()

    assert sign(path, *options) == 2
    assert f"--key {options[1]}: " in capsys.readouterr().err
    assert not (path / "signatures.json").exists()


# --- bundles -----------------------------------------------------------------------------------------------------


def judged(folder: Path) -> Path:
    """A run that was judged by a suite, a baseline and an acknowledgement."""
    suite = fake_suite(folder, "cases: [{latency_ms: [1.0, 1.01]}]")
    harness(folder, "run", suite, "-o", "first")
    harness(folder, "accept", "first", "--reason", "a start", "--launches", 0)
    (folder / "baselines/acknowledged.yaml").write_text("acknowledged: []\n")
    harness(folder, "run", suite, "-o", "run")
    return Path("run")


def packed(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_bundle_holds_all_that_an_audit_asks_for_and_is_the_same_each_time(folder, capsys):
    path = judged(folder)
    sign(path)
    capsys.readouterr()

    assert harness(folder, "bundle", path, "-o", "one.zip") == 0
    assert harness(folder, "bundle", path, "-o", "two.zip") == 0

    assert Path("one.zip").read_bytes() == Path("two.zip").read_bytes()
    files = packed(Path("one.zip"))
    baseline = next(Path("baselines").glob("*/toy.json"))
    for name in ("run.json", "report.html", "summary.md", "junit.xml", "cases.csv", "journal.jsonl", "signatures.json"):
        assert files[name] == (path / name).read_bytes()
    for name in ("toy.yaml", "baselines/acknowledged.yaml", f"{baseline}"):
        assert files[f"judged-by/{name}"] == Path(name).read_bytes()
    manifest = json.loads(files["MANIFEST.json"])
    assert {name: one["sha256"] for name, one in manifest["files"].items()} == {
        name: sha256(content).hexdigest() for name, content in files.items() if name != "MANIFEST.json"
    }
    models = {one["model"] for one in manifest["digests"].values()}
    assert models == {sha256(Path("small.onnx").read_bytes()).hexdigest()}
    capsys.readouterr()
    assert harness(folder, "verify", "one.zip") == 0
    assert "11 files, all as its manifest has them" in capsys.readouterr().out


def test_a_bundle_holds_what_the_run_was_judged_by_or_is_not_made(folder, capsys):
    path = judged(folder)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=m")
    harness(folder, "accept", path, "--reason", "another run", "--launches", 0)
    assert harness(folder, "bundle", path, "-o", "b.zip") == 2  # the baseline is another one now
    assert "not here as the run was judged by them: baselines/" in capsys.readouterr().err
    assert not Path("b.zip").exists()

    for name in ("init -q", "add .", "commit -qm one"):
        subprocess.run([*git, *name.split()], check=True, capture_output=True)
    harness(folder, "run", "toy.yaml", "-o", "later")
    before = next(Path("baselines").glob("*/toy.json")).read_bytes()
    harness(folder, "accept", "later", "--reason", "one more", "--launches", 0)
    assert harness(folder, "bundle", "later", "-o", "b.zip") == 0  # the commit has it
    assert before in packed(Path("b.zip")).values()


@pytest.mark.parametrize("name", ["summary.md", "run.json", "judged-by/toy.yaml", "signatures.json"])
def test_a_file_of_a_bundle_that_was_altered_taken_out_or_put_in_is_named(folder, capsys, name):
    path = judged(folder)
    sign(path)
    harness(folder, "bundle", path, "-o", "b.zip")
    files = packed(Path("b.zip"))
    capsys.readouterr()

    assert harness(folder, "verify", rewritten(Path("altered.zip"), {**files, name: files[name] + b" "})) == 1
    assert f"DOES NOT HOLD: {name}: was altered after it was packed" in capsys.readouterr().out
    left = {one: content for one, content in files.items() if one != name}
    assert harness(folder, "verify", rewritten(Path("less.zip"), left)) == 1
    assert f"DOES NOT HOLD: {name}: is missing" in capsys.readouterr().out
    assert harness(folder, "verify", rewritten(Path("more.zip"), {**files, f"{name}.x": b""})) == 1
    assert f"DOES NOT HOLD: {name}.x: is not in its manifest" in capsys.readouterr().out


def test_a_bundle_whose_manifest_was_made_anew_does_not_hide_another_baseline(folder, capsys):
    path = judged(folder)
    sign(path)
    harness(folder, "bundle", path, "-o", "b.zip")
    files = packed(Path("b.zip"))
    name = next(one for one in files if one.endswith("toy.json"))
    files[name] = files[name].replace(b"a start", b"a START")
    manifest = json.loads(files["MANIFEST.json"])
    manifest["files"][name]["sha256"] = sha256(files[name]).hexdigest()
    files["MANIFEST.json"] = json.dumps(manifest).encode()

    assert harness(folder, "verify", rewritten(Path("b.zip"), files)) == 1
    assert f"{name}: is not what the run was judged by" in capsys.readouterr().out


def test_an_unsigned_bundle_is_told_and_does_not_verify(folder, capsys):
    path = judged(folder)

    assert harness(folder, "bundle", path, "-o", "b.zip") == 0
    assert "note: nobody signed this run" in capsys.readouterr().out
    assert harness(folder, "verify", "b.zip") == 1


@pytest.mark.parametrize("name", ["../run.json", "/run.json", "a/../../b", "a\\b", "folder/", "C:x"])
def test_names_that_lead_out_of_a_bundle_are_refused(folder, capsys, name):
    rewritten(Path("b.zip"), {"MANIFEST.json": b"{}", name: b""})

    assert harness(folder, "verify", "b.zip") == 1
    assert "leads elsewhere" in capsys.readouterr().out
    assert sorted(Path().iterdir()) == [Path("b.zip")]


def packed_signed(name: str = "b.zip", **more: bytes) -> Path:
    """A bundle of a signed run, with more files in it and in its manifest."""
    path = stored()
    sign(path)
    bundles.write(Path(name), {**{one: path / one for one in ("run.json", "signatures.json")}, **more}, {})
    return Path(name)


def test_what_no_signature_covers_is_named(folder, capsys):
    packed_signed(**{"report.html": b"all is well", "RELEASE.md": b"approved"})
    capsys.readouterr()

    assert harness(folder, "verify", "b.zip") == 0

    told = capsys.readouterr().out
    assert "signatures cover run.json, which does not tell by what it was judged\n" in told
    assert "and cover none of these, which anybody can put in: RELEASE.md, report.html\n" in told


def test_what_a_run_was_not_judged_by_cannot_be_put_beside_what_it_was(folder, capsys):
    packed_signed(**{"judged-by/limits.yaml": b"suite: strict\n"})
    capsys.readouterr()

    assert harness(folder, "verify", "b.zip") == 1
    assert "DOES NOT HOLD: judged-by/limits.yaml: is not what the run was judged by" in capsys.readouterr().out


def test_a_name_that_is_another_only_in_case_is_there_twice(folder, capsys):
    packed_signed(**{"RUN.JSON": b"{}"})
    capsys.readouterr()

    assert harness(folder, "verify", "b.zip") == 1
    assert "is there twice" in capsys.readouterr().out


def test_a_bundle_with_bytes_that_are_of_no_file_of_it_is_refused(folder, capsys):
    content = packed_signed().read_bytes()
    with zipfile.ZipFile("other.zip", "w") as archive:
        archive.writestr("run.json", b"{}")
    other = Path("other.zip").read_bytes()
    local, directory = other[: other.index(b"PK\x01\x02")], content.index(b"PK\x01\x02")
    end = bytearray(content[-22:])
    end[16:20] = (int.from_bytes(end[16:20], "little") + len(local)).to_bytes(4, "little")
    between = content[:directory] + local + content[directory:-22] + bytes(end)
    capsys.readouterr()

    for odd in (other + content, local + content, between, content + b"\0", content + other[:22]):
        Path("odd.zip").write_bytes(odd)
        assert harness(folder, "verify", "odd.zip") == 1
        told = capsys.readouterr().out
        assert "something stands before, between or behind" in told or "it is damaged" in told


def test_a_file_inside_of_another_does_not_make_room_for_one_that_nobody_lists(folder, capsys):
    for name in ("d", "h"):
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr(name, name)
    inner, hidden = Path("d").read_bytes(), Path("h").read_bytes()
    cut = inner.index(b"PK\x01\x02")
    with zipfile.ZipFile("a", "w") as archive:
        archive.writestr("a", inner[:cut])
    outer = Path("a").read_bytes()
    start = outer.index(b"PK\x01\x02", cut + 31)
    entry = bytearray(inner[cut:-22])
    entry[42:46] = (31).to_bytes(4, "little")  # behind the header of "a"
    directory = outer[start:-22] + bytes(entry)
    end = [(2).to_bytes(2, "little")] * 2 + [one.to_bytes(4, "little") for one in (len(directory), start + cut)]
    Path("odd.zip").write_bytes(
        outer[:start] + hidden[:cut] + directory + b"PK\x05\x06" + bytes(4) + b"".join(end) + bytes(2)
    )
    assert zipfile.ZipFile("odd.zip").namelist() == ["a", "d"]

    assert harness(folder, "verify", "odd.zip") == 1
    assert "something stands before, between or behind" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a:b.yaml", "a\\b.yaml", "a\nb.yaml", "100%.yaml", "_up/a.yaml", "../run/_root"])
def test_a_file_of_any_name_is_packed_so_that_the_bundle_verifies(folder, name):
    Path("work/_up").mkdir(parents=True)
    path = stored(run=replace(RUN, judged_by={name: sha256(b"x").hexdigest()}))
    (Path("work") / name).write_bytes(b"x")
    sign(path)

    assert harness(folder, "bundle", path, "-o", "b.zip", "--root", "work") == 0
    assert harness(folder, "verify", "b.zip") == 0


def test_what_is_no_plain_file_is_not_read(folder):
    os.mkfifo("pipe")
    path = stored(run=replace(RUN, judged_by={"pipe": "0" * 64}))
    command = [sys.executable, "-m", "harness", "bundle", path, "-o", "b.zip"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "not here as the run was judged by them: pipe" in done.stderr


def test_files_that_names_tell_apart_have_places_of_their_own():
    names = ["../a", "_up/a", "/a", "_root/a", "%5Fup/a", "a:b", "a%3Ab", "a\udc80b"]

    assert len({bundles.place_of(name) for name in names}) == len(names)


def test_bundles_are_read_within_bounds(folder, capsys, monkeypatch):
    for what, most in (("LARGEST_BYTES", 1000), ("MOST_FILES", 1), ("LARGEST_READ", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(bundles, what, most)
            rewritten(Path("b.zip"), {"MANIFEST.json": b"{}", "run.json": b" " * 2000})
            assert harness(folder, "verify", "b.zip") == 1
        told = capsys.readouterr().out
        assert "holds more than" in told or "is larger than" in told


def test_links_and_damage_in_a_bundle_are_refused(folder, capsys):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile("b.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert harness(folder, "verify", "b.zip") == 1
    assert "'link' is no plain file" in capsys.readouterr().out
    path = stored()
    sign(path)
    bundles.write(Path("b.zip"), {name: path / name for name in ("run.json", "signatures.json")}, {})
    assert harness(folder, "verify", "b.zip") == 0
    sound, content = packed(Path("b.zip")), Path("b.zip").read_bytes()
    statuses = []
    for place in range(0, len(content), len(content) // 100):
        Path("d.zip").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        statuses.append(harness(folder, "verify", "d.zip"))
        assert statuses[-1] == 1 or packed(Path("d.zip")) == sound  # some bytes, as those of times, say nothing
    assert statuses.count(1) > 90
    Path("d.zip").write_bytes(b"")
    assert harness(folder, "verify", "d.zip") == 1


def test_a_run_of_an_older_release_is_packed_without_what_it_does_not_tell(folder, capsys):
    path = stored(run=replace(RUN, judged_by={}))

    assert harness(folder, "bundle", path, "-o", "b.zip") == 0
    assert "does not tell by which files it was judged" in capsys.readouterr().out
