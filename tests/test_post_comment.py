"""The script that posts comments, against a server that answers as GitHub does."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

from builders import check, record, run
from harness.report.comment import comment
from test_pull_request import HOSTILE, changed

SCRIPT = Path(__file__).parents[1] / ".github/actions/comment/post.py"
BOT, PERSON = {"type": "Bot"}, {"type": "User"}
RUN = {
    "id": 7,
    "event": "pull_request",
    "html_url": "https://github.example/o/r/actions/runs/7",
    "head_sha": "a" * 40,
    "head_branch": "fix/a b&state=closed",
    "head_repository": {"owner": {"login": "stranger"}},
    "pull_requests": [],
}


def archive(text: str | bytes, name: str = "comment.md") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, text)
    return made.getvalue()


class GitHub:
    """A repository with pull request 12, artifacts of run 7, and comments."""

    def __init__(self) -> None:
        self.pulls = [{"number": 12, "head": {"sha": "a" * 40}}]
        self.artifacts: dict[str, bytes] = {}
        self.comments: list[dict[str, Any]] = []
        self.sent: list[tuple[str, str, str]] = []
        self.asked: list[str] = []
        self.tokens_elsewhere: list[str] = []
        self.url = ""
        self.refused = ""

    def answer(self, method: str, path: str, body: Any, token: str | None) -> tuple[int, Any]:
        where, _, query = path.partition("?")
        self.asked.append(path)
        if where.startswith("/blob/"):
            self.tokens_elsewhere += [token] if token else []
            return 200, list(self.artifacts.values())[int(where.rpartition("/")[2])]
        assert token == "Bearer secret"
        where = where.removeprefix("/repos/o/r")
        if where == self.refused:
            return 403, {}
        if method != "GET":
            self.sent.append((method, where, body["body"]))
            return 200, {}
        if where == "/pulls":
            return 200, self.pulls
        if where == "/actions/runs/7/artifacts":
            page = int(parse_qs(query).get("page", ["1"])[0])
            listed = list(enumerate(self.artifacts.items()))[100 * (page - 1) : 100 * page]
            return 200, {"artifacts": [{"id": i, "name": name, "size_in_bytes": len(d)} for i, (name, d) in listed]}
        if found := re.fullmatch(r"/actions/artifacts/(\d+)/zip", where):
            return 302, f"{self.url.replace('127.0.0.1', 'localhost')}/blob/{found[1]}"
        assert where == "/issues/12/comments"
        page = int(query.rpartition("=")[2])
        return 200, self.comments[100 * (page - 1) : 100 * page]


@pytest.fixture
def github() -> Iterator[GitHub]:
    fake = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, data = fake.answer(self.command, self.path, body, self.headers.get("Authorization"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", data)
            self.end_headers()
            if status == 200:
                self.wfile.write(data if isinstance(data, bytes) else json.dumps(data).encode())

        do_GET = do_POST = do_PATCH = _any  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield fake
    server.shutdown()
    server.server_close()


def post(github: GitHub, folder: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    (folder / "event.json").write_text(json.dumps({"workflow_run": {**RUN, **changes}}))
    environment = {
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_API_URL": github.url,
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_TOKEN": "secret",
        "no_proxy": "*",
    }
    command = [sys.executable, "-I", SCRIPT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_first_change_makes_one_comment_with_a_link_to_the_report(github: GitHub, tmp_path: Path) -> None:
    body = comment(changed(5))
    github.artifacts = {"harness.html": b"", "harness-comment-harness": archive(body)}

    done = post(github, tmp_path)

    assert (done.returncode, done.stdout) == (0, "harness: commented on 12\n"), done.stderr
    ((method, where, text),) = github.sent
    assert (method, where) == ("POST", "/issues/12/comments")
    assert text.startswith(body)
    assert "[Report](https://github.example/o/r/actions/runs/7/artifacts/0)" in text.removeprefix(body)
    assert github.asked[0].endswith("&head=stranger%3Afix%2Fa%20b%26state%3Dclosed")
    assert github.tokens_elsewhere == []


def test_the_same_again_changes_nothing_and_another_result_updates_it(github: GitHub, tmp_path: Path) -> None:
    others = [{"id": 3, "user": PERSON, "body": "hello"}] * 120
    github.comments = [*others, {"id": 44, "user": BOT, "body": comment(changed(5)) + "\nlink"}]

    github.artifacts = {"harness-comment-harness": archive(comment(changed(5)))}
    assert "says so already" in post(github, tmp_path).stdout
    assert github.sent == []

    github.artifacts = {"harness-comment-harness": archive(comment(changed(0)))}
    assert "is updated" in post(github, tmp_path).stdout
    assert [(method, where) for method, where, _ in github.sent] == [("PATCH", "/issues/comments/44")]


def test_where_nothing_changed_nothing_is_posted(github: GitHub, tmp_path: Path) -> None:
    github.artifacts = {"harness-comment-harness": archive(comment(changed(0)))}
    assert "nothing to tell on 12" in post(github, tmp_path).stdout
    assert github.sent == []


@pytest.mark.parametrize("user", [PERSON, None])
def test_a_comment_that_somebody_else_wrote_is_never_changed(github: GitHub, tmp_path: Path, user: Any) -> None:
    github.comments = [{"id": 44, "user": user, "body": comment(changed(1))}]
    github.artifacts = {"harness-comment-harness": archive(comment(changed(5)))}
    post(github, tmp_path)
    assert [method for method, _, _ in github.sent] == ["POST"]


def test_comments_of_several_jobs_are_kept_apart(github: GitHub, tmp_path: Path) -> None:
    github.comments = [{"id": 44, "user": BOT, "body": comment(changed(1), "gpu")}]
    github.artifacts = {f"harness-comment-{name}": archive(comment(changed(5), name)) for name in ("cpu", "gpu")}
    post(github, tmp_path)
    assert [(method, where) for method, where, _ in github.sent] == [
        ("POST", "/issues/12/comments"),
        ("PATCH", "/issues/comments/44"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "push"},
        {"head_sha": "b" * 40},
        {"head_repository": None},
        {"pull_requests": [{"number": 13}]},
    ],
)
def test_only_the_pull_request_that_github_names_is_written_to(github: GitHub, tmp_path: Path, changes: Any) -> None:
    github.artifacts = {"harness-comment-harness": archive(comment(changed(5)))}
    done = post(github, tmp_path, **changes)
    assert (done.returncode, github.sent) == (0, [])
    assert "nothing is posted" in done.stdout


FIRST = comment(changed(1)).partition("\n")[0]
REFUSED = {
    "another name": comment(changed(1), "other"),
    "no mark": "hello\n",
    "a later mark": f"\n{FIRST}\n",
    "mention": f"{FIRST}\nhello @owner\n",
    "hidden mention": f"{FIRST}\nhello &#64;owner\n",
    "escaped mention": f"{FIRST}\nhello \\@owner\n",
    "issue": f"{FIRST}\nfixes #12\n",
    "link": f"{FIRST}\n[here](/settings)\n",
    "link elsewhere": f"{FIRST}\nhttps://evil.example\n",
    "link behind an underscore": f"{FIRST}\n_www.evil.example\n",
    "issue behind an underscore": f"{FIRST}\n_GH-12\n",
    "address": f"{FIRST}\na@-evil.example\n",
    "reference": f"{FIRST}\n[here][1]\n\n[1]: //evil.example\n",
    "image": f"{FIRST}\n![x](//evil.example)\n",
    "html": f"{FIRST}\n<img src=x>\n",
    "attribute": f"{FIRST}\n<code onclick=x>\n",
    "turned text": f"{FIRST}\ngnp\u202e\n",
    "open fence": f"{FIRST}\n```\n",
    "another fence": f"{FIRST}\n~~~\n",
    "open fold": f"{FIRST}\n<details><summary>all is well</summary>\n",
    "terminal": f"{FIRST}\n\x1b[2J\n",
    "long": f"{FIRST}\n{'a' * 60_000}\n",
    "no text": FIRST.encode() + b"\n\xff\n",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_a_text_that_the_harness_never_writes_is_not_posted(github: GitHub, tmp_path: Path, text: str) -> None:
    github.artifacts = {"harness-comment-harness": archive(text)}
    done = post(github, tmp_path)
    assert (done.returncode, github.sent) == (1, [])
    assert "not posted:" in done.stderr
    assert "Traceback" not in done.stderr


def damaged(compression: int) -> bytes:
    """An archive whose directory is sound and whose content is none."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        file.writestr("comment.md", comment(changed(5)))
    data = bytearray(made.getvalue())
    data[42:90] = b"\xff" * 48
    return bytes(data)


ARCHIVES = {
    **{f"damaged {number}": damaged(number) for number in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)},
    "empty": archive("")[-22:],
    "no archive": b"PK\x03\x04" * 100,
    "too large": bytes(300_000),
    "a bomb": archive(FIRST + "\n" + "a" * 100_000_000),
    "another file": archive(comment(changed(1)), "../../comment.md"),
}


@pytest.mark.parametrize("data", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_an_archive_that_is_none_is_not_posted(github: GitHub, tmp_path: Path, data: bytes) -> None:
    github.artifacts = {"harness-comment-harness": data}
    done = post(github, tmp_path)
    assert (done.returncode, github.sent) == (1, [])
    assert "Traceback" not in done.stderr


def test_one_that_is_refused_does_not_keep_the_others_from_being_posted(github: GitHub, tmp_path: Path) -> None:
    github.artifacts = {"harness-comment-a": damaged(zipfile.ZIP_LZMA)}
    github.artifacts |= {f"harness-comment-b{n}": archive(comment(changed(5), f"b{n}")) for n in range(11)}
    done = post(github, tmp_path)
    assert done.returncode == 1
    assert [text.split()[2] for _, _, text in github.sent] == [f"b{n}" for n in range(9)]
    assert [line.partition(":")[0].removeprefix("harness-comment-") for line in done.stderr.splitlines()] == [
        "a", "b9", "b10"
    ]  # fmt: skip


def test_what_github_refuses_is_told_and_no_traceback(github: GitHub, tmp_path: Path) -> None:
    github.artifacts = {"harness-comment-harness": archive(comment(changed(5)))}
    github.refused = "/issues/12/comments"
    done = post(github, tmp_path)
    assert (done.returncode, github.sent) == (1, [])
    assert done.stderr == "harness-comment-harness: not posted: HTTP Error 403: Forbidden\n"


def test_the_comment_is_found_among_many_artifacts(github: GitHub, tmp_path: Path) -> None:
    github.artifacts = {f"log-{n}": b"" for n in range(250)} | {"harness-comment-harness": archive(comment(changed(5)))}
    assert "commented on 12" in post(github, tmp_path).stdout


NEAR = "_www.evil.example *www.evil.example _GH-7 a@-b.example _http://evil.example"


@pytest.mark.parametrize(
    "text", [HOSTILE, HOSTILE.swapcase(), NEAR, "".join(map(chr, range(32, 0x250))), "\\@a \\[x](y)"]
)
def test_whatever_names_a_run_holds_its_comment_is_taken(github: GitHub, tmp_path: Path, text: str) -> None:
    bad = check(text, 2.0, 1.0, ok=False, reason=text)
    body = comment(run(record(f"s/{text}/fake/fp32/static", "failed", headline=text, checks=(bad,))))
    github.artifacts = {"harness-comment-harness": archive(body)}
    done = post(github, tmp_path)
    assert "commented on 12" in done.stdout, done.stderr
