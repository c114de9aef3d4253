"""A server on this machine that sends a model over https, and breaks in the way it is told."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from faults.place import Place

WAYS = ("whole", "cut-once", "cut", "longer", "shorter", "other", "broken", "stall", "endless", "away")


def certificate(folder: Path) -> None:
    """Write `server.pem`, key and certificate of localhost for some days."""
    both = ["-keyout", "server.pem", "-out", "cert.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", *both],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


@contextmanager
def serving(place: Place, way: str) -> Iterator[list[str]]:
    """Serve the small model while this holds, in one of WAYS; gives what was asked for, by its Range header."""
    content = (place.project / "small.onnx").read_bytes()
    asked: list[str] = []
    ended = threading.Event()
    server = ThreadingHTTPServer(("localhost", 0), _handler(way, content, asked, ended))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place.folder / "cert.pem", place.folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # it is meant to break
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    suite = place.project / "url.yaml"
    text = re.sub(r"localhost:\w+", f"localhost:{server.server_port}", suite.read_text())
    suite.write_text(text.replace("SHA256", hashlib.sha256(content).hexdigest()))
    place.variables["SSL_CERT_FILE"] = str(place.folder / "cert.pem")
    try:
        yield asked
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def _handler(way: str, content: bytes, asked: list[str], ended: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first = not asked
            asked.append(self.headers.get("Range", ""))
            start = int(asked[-1].removeprefix("bytes=").rstrip("-") or 0)
            body = content[start:]
            if way == "broken":
                return self.send_error(500)
            if way == "away":
                return self._head(302, 0, {"Location": "http://localhost/far.onnx"})
            body = body[::-1] if way == "other" else body
            told = {"longer": len(body) + 1000, "shorter": len(body) - 10, "endless": 1 << 50}.get(way, len(body))
            total = start + told
            more = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
            self._head(206 if start else 200, told, more)
            if way == "cut" or (way == "cut-once" and first):
                body = body[: len(body) // 2]
            if way == "stall":
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                ended.wait(30)
                return None
            self.wfile.write(body)
            return None

        def _head(self, status: int, length: int, more: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(length), "ETag": '"1"', **more}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
