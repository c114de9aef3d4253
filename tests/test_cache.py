"""What is kept is found again only while nothing about it changed, and by nobody but the user who kept it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import time

import pytest

from harness import artefacts, cache
from harness.cache import KEY_FILE, Cache
from harness.commands.tidy import DEFAULT_GIB, SIZE, size_gib
from harness.errors import InputError, UsageError
from harness.records import LatencyPlan, Source
from harness.runner import steps
from harness.runner.steps import Steps
from models import conv_net
from plans import plan

KEY = {"model": "a" * 64, "versions": {"tensorrt": "10.9"}, "gpu": "H200", "profile": {"x": [[1], [2], [4]]}}
LATER = 1e9
"""Seconds after which everything was long unused."""


@pytest.fixture
def shop(tmp_path):
    """A cache and a folder to make things in."""
    return Shop(tmp_path)


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder, self.cache, self._made = folder, Cache(folder / "cache"), 0

    def engine(self, content: bytes = b"engine") -> Path:
        self._made += 1
        path = self.folder / f"{self._made}.engine"
        path.write_bytes(content)
        return path

    def tensors(self) -> Path:
        self._made += 1
        place = self.folder / f"tensors-{self._made}"
        (place / "again").mkdir(parents=True)
        (place / "0-0.npy").write_bytes(b"values")
        (place / "again" / "index.json").write_text("{}")
        return place

    def keep(self, content: bytes = b"engine", key=KEY):
        return self.cache.keep("engines", key, self.engine(content), {"build_s": 1.5})

    def files(self) -> list[Path]:
        return sorted(file for file in (self.folder / "cache").rglob("*") if file.is_file())


def flip(file: Path) -> None:
    """Change one bit in the middle and leave size and time of change as they were."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_kept_is_found_with_all_that_was_noted(shop):
    kept = shop.keep()

    found = Cache(shop.cache.folder).find("engines", json.loads(json.dumps(KEY)))

    assert found == kept
    assert found.path.read_bytes() == b"engine"
    assert found.about == {"build_s": 1.5}
    assert shop.cache.told() == ()


@pytest.mark.parametrize("name", KEY)
def test_every_part_of_the_key_counts(shop, name):
    shop.keep()
    assert shop.cache.find("engines", {**KEY, name: "another"}) is None
    assert shop.cache.find("engines", {key: value for key, value in KEY.items() if key != name}) is None
    assert shop.cache.find("variants", KEY) is None


@pytest.mark.parametrize("change", [flip, lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"{}")])
@pytest.mark.parametrize("which", ["record", "engine"])
def test_a_changed_byte_is_one_warning_and_a_miss_and_then_it_is_made_again(shop, which, change):
    kept = shop.keep()
    (record,) = (shop.cache.folder / "index" / "engines").iterdir()
    change(record if which == "record" else kept.path)

    assert shop.cache.find("engines", KEY) is None
    (warning,) = shop.cache.told()
    assert "made again" in warning
    assert str(record if which == "record" else kept.path.parent) in warning
    assert shop.cache.find("engines", KEY) is None
    assert shop.cache.told() == ()

    assert shop.keep().path.read_bytes() == b"engine"
    assert shop.cache.find("engines", KEY) is not None
    assert shop.cache.told() == ()


@pytest.mark.parametrize("change", [flip, Path.unlink])
def test_a_changed_or_missing_file_of_a_folder_is_a_miss(shop, change):
    shop.cache.keep("references", KEY, shop.tensors(), {})
    found = shop.cache.find("references", KEY)
    change(found.path / "0-0.npy")

    assert shop.cache.find("references", KEY) is None
    assert len(shop.cache.told()) == 1
    assert not found.path.exists()


def test_a_record_under_the_name_of_another_key_is_refused(shop):
    shop.keep(b"one", KEY)
    other = {**KEY, "gpu": "T4"}
    shop.keep(b"two", other)
    records = {
        json.loads(path.read_text())["data"]["key"]["gpu"]: path for path in shop.files() if "index" in path.parts
    }
    records["T4"].write_bytes(records["H200"].read_bytes())

    assert shop.cache.find("engines", other) is None
    assert "is not what was written" in shop.cache.told()[0]


def test_another_user_finds_nothing_and_overwrites_nothing(shop, tmp_path, monkeypatch):
    kept = shop.keep(b"mine")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "other" / "cache.key"))
    assert shop.cache.find("engines", KEY) is None
    shop.keep(b"theirs")
    monkeypatch.undo()

    assert shop.cache.find("engines", KEY) == kept
    assert shop.cache.told() == ()


def test_the_key_is_made_once_and_for_this_user_alone(shop, tmp_path, monkeypatch):
    place = tmp_path / "state" / "cache.key"
    monkeypatch.setenv(KEY_FILE, str(place))
    shop.keep()
    assert place.stat().st_mode & 0o777 == 0o600
    assert len(place.read_bytes()) == 32
    assert [path.name for path in place.parent.iterdir()] == ["cache.key"]


@pytest.mark.parametrize("wrong", ["mode", "length"])
def test_a_key_that_others_can_read_signs_nothing(shop, tmp_path, monkeypatch, wrong):
    place = tmp_path / "open.key"
    place.write_bytes(b"k" * (32 if wrong == "mode" else 5))
    place.chmod(0o644 if wrong == "mode" else 0o600)
    monkeypatch.setenv(KEY_FILE, str(place))
    kept = shop.keep()

    assert kept.path.read_bytes() == b"engine"
    (warning,) = shop.cache.told()
    assert "chmod 600" in warning
    cache._secret.cache_clear()  # as in another process
    assert shop.cache.find("engines", KEY) is None


def test_what_was_kept_before_a_moment_is_made_again_and_then_found(shop):
    shop.keep(b"old")
    fresh = replace(shop.cache, since=time())
    assert fresh.find("engines", KEY) is None
    fresh.keep("engines", KEY, shop.engine(b"new"), {})

    assert fresh.find("engines", KEY).path.read_bytes() == b"new"
    assert shop.cache.find("engines", KEY).path.read_bytes() == b"new"


def test_an_engine_that_nobody_vouches_for_is_not_handed_out(shop):
    engine = shop.engine()
    digest = artefacts.digest_of(engine)
    artefacts.keep(shop.cache.folder, engine, digest)

    with pytest.raises(InputError, match="was not built by this user's harness"):
        shop.cache.artefact(digest)
    assert shop.cache.artefact(digest, reviewed=True).read_bytes() == b"engine"
    shop.cache.keep_artefact(engine, digest)
    assert shop.cache.artefact(digest).read_bytes() == b"engine"


@pytest.mark.parametrize("digest", ["..", "../../secret", "", "a" * 63, "A" * 64, "/etc"])
def test_no_digest_leads_out_of_the_folder(shop, digest):
    secret = shop.folder / "secret"
    secret.mkdir()
    (shop.cache.folder / "artefacts").mkdir(parents=True)
    assert not artefacts.has(shop.cache.folder, digest)
    with pytest.raises(InputError, match="SHA-256"):
        artefacts.find(shop.cache.folder, digest)
    assert secret.exists()


def free() -> None:
    """What this process found is no longer in use, as if it had ended."""
    for place in [*artefacts._held]:
        artefacts._let_go(place)


def test_the_least_recently_used_goes_beyond_a_size_and_what_is_accepted_or_in_use_stays(shop):
    kept = {name: shop.keep(name * 1000, {"name": str(name)}) for name in (b"a", b"b", b"c", b"d")}
    held, named = kept[b"a"], kept[b"b"]
    free()
    artefacts.find(shop.cache.folder, held.digest)
    for age, one in enumerate(kept.values()):
        os.utime(one.path.parent, (1000 + age,) * 2)

    gone = artefacts.clean(shop.cache.folder, {named.digest}, 2000, most_bytes=3500)
    assert gone == [kept[b"c"].digest]
    assert artefacts.clean(shop.cache.folder, {named.digest}, 2000, most_bytes=0) == [kept[b"d"].digest]
    cache.clean(shop.cache.folder, time() + LATER)

    assert shop.cache.find("engines", {"name": str(b"c")}) is None
    assert shop.cache.told() == ()
    assert len([file for file in shop.files() if "index" in file.parts]) == 2


@pytest.mark.parametrize("text", ["lots", "-1", "nan", "inf"])
def test_a_size_that_is_none_is_a_mistake_of_the_command(monkeypatch, text):
    monkeypatch.setenv(SIZE, text)
    with pytest.raises(UsageError, match=SIZE):
        size_gib()


def test_the_size_is_given_in_gib(monkeypatch):
    monkeypatch.delenv(SIZE, raising=False)
    assert size_gib() == DEFAULT_GIB
    monkeypatch.setenv(SIZE, "0.5")
    assert size_gib() == 0.5


FILL = """
import sys
from pathlib import Path
from harness.cache import Cache
own, folder, turns = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
cache = Cache(folder / "cache")
for turn in range(turns):
    made = folder / f"{own}-{turn}.engine"
    made.write_bytes(f"{own} {turn}".encode() * 10000)
    kept = cache.keep("engines", {"turn": turn}, made, {"by": own})
    print(turn, kept.digest, kept.about["by"], *cache.told())
"""
CLEAN = """
import sys
from pathlib import Path
from time import time
from harness import artefacts, cache
while True:
    gone = artefacts.clean(Path(sys.argv[1]), (), time(), most_bytes=0)
    cache.clean(Path(sys.argv[1]), time())
    print(len(gone), flush=True)
"""


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def test_two_processes_that_fill_the_same_keys_end_with_one_thing_under_each(tmp_path):
    running = [process(FILL, own, tmp_path, 40) for own in ("one", "two")]
    told = [one.communicate(timeout=60)[0].splitlines() for one in running]

    assert told[0] == told[1]
    assert len(told[0]) == 40
    found = Cache(tmp_path / "cache")
    assert [found.find("engines", {"turn": turn}).digest for turn in range(40)] == [line.split()[1] for line in told[0]]


def test_a_reader_is_never_disturbed_by_a_process_that_removes_everything(shop):
    shop.keep()
    cleaner = process(CLEAN, shop.cache.folder)
    removed = 0
    try:
        for turn in range(300):
            found = shop.cache.find("engines", KEY) or shop.keep()
            assert found.path.read_bytes() == b"engine"
            if turn % 3 == 0:
                free()
                removed += int(cleaner.stdout.readline())
    finally:
        cleaner.kill()
        cleaner.communicate()
    assert removed > 0
    assert shop.cache.told() == ()


class Bench:
    """A net's reference and twin, by steps of their own each time, as in another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "m.onnx").write_bytes(conv_net().SerializeToString())
        made = plan("fp16", source=Source("file", str(folder / "m.onnx")), dimensions={"n": 4}, shapes=({"n": 4},))
        self.plan = replace(
            made, case=replace(made.case, backend="onnxruntime-cpu"), latency=LatencyPlan(enabled=False)
        )

    def make(self, kind: str, **changes):
        own = Steps(self.folder / "cache", self.folder, lambda _: None)
        target = self.folder / kind
        told = getattr(own, kind)(replace(self.plan, **changes), target)
        content = {file.relative_to(target): file.read_bytes() for file in target.rglob("*") if file.is_file()}
        return content, told if kind == "reference" else told[1]


@pytest.mark.parametrize(("kind", "maker"), [("reference", "infer_all"), ("twin", "twins")])
def test_reference_and_twin_are_computed_once_and_again_when_a_byte_changed(tmp_path, monkeypatch, kind, maker):
    bench = Bench(tmp_path)
    first, _ = bench.make(kind)
    with monkeypatch.context() as broken:
        broken.setattr(steps, maker, None)
        assert bench.make(kind) == (first, ())
        with pytest.raises((TypeError, AttributeError)):
            bench.make(kind, kept_since=time())
        with pytest.raises((TypeError, AttributeError)):
            bench.make(kind, dimensions={"n": 5}, shapes=({"n": 5},))

    (record,) = (tmp_path / "cache" / "index" / f"{kind}s").iterdir()
    place = tmp_path / "cache" / "artefacts" / json.loads(record.read_text())["data"]["digest"]
    flip(max(place.rglob("*.npy"), key=lambda file: file.stat().st_size))
    again, told = bench.make(kind)
    assert again.keys() == first.keys()
    assert len(told) == 1
    assert bench.make(kind) == (again, ())
