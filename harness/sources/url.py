"""Models from the network: https only, verified while they stream, kept by their digest; a cut download goes on later.

What came so far stays in `<cache>/downloads/<digest>.part`, with what the server said of it in `.from` beside it. The
next attempt asks for the rest (RFC 9110, Range and If-Range): a server whose file has changed sends it whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedRandom, BufferedWriter
from pathlib import Path
from time import sleep
from typing import IO, Any

from harness import artefacts
from harness.errors import InputError
from harness.records import Source
from harness.sources import Fetched
from harness.sources.digest import file_digest, model_digest

OpenUrl = Callable[[str, Mapping[str, str]], Any]
"""Opens an address with headers; the response is a context manager with `read(n)`, `status` and `headers`."""
MAX_BYTES = 20 * 2**30
"""A download that grows beyond this is stopped."""
ATTEMPTS = 4
"""How often a download is begun or gone on with in one run."""
PAUSE_S = 1.0
"""Before the second attempt; before each further one twice as long."""
_BLOCK = 2**20
_POLL_S = 0.1
_TIMEOUT_S = 60.0
_REFUSED = 416
"""Range Not Satisfiable."""
_PART = 206
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as they stay on https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Cut(Exception):
    """The connection ended before the file did."""


def open_https(address: str, headers: Mapping[str, str]) -> Any:
    """The response of an https address; raises what urllib raises."""
    told = {"User-Agent": "trt-harness", "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(address, headers=told)  # noqa: S310 - checked by the caller
    return urllib.request.build_opener(_HttpsOnly).open(request, timeout=_TIMEOUT_S)


def url(
    source: Source,
    cache: Path,
    open_url: OpenUrl = open_https,
    max_bytes: int = MAX_BYTES,
    pause: Callable[[float], None] = sleep,
) -> Fetched:
    """The model at an https address, kept in `cache`/downloads; InputError when it cannot be had or is another one."""
    wanted = _checked(source)
    model = cache / "downloads" / f"{wanted}.onnx"
    if not _is_there(model, wanted):
        model.parent.mkdir(parents=True, exist_ok=True)
        with _alone(model.with_suffix(".part")) as part:
            if not _is_there(model, wanted):  # another process may have fetched it meanwhile
                _Download(source.path, wanted, part, open_url, max_bytes).fetch(pause)
                part.replace(model)
    artefacts.use(model)  # not before: until then it is locked as the partial file
    return Fetched(model=model, sha256=model_digest(model))


def _is_there(model: Path, wanted: str) -> bool:
    return model.is_file() and file_digest(model) == wanted


def _checked(source: Source) -> str:
    if not source.path.lower().startswith("https://"):
        raise InputError(f"{source.path}: only https addresses are fetched")
    wanted = (source.sha256 or "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise InputError(f"{source.path}: a downloaded model needs its sha256 (64 hexadecimal digits) in the suite")
    return wanted


@contextmanager
def _alone(part: Path) -> Iterator[Path]:
    """The partial file, which nobody else of this machine writes to meanwhile; an empty one does not stay."""
    handle = _locked(part)
    try:
        yield part
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()
        if not part.exists():
            part.with_suffix(".from").unlink(missing_ok=True)
        handle.close()


def _locked(part: Path) -> IO[bytes]:
    """The partial file, locked; not the file that another process made of it meanwhile, which is locked as in use."""
    while True:
        handle = part.open("ab")
        free = _lock(handle)
        if free and part.exists() and part.stat().st_ino == os.fstat(handle.fileno()).st_ino:
            return handle
        handle.close()
        if not free:
            sleep(_POLL_S)


def _lock(handle: IO[bytes]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


class _Download:
    """One file on its way: asked for as often as the connection is cut, judged when it is whole."""

    def __init__(self, address: str, wanted: str, part: Path, open_url: OpenUrl, max_bytes: int) -> None:
        self._address, self._wanted, self._part = address, wanted, part
        self._open, self._max_bytes = open_url, max_bytes
        self._from = part.with_suffix(".from")

    def fetch(self, pause: Callable[[float], None]) -> None:
        """Make the partial file whole; InputError when that cannot be done now, or it is another file."""
        try:
            found, resumed = self._whole(pause)
            if found != self._wanted and resumed:  # what came earlier may be of another file
                self._drop()
                found, _ = self._whole(pause)
        except urllib.error.HTTPError as error:
            self._fail(f"the server answered {error.code} {error.reason}; check the address")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            self._fail(f"cannot be fetched: {reason}; check the network and try again")
        if found != self._wanted:
            self._drop()
            self._fail(
                f"the SHA-256 of what came is {found}, the suite says {self._wanted}; correct the address, or the "
                "suite if the change is meant"
            )

    def _drop(self) -> None:
        os.truncate(self._part, 0)  # not removed: it is what others wait for

    def _fail(self, why: str) -> None:
        raise InputError(f"{self._address}: {why}") from None

    def _whole(self, pause: Callable[[float], None]) -> tuple[str, bool]:
        """The digest of the whole file, and whether some of it was there before."""
        resumed = self._part.stat().st_size > 0
        for attempt in range(ATTEMPTS):
            if attempt:
                pause(PAUSE_S * 2 ** (attempt - 1))
            try:
                return self._ask(), resumed
            except _Cut as cut:
                why = cut
        raise OSError(f"{why}: what came is kept")

    def _ask(self) -> str:
        """Ask for what is missing and write it; the digest of all. Raises _Cut, and what urllib raises."""
        start = self._part.stat().st_size
        try:
            opened = self._open(self._address, self._headers(start))
        except urllib.error.HTTPError as error:
            if error.code != _REFUSED or not start:
                raise
            self._drop()  # it has no such part: what is here is of another file, or more than all of it
            raise _Cut("the server has no more of it than came before") from None
        with opened as response:
            going_on = bool(start) and response.status == _PART
            start = start if going_on else 0
            total = self._total(response, start, going_on=going_on)
            self._from.write_text(json.dumps(_validators(response.headers)), "utf-8")
            with self._part.open("r+b") if going_on else self._part.open("wb") as stream:
                return self._stream(response, stream, total)

    def _headers(self, start: int) -> dict[str, str]:
        if not start:
            return {}
        with suppress(OSError, ValueError):
            told = json.loads(self._from.read_text("utf-8"))
            if isinstance(told, dict) and told.get("validator"):
                return {"Range": f"bytes={start}-", "If-Range": str(told["validator"])}
        return {"Range": f"bytes={start}-"}  # whether it is the same file its digest will tell

    def _total(self, response: Any, start: int, *, going_on: bool) -> int | None:
        """The size of the whole file, where the server tells it; InputError where it lies or is too much."""
        length = response.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdigit() else None
        if going_on:
            told = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
            if told is None or int(told[1]) != start:
                self._drop()
                self._fail(f"the server was asked for what follows byte {start} and sent something else; try again")
            elif told[2] != "*":
                total = int(told[2])
        self._bound(total or 0)
        return total

    def _stream(self, response: Any, stream: BufferedRandom | BufferedWriter, total: int | None) -> str:
        digest = hashlib.file_digest(stream, "sha256") if isinstance(stream, BufferedRandom) else hashlib.sha256()
        size = stream.tell()
        while block := self._read(response, size):
            size += len(block)
            self._bound(size)
            digest.update(block)
            stream.write(block)
        if total is not None and size < total:
            raise _Cut(f"the connection was cut after {size} of {total} bytes")
        return digest.hexdigest()

    def _read(self, response: Any, size: int) -> bytes:
        try:
            block: bytes = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise _Cut(f"the connection was cut after {size} bytes ({why})") from None
        return block

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            self._drop()
            self._fail(f"is larger than {self._max_bytes / 2**30:.3g} GiB; fetch it yourself, use the file")


def _validators(headers: Any) -> dict[str, str | None]:
    """What tells later whether the file on the server is still the same: its strong ETag, or its date."""
    tag = headers.get("ETag") or ""
    return {"validator": tag if tag.startswith('"') else headers.get("Last-Modified")}
