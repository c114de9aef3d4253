"""Posts the comments that a finished workflow run left as artifacts on its pull request.

The run was of code that nobody has reviewed. So nothing of its artifacts is executed, unpacked to disk or believed: the
pull request is found by what GitHub itself says of the run, and a text that is not what `harness comment` writes (no
link, no mention, no HTML but its own) is not posted. Needs Python alone.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import unicodedata
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

ARTIFACT = re.compile(r"harness-comment-([A-Za-z0-9][A-Za-z0-9._-]{0,59})")
FIRST = re.compile(r"<!-- trt-harness ([A-Za-z0-9._-]{1,60}) ([0-9a-f]{16}) (always|update) -->")
MOST_BYTES, MOST_ARCHIVE_BYTES, MOST_COMMENTS = 60_000, 200_000, 10
_WRITTEN = re.compile(r"\\[\\`*_|~\[\]!]|&(?:lt|gt|amp|#8203|#58|#46);|</?(?:code|details|summary)>")
"""What the harness writes of Markdown and HTML around foreign text."""
_NEVER = re.compile(r"[<&\\]|\w://|www\.|@[\w.-]|#\d|GH-\d|\]\(|\]\[|\]:|!\[|```|~~~", re.IGNORECASE)
"""What it never writes: other HTML, links, images, mentions, issues, and code that would swallow what stands behind."""


class GitHub:
    """The interface of GitHub, as far as it is needed."""

    def __init__(self, url: str, repository: str, token: str) -> None:
        self._base = f"{url}/repos/{repository}"
        self._token = token

    def get(self, path: str) -> Any:
        """The JSON behind a path of the repository."""
        return json.loads(self._ask("GET", path))

    def archive(self, artifact: int) -> bytes:
        """The first bytes of an artifact's archive, one more than may be."""
        return self._ask("GET", f"/actions/artifacts/{artifact}/zip", most=MOST_ARCHIVE_BYTES + 1)

    def send(self, method: str, path: str, body: str) -> None:
        """Make or change a comment."""
        self._ask(method, path, json.dumps({"body": body}).encode())

    def _ask(self, method: str, path: str, data: bytes | None = None, most: int = -1) -> bytes:
        request = Request(self._base + path, data, {"Accept": "application/vnd.github+json"}, method=method)  # noqa: S310
        # archives are behind a redirection to another host, which must not see the token
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            read: bytes = answer.read(most)
        return read


def main() -> int:
    """Post what the run of the event left; the exit status."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))
    github = GitHub(os.environ["GITHUB_API_URL"], os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_TOKEN"])
    run = event["workflow_run"]
    numbers = pull_requests(github, run) if run["event"] == "pull_request" else []
    if not numbers:
        print("nothing is posted: the run is not of the newest commit of an open pull request")
        return 0
    latest = {one["name"]: one for one in sorted(artifacts(github, int(run["id"])), key=lambda one: int(one["id"]))}
    wrong = 0
    for place, found in enumerate(found for found in map(ARTIFACT.fullmatch, latest) if found):
        name, artifact = found[1], latest[found[0]]
        try:
            if place >= MOST_COMMENTS:
                raise ValueError(f"a run has {MOST_COMMENTS} comments at most")
            body = text(github, artifact, name)
            for number in numbers:
                print(f"{name}: {post(github, number, name, body, link(run, latest.get(f'{name}.html')))}")
        except (
            ValueError,
            OSError,
        ) as error:  # OSError: GitHub refuses or does not answer; the others come all the same
            print(f"{found[0]}: not posted: {error}", file=sys.stderr)
            wrong = 1
    return wrong


def artifacts(github: GitHub, run: int) -> list[Any]:
    """What a run left, at most 3000 artifacts."""
    found: list[Any] = []
    for page in range(1, 31):
        more = github.get(f"/actions/runs/{run}/artifacts?per_page=100&page={page}")["artifacts"]
        found += more
        if len(more) < 100:
            break
    return found


def pull_requests(github: GitHub, run: Any) -> list[int]:
    """Open pull requests whose newest commit the run was of; GitHub says it, not the run."""
    head = run["head_repository"]
    if not head:
        return []
    branch = quote(f"{head['owner']['login']}:{run['head_branch']}", safe="")
    found = github.get(f"/pulls?state=open&per_page=100&head={branch}")
    of_commit = [int(one["number"]) for one in found if one["head"]["sha"] == run["head_sha"]]
    named = {int(one["number"]) for one in run["pull_requests"]}  # empty where it comes from a fork
    return [number for number in of_commit if number in named or not named]


def text(github: GitHub, artifact: Any, name: str) -> str:
    """The comment in an artifact; ValueError where it is not one that the harness wrote under this name."""
    if artifact["size_in_bytes"] > MOST_ARCHIVE_BYTES:
        raise ValueError("the archive is too large")
    data = github.archive(int(artifact["id"]))
    if len(data) > MOST_ARCHIVE_BYTES:
        raise ValueError("the archive is too large")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            with archive.open(names[0]) as file:
                body = file.read(MOST_BYTES + 1)
    except Exception as error:  # each kind of compression has errors of its own
        raise ValueError(f"the archive cannot be read: {error}") from error
    if names != ["comment.md"]:
        raise ValueError("the archive does not hold comment.md alone")
    return checked(body, name)


def checked(data: bytes, name: str) -> str:
    """The text, if it has the shape of what `harness comment` writes; ValueError says what is wrong."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"longer than {MOST_BYTES} bytes")
    body = data.decode("utf-8")
    first, _, rest = body.partition("\n")
    found = FIRST.fullmatch(first)
    if not found or found[1] != name:
        raise ValueError("the first line is not the mark of this comment")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs"} for char in rest if char != "\n"):
        raise ValueError("invisible characters")
    if odd := _NEVER.search(_WRITTEN.sub(" ", rest)):
        raise ValueError(f"holds what the harness never writes: {odd[0]!r}")
    if rest.count("<details>") != rest.count("</details>"):
        raise ValueError("would fold what stands behind it")
    return body


def link(run: Any, report: Any) -> str:
    """A line with addresses that GitHub made."""
    page = str(run["html_url"])
    words = f"[Report]({page}/artifacts/{int(report['id'])}) · " if report else ""
    return f"\n{words}[job, its summary and all results]({page})\n"


def post(github: GitHub, number: int, name: str, body: str, more: str) -> str:
    """Make the comment, change the one that stands, or leave it; says which."""
    digest, when = FIRST.fullmatch(body.partition("\n")[0]).groups()[1:]  # type: ignore[union-attr]
    for page in range(1, 31):
        comments = github.get(f"/issues/{number}/comments?per_page=100&page={page}")
        for one in comments:
            stands = FIRST.match(one["body"] or "")
            if one["user"] and one["user"]["type"] == "Bot" and stands and stands[1] == name:
                if stands[2] == digest:
                    return f"the comment on {number} says so already"
                github.send("PATCH", f"/issues/comments/{int(one['id'])}", body + more)
                return f"the comment on {number} is updated"
        if len(comments) < 100:
            break
    if when == "update":
        return f"nothing to tell on {number}"
    github.send("POST", f"/issues/{number}/comments", body + more)
    return f"commented on {number}"


if __name__ == "__main__":
    sys.exit(main())
