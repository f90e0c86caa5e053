"""The download against a local server that breaks off, lies and refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest

from glioma_hf import InputError
from glioma_hf.data.sources.download import download, find_remote

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(BaseHTTPRequestHandler):
    """Serves a Zenodo-like record and its file; `plan` holds how many bytes each request may get."""

    plan: ClassVar[list[int]]
    ranges: ClassVar[list[str | None]]
    ignore_range = False
    content = CONTENT

    def do_GET(self):
        if self.path == "/record":
            entry = {
                "key": "dataset.zip",
                "size": len(CONTENT),
                "checksum": "md5:" + hashlib.md5(CONTENT).hexdigest(),
                "links": {"self": f"http://127.0.0.1:{self.server.server_port}/file"},
            }
            return self.answer(200, json.dumps({"files": [entry]}).encode())
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted[6:-1]) if wanted and not self.ignore_range else 0
        most = self.plan.pop(0) if self.plan else len(self.content)
        self.answer(206 if start else 200, self.content[start:], most)
        return None

    def answer(self, status: int, body: bytes, most: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:most])
        if most is not None and most < len(body):
            self.close_connection = True

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def record():
    Server.plan, Server.ranges, Server.ignore_range, Server.content = [], [], False, CONTENT
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/record"
    server.shutdown()
    server.server_close()


def test_whole_file_with_progress_and_no_repeat(record, tmp_path):
    seen: list[tuple[float, float]] = []
    remote = find_remote(record)
    path = download(remote, tmp_path / "a" / "dataset.zip", lambda news: seen.append((news.done, news.total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    download(remote, path)
    assert len(Server.ranges) == 1
    assert [p.name for p in path.parent.iterdir()] == ["dataset.zip"]


def test_a_connection_that_breaks_off_is_gone_on_with(record, tmp_path):
    Server.plan = [1_000_000, 700_000]
    assert download(find_remote(record), tmp_path / "d.zip", wait=0).read_bytes() == CONTENT
    assert Server.ranges == [None, "bytes=1000000-", "bytes=1700000-"]


def test_a_run_that_gave_up_is_gone_on_with_by_the_next(record, tmp_path):
    Server.plan = [1_000_000, *[0] * 9]
    with pytest.raises(InputError, match=r"stopped after 1000000 of 3000000 bytes.*run it again to go on"):
        download(find_remote(record), tmp_path / "d.zip", wait=0)
    assert not (tmp_path / "d.zip").exists()
    Server.plan = []
    assert download(find_remote(record), tmp_path / "d.zip", wait=0).read_bytes() == CONTENT
    assert Server.ranges[-1] == "bytes=1000000-"


def test_a_server_without_ranges_starts_anew(record, tmp_path):
    Server.plan, Server.ignore_range = [1_000_000], True
    assert download(find_remote(record), tmp_path / "d.zip", wait=0).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_removed(record, tmp_path):
    remote = find_remote(record)
    Server.content = bytes(len(CONTENT))
    with pytest.raises(InputError, match="isn't what the record describes"):
        download(remote, tmp_path / "d.zip")
    assert list(tmp_path.iterdir()) == []


def test_unreachable_and_odd_records(record, tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        find_remote("http://127.0.0.1:9/record")
    with pytest.raises(InputError, match=r"doesn't list other\.zip"):
        find_remote(record, "other.zip")
    with pytest.raises(InputError, match="can't be written"):
        download(find_remote(record), "/proc/nowhere/d.zip")
