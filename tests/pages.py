"""The packed data of a report, as its script unpacks it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any


def unpacked(text: str, id_: str) -> Any:
    found = re.findall(rf'id="{id_}">(.*?)</script>', text)[0]
    return json.loads(zlib.decompress(base64.b64decode(found)))


def index(text: str) -> dict[str, Any]:
    return unpacked(text, "index")


def index_rows(text: str) -> list[dict[str, Any]]:
    found = index(text)
    return [dict(zip(found["fields"]["rows"], values, strict=True)) for values in found["rows"]]


def details(text: str) -> list[list[dict[str, Any]]]:
    return [unpacked(text, f"chunk-{at}") for at in range(text.count('id="chunk-'))]
