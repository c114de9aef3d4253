"""The pages of `harness dashboard`: complete, harmless, small, and linked among themselves alone."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sqlalchemy")

from builders import environment, record
from harness.cli import main
from harness.dashboard import site, state
from harness.dashboard.since import RULE
from harness.dashboard.views import known_lines
from harness.errors import UsageError
from harness.history import adding, places, reading
from harness.history.database import opened
from harness.history.unstable import DEFINITION
from harness.records import STATUSES, Gate, KnownFailure
from harness.store import write_run
from stores import CASE, nightly, timed
from toy import fake_suite, harness

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</svg></style><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %}",
    "https://example.org/x",
)
KNOWN = KnownFailure(
    CASE, "failed", "the calibration table is old", "https://example.org/issues/7", "2026-02-01", "2026-03-20"
)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data.strip())

    def values(self, name):
        return [value for found, value in self.attributes if found == name]


def drawn(folder, *runs, known=(), since="", today=date(2026, 3, 10)):
    """Pages by their names, written over a store of these runs."""
    url = places.url(str(folder / "s.sqlite"))
    with opened(url, make=True) as engine, engine.connect() as connection:
        for run in runs:
            adding.add(engine, run, run.id)
        since_s = adding._epoch_s(runs[0], f"{since}T00:00:00") - 1 if since else None
        groups = list(state.collect(connection, since_s))
        made = site.Site(groups, reading.runs(connection), reading.versions(connection), known, since, today)
    site.write(made, folder / "site")
    found = [path for path in (folder / "site").rglob("*.html") if path.is_file()]
    return {str(path.relative_to(folder / "site")): path.read_text("utf-8") for path in found}


def everything(folder, text="x"):
    """Pages with something in every part, and `text` wherever a string can come from elsewhere."""
    flips = [nightly(day, record(CASE, "failed" if day % 2 else "passed", headline=text)) for day in range(5)]
    ids = [f"vision/{text}-{status}/tensorrt/fp16/n-1" for status in STATUSES]
    records = [record(id_, status, headline=text) for id_, status in zip(ids, STATUSES, strict=True)]
    slow = f"vision/{text}-slow/tensorrt/fp16/n-1"
    steps = [
        nightly(day, record(slow, latency=timed(1.0 if day < 9 else 1.2), headline=text), commit=text)
        for day in range(5, 14)
    ]
    odd = environment(host=text, versions={text: text})
    last = nightly(14, *records, id=text, command=text, environments={"main": odd})
    torn = nightly(15, record(CASE), gate=Gate(passed=False, exit_status=130, counts={}))
    known = [KNOWN, KnownFailure(ids[0], "error", text, text, "2026-01-01", "2026-03-01", by=text)]
    return drawn(folder, *flips, *steps, last, torn, known=known, since="2026-03-08")


def test_every_part_of_the_site_is_drawn(tmp_path):
    pages = everything(tmp_path)
    suite = "machines/nvidia-l4-x1/vision/index.html"
    assert set(pages) == {"index.html", "since.html", "unstable.html", "acknowledged.html", suite}
    words = {name: " ".join(Page(text).words) for name, text in pages.items()}
    assert all(status in words[suite] for status in STATUSES)
    assert "1 of 1 suites block" in words["index.html"]
    assert "interrupted" in words["index.html"]
    assert "1 unstable case" in words["unstable.html"]
    assert "+20.0% with 2026-03-10" in words[suite]
    assert "slower" in words["since.html"]
    assert "expired 9 days ago" in words["acknowledged.html"]
    assert "10 days left" in words["acknowledged.html"]


@pytest.mark.parametrize(("name", "rule"), [("unstable.html", DEFINITION), ("since.html", RULE)])
def test_the_rules_are_published_on_their_pages_and_in_the_documentation(tmp_path, name, rule):
    documented = (Path(__file__).parents[1] / "docs/history.md").read_text("utf-8")

    assert rule in " ".join(Page(everything(tmp_path)[name]).words)
    assert rule in " ".join(documented.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_shown_and_never_becomes_markup(tmp_path, text):
    for name in ("odd", "plain"):
        (tmp_path / name).mkdir()
    odd, plain = everything(tmp_path / "odd", text), everything(tmp_path / "plain")
    for name in plain:
        page, harmless = Page(odd[name]), Page(plain[name])
        assert sorted(page.tags) == sorted(harmless.tags), name
        assert {one for one, _ in page.attributes} == {one for one, _ in harmless.attributes}, name
    shown = " ".join(Page(odd["machines/nvidia-l4-x1/vision/index.html"]).words)
    assert text in shown


def test_pages_load_nothing_and_link_only_to_places_that_exist(tmp_path):
    pages = everything(tmp_path, "a b#c?d%e/f&g")
    anchors = {name: set(Page(text).values("id")) for name, text in pages.items()}
    for name, text in pages.items():
        page = Page(text)
        assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
        assert not page.values("src")
        assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", text)
        for link in page.values("href"):
            parts = urlsplit(link)
            assert not parts.scheme, link
            assert not parts.netloc, link
            to = (tmp_path / "site" / name).parent / unquote(parts.path) if parts.path else tmp_path / "site" / name
            found = str(to.resolve().relative_to((tmp_path / "site").resolve()))
            assert found in pages, (name, link)
            assert not parts.fragment or unquote(parts.fragment) in anchors[found], (name, link)


def test_the_content_policy_names_exactly_our_script_and_style(tmp_path):
    for text in everything(tmp_path).values():
        policy = next(value for value in Page(text).values("content") if "default-src" in value)
        assert "default-src 'none'" in policy
        for tag in ("script", "style"):
            (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in policy


def test_every_page_stays_below_a_megabyte_and_all_cases_are_on_one(tmp_path):
    long = [f"vision/{'<' * 900}{number:03}/tensorrt/fp16/n-1" for number in range(260)]
    runs = [
        nightly(day, *(record(one, "failed" if day % 2 else "passed", headline="&" * 900) for one in long))
        for day in range(4)
    ]

    pages = drawn(tmp_path, *runs, since="2026-03-03")

    assert max(len(text.encode()) for text in pages.values()) < 1_000_000
    shown = [Page(text) for name, text in pages.items() if name.startswith("machines/")]
    assert len(shown) > 1
    assert sorted(one for page in shown for one in page.values("id") if "/" in one) == long
    assert "unstable-2.html" in pages
    assert "2.html" in Page(pages["machines/nvidia-l4-x1/vision/index.html"]).values("href")


def test_rows_are_packed_in_order_and_none_is_lost():
    rows = [site.Markup("x" * size) for size in (5, 5, 1, 9, 20, 1)]

    parts = site.packed(rows, room=10, most=3)

    assert [row for part in parts for row in part] == rows
    assert [len(part) for part in parts] == [2, 2, 1, 1]
    assert [len(part) for part in site.packed([site.Markup("x")] * 5, room=10, most=2)] == [2, 2, 1]
    assert site.packed([]) == [[]]


def test_what_blocks_comes_first(tmp_path):
    records = [
        record(f"vision/{name}/b/fp16/n-1", status) for name, status in zip("abc", STATUSES[7::-3], strict=False)
    ]
    page = drawn(tmp_path, nightly(0, *records))["machines/nvidia-l4-x1/vision/index.html"]

    places_ = [STATUSES.index(value) for value in Page(page).values("data-s")]
    assert len(places_) == 3
    assert all(one <= other for one, other in pairwise(places_))


def test_a_site_written_again_is_the_same_and_pages_that_are_no_more_go_away(tmp_path):
    before = everything(tmp_path)
    assert everything(tmp_path) == before
    (tmp_path / "site" / "machines" / "nvidia-l4-x1" / "vision" / "2.html").write_text(before["index.html"])
    (tmp_path / "site" / "machines" / "nvidia-l4-x1" / "vision" / "mine.html").write_text("somebody's own page")
    (tmp_path / "site" / "unstable-2.html").write_text(before["unstable.html"])
    (tmp_path / "site" / "notes.html").write_text(before["index.html"])
    (tmp_path / "site" / "unstable-3.html").mkdir()
    (tmp_path / "site" / "unstable-4.html").symlink_to("nowhere")

    after = everything(tmp_path)

    assert after.keys() - before.keys() == {"machines/nvidia-l4-x1/vision/mine.html", "notes.html"}


@pytest.mark.parametrize("name", ["index.html", "since.html", "machines/nvidia-l4-x1/vision/index.html"])
def test_a_page_of_somebody_else_is_never_replaced(tmp_path, name):
    mine = tmp_path / "site" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("somebody's own page")

    with pytest.raises(UsageError, match="is no page of a dashboard"):
        everything(tmp_path)

    assert [path for path in (tmp_path / "site").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "somebody's own page"


def test_the_filter_is_there_only_with_its_script(tmp_path):
    page = everything(tmp_path)["machines/nvidia-l4-x1/vision/index.html"]
    assert re.search(r'<form class="sieve"[^>]* hidden>', page)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def stored(folder, *runs):
    for run in runs:
        (folder / run.id).mkdir()
        write_run(run, folder / run.id)
    assert main(["history", "add", *(str(folder / run.id) for run in runs)]) == 0


def test_the_dashboard_is_written_from_the_default_store(folder, capsys):
    stored(folder, nightly(0), nightly(1, record(CASE, "failed")))

    assert main(["dashboard", "-o", "site"]) == 0

    assert "4 pages over 2 runs: site/index.html" in capsys.readouterr().out
    assert "1 of 1 suites block" in (folder / "site/index.html").read_text()
    assert not (folder / "site/since.html").exists()


def since(folder, name):
    status = main(["dashboard", "-o", "site", "--since", name])
    return (folder / "site/since.html").read_text() if status == 0 else status


def git(folder, *arguments, date="2026-03-02T12:00:00+00:00"):
    who = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "HOME": str(folder)},
    )  # fmt: skip
    return done.stdout.strip()


def test_since_is_a_day_a_run_a_commit_or_a_tag(folder, capsys):
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    git(folder, "tag", "v1")
    released = git(folder, "rev-parse", "HEAD")
    failed = record(CASE, "failed")
    stored(folder, nightly(0), nightly(1, commit=released), nightly(2, failed), nightly(3, failed))

    for name in ("2026-03-03", nightly(1).id, released, released[:8], "v1"):
        assert "1 case worse since" in since(folder, name), name
    for name in ("2026-03-04", nightly(2).id, "0003"):
        assert "Nothing worse since" in since(folder, name), name
    assert since(folder, "v2") == 2
    assert "is no day (YYYY-MM-DD) and no tag" in capsys.readouterr().err


def test_a_tag_of_which_there_is_no_run_counts_by_its_day(folder):
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    git(folder, "tag", "v1")
    stored(folder, nightly(0), nightly(1), nightly(2, record(CASE, "failed")))

    assert "1 case worse since v1" in since(folder, "v1")


def test_without_a_store_or_a_run_in_it_there_is_no_dashboard(folder, capsys):
    assert main(["dashboard", "-o", "site"]) == 2
    assert "there is no store" in capsys.readouterr().err
    stored(folder, replace(nightly(0), records=()))
    capsys.readouterr()
    assert main(["dashboard", "-o", "site"]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (folder / "site").exists()


def test_accepted_runs_are_marked_from_the_baselines_and_damaged_ones_stop_nothing(folder):
    suite = fake_suite(folder)
    harness(folder, "run", suite, "-o", "a", "--store", "s.sqlite")
    harness(folder, "accept", "a", "--reason", "as it <should> be", "--by", "me")

    assert main(["dashboard", "-o", "site", "--store", "s.sqlite"]) == 0
    (page,) = (folder / "site/machines").rglob("index.html")
    assert re.search(
        r'class="accepted"><title>accepted \d{4}-\d\d-\d\d by me: as it &lt;should&gt; be', page.read_text()
    )

    (file,) = (folder / "baselines").glob("*/toy.json")
    file.write_text("damaged")
    assert main(["dashboard", "-o", "site", "--store", "s.sqlite"]) == 0
    assert 'class="accepted"' not in page.read_text()


def test_acknowledged_failures_are_read_from_the_reviewed_file_the_next_to_expire_first(folder):
    stored(folder, nightly(0, record(CASE, "failed")))
    (folder / "baselines").mkdir()
    entry = "{{case: {}, status: error, kind: build, reason: r, issue: i, since: {}, until: {}}}"
    lines = [entry.format(CASE, "2999-01-01", "2999-03-01"), entry.format("s/m/b/fp16/n-1", "1999-01-01", "1999-02-01")]
    (folder / "baselines/acknowledged.yaml").write_text("acknowledged:\n" + "".join(f"- {line}\n" for line in lines))

    assert main(["dashboard", "-o", "site"]) == 0

    words = " ".join(Page((folder / "site/acknowledged.html").read_text()).words)
    assert "2 acknowledged failures" in words
    assert words.index("s/m/b/fp16/n-1") < words.index("expired") < words.index(CASE) < words.index("days left")
    assert "1 expired or soon" in " ".join(Page((folder / "site/index.html").read_text()).words)


def test_an_acknowledgement_holds_to_the_end_of_its_last_day_and_on_its_machine_class_alone(tmp_path):
    groups = [replace(group, machine=name) for group in _groups(tmp_path) for name in ("a", "b")]
    for until, words, tone in (
        ("2026-03-09", "expired 1 day ago", "bad"), ("2026-03-10", "last day", "warn"),
        ("2026-03-11", "1 day left", "warn"), ("2026-03-25", "15 days left", "idle"),
    ):  # fmt: skip
        (line,) = known_lines([replace(KNOWN, until=until, machine="b")], groups, date(2026, 3, 10))
        assert (line.words, line.tone, [name for name, _ in line.found]) == (words, tone, ["b"])
    (line,) = known_lines([KNOWN], groups, date(2026, 3, 10))
    assert [name for name, _ in line.found] == ["a", "b"]


def _groups(folder):
    url = places.url(str(folder / "s.sqlite"))
    with opened(url, make=True) as engine, engine.connect() as connection:
        adding.add(engine, nightly(0), "d")
        return list(state.collect(connection))
