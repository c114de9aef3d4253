"""Kept artefacts go when no baseline names them and nobody used them for long."""

from __future__ import annotations

import os
from pathlib import Path
from time import time

import onnx
import pytest

from harness import artefacts
from harness.commands.tidy import tidy
from harness.sources.digest import model_digest
from models import conv_net
from test_turns import suite
from toy import harness

DAY_S = 86400.0
NOW = 2_000_000_000.0


def kept(folder: Path, name: str, days_ago: float) -> Path:
    place = folder / "artefacts" / name
    place.mkdir(parents=True)
    (place / "model.onnx").write_text(name)
    os.utime(place, (NOW - days_ago * DAY_S,) * 2)
    return place


@pytest.mark.parametrize(
    ("name", "days_ago", "stays"),
    [("unused", 15, False), ("recent", 13, True), ("named", 400, True), (".half", 2, False), (".making", 0.5, True)],
)
def test_what_no_baseline_names_goes_two_weeks_after_its_last_use_and_what_is_half_made_after_a_day(
    tmp_path, name, days_ago, stays
):
    place = kept(tmp_path, name, days_ago)

    assert artefacts.clean(tmp_path, {"named"}, NOW) == (["unused"] if name == "unused" else [])

    assert [one.name for one in place.parent.iterdir()] == ([name] if stays else [])


def test_every_use_is_one(tmp_path):
    model = tmp_path / "net.onnx"
    onnx.save(conv_net(), model)
    digest = model_digest(model)
    artefacts.keep(tmp_path, model, digest)
    place = tmp_path / "artefacts" / digest
    for use in (lambda: artefacts.find(tmp_path, digest), lambda: artefacts.keep(tmp_path, model, digest)):
        os.utime(place, (0, 0))
        use()
        assert time() - place.stat().st_mtime < DAY_S
        assert artefacts.clean(tmp_path, (), time()) == []


def test_nothing_goes_where_nothing_is_kept_or_a_baseline_cannot_be_read(tmp_path):
    assert artefacts.clean(tmp_path, (), NOW) == []
    place = kept(tmp_path, "unused", 15)
    os.utime(place, (0, 0))
    (tmp_path / "baselines" / "cpu").mkdir(parents=True)
    damaged = tmp_path / "baselines" / "cpu" / "s.json"
    damaged.write_text("{")

    tidy(tmp_path, [tmp_path / "baselines"])
    assert place.exists()
    damaged.unlink()
    tidy(tmp_path, [tmp_path / "baselines"])
    assert not place.exists()


def test_run_and_accept_remove_what_is_unused_and_keep_what_is_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unused = kept(tmp_path / "cache", "unused", 0)
    os.utime(unused, (0, 0))

    assert harness(tmp_path, "run", suite(tmp_path), "-o", "first") == 0
    assert not unused.exists()
    (accepted,) = (path.parent for path in (tmp_path / "cache" / "artefacts").glob("*/model.onnx"))
    os.utime(kept(tmp_path / "cache", "unused", 0), (0, 0))
    assert harness(tmp_path, "accept", "first", "--reason", "a start", "--launches", 0) == 0
    os.utime(accepted, (0, 0))
    assert harness(tmp_path, "accept", "first", "--reason", "again", "--launches", 0) == 0

    assert accepted.exists()
    assert not unused.exists()
