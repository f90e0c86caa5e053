"""A server that speaks as the Hub does, for a record that is written there and models that are read from there."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import unquote

from tests.data.test_publish import Hub as Written


class Hub(Written):
    """One repository, whose files are given back by their names; commits may delete some."""

    def do_HEAD(self):
        self.give()

    def do_GET(self):
        if "/resolve/" in self.path:
            return self.give()
        if "/tree/" in self.path:
            return super().do_GET()
        siblings = [{"rfilename": name} for name in sorted(self.server.files)]
        return self.answer(200, {"sha": self.server.commit, "siblings": siblings, "id": "me/record"})

    def do_POST(self):
        if "/commit/" in self.path:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.rfile = _Again(body)
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "deletedFile":
                    self.server.files.pop(entry["value"]["path"], None)
            self.server.commits += 1
        return super().do_POST()

    def give(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        name = unquote(self.path.partition("/resolve/")[2].partition("/")[2])
        data = None if self.server.refuses else self.server.files.get(name)
        self.send_response(401 if self.server.refuses else 404 if data is None else 200)
        if data is None:
            self.send_header("X-Error-Code", "RepoNotFound" if self.server.refuses else "EntryNotFound")
        self.send_header("X-Repo-Commit", self.server.commit)
        self.send_header("ETag", f'"{hashlib.sha1(data or b"").hexdigest()}"')
        self.send_header("Content-Length", str(self.server.sizes.get(name, len(data or b""))))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data or b"")


class _Again:
    """A body that was read already."""

    def __init__(self, body: bytes):
        self.body = body

    def read(self, *_: object) -> bytes:
        return self.body

    def readline(self, *_: object) -> bytes:
        return b""

    def close(self) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The server, with what it holds and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.lfs: dict[str, bytes] = {}
        self.large: set[str] = set()
        self.sizes: dict[str, int] = {}  # where it says another one than a file has
        self.asked: list[tuple[str, str | None]] = []
        self.refuses, self.spoils, self.commits = False, "", 0

    @property
    def commit(self) -> str:
        """Of the newest state."""
        return f"{self.commits + 1:040x}"


@contextmanager
def hub_server() -> Iterator[Server]:
    """It, running."""
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
