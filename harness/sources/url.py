"""Models from the network: https only, verified while they stream, kept by their digest."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import InputError
from harness.records import Source
from harness.sources import Fetched
from harness.sources.digest import file_digest, model_digest

OpenUrl = Callable[[str], Any]
"""Opens an address; the response is a context manager with `read(n)` and `headers`."""
MAX_BYTES = 20 * 2**30
"""A download that grows beyond this is stopped."""
_BLOCK = 2**20
_TIMEOUT_S = 60.0


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as they stay on https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_https(address: str) -> Any:
    """The response of an https address; raises what urllib raises."""
    request = urllib.request.Request(address, headers={"User-Agent": "trt-harness"})  # noqa: S310 - checked by the caller
    return urllib.request.build_opener(_HttpsOnly).open(request, timeout=_TIMEOUT_S)


def url(source: Source, cache: Path, open_url: OpenUrl = open_https, max_bytes: int = MAX_BYTES) -> Fetched:
    """The model at an https address, kept in `cache`/downloads; InputError when it cannot be had or is another one."""
    wanted = _checked(source)
    model = cache / "downloads" / f"{wanted}.onnx"
    if not (model.is_file() and file_digest(model) == wanted):
        _download(source.path, wanted, model, open_url, max_bytes)
    return Fetched(model=model, sha256=model_digest(model))


def _checked(source: Source) -> str:
    if not source.path.lower().startswith("https://"):
        raise InputError(f"{source.path}: only https addresses are fetched")
    wanted = (source.sha256 or "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise InputError(f"{source.path}: a downloaded model needs its sha256 (64 hexadecimal digits) in the suite")
    return wanted


def _download(address: str, wanted: str, target: Path, open_url: OpenUrl, max_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            found = _stream(address, stream, open_url, max_bytes)
        if found != wanted:
            raise InputError(
                f"{address}: the SHA-256 of what came is {found}, the suite says {wanted}; "
                "correct the address, or the suite if the change is meant"
            )
        Path(name).replace(target)
    except urllib.error.HTTPError as error:
        raise InputError(f"{address}: the server answered {error.code} {error.reason}; check the address") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise InputError(f"{address}: cannot be fetched: {reason}; check the network and try again") from None
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _stream(address: str, stream: BinaryIO, open_url: OpenUrl, max_bytes: int) -> str:
    digest, size = hashlib.sha256(), 0
    with open_url(address) as response:
        announced = response.headers.get("Content-Length") or "0"
        while block := response.read(_BLOCK):
            size += len(block)
            if max(size, int(announced) if announced.isdigit() else 0) > max_bytes:
                raise InputError(
                    f"{address}: is larger than {max_bytes / 2**30:.3g} GiB; fetch it yourself, use the file"
                )
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()
