"""A visitor without a browser, who can send the page anything: public and private events, with any arguments."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx


class Told(Exception):
    """The sentence by which the page answered."""


class Visitor:
    """One visitor of the page at an address."""

    def __init__(self, address: str):
        self.address = address
        self.http = httpx.Client(base_url=f"{address}/gradio_api", timeout=300)
        self.session = secrets.token_hex(8)
        config = httpx.get(f"{address}/config", timeout=60).json()
        self.names = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
        self.kinds = {c["id"]: c["type"] for c in config["components"]}
        self.events = config["dependencies"]

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a file; what an event is given for it."""
        with path.open("rb") as file:
            answer = self.http.post("/upload", files={"files": (path.name, file)})
        answer.raise_for_status()
        return given(answer.json()[0], path.name)

    def send(self, element: str, event: str, *values: Any, event_data: Any = None) -> list[Any]:
        """Send the event of an element, with values for its inputs that are no state; returns its last outputs.

        Raises `Told` with the sentence where the page refuses.
        """
        found = next(
            e for e in self.events if any(self.names.get(t) == element and name == event for t, name in e["targets"])
        )
        left = list(values)
        data = [None if self.kinds[i] == "state" else left.pop(0) for i in found["inputs"]]
        body = {"fn_index": found["id"], "session_hash": self.session, "data": data, "event_data": event_data}
        self.http.post("/queue/join", json=body).raise_for_status()
        outputs: list[Any] = []
        with self.http.stream("GET", "/queue/data", params={"session_hash": self.session}) as news:
            for line in news.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise Told(str(message["output"].get("error")))
                    outputs = message["output"].get("data") or outputs
                    return outputs
                if message["msg"] == "process_generating" and message["success"]:
                    outputs = message["output"]["data"]
        raise AssertionError("the page broke off")


def given(path: str, name: str = "file") -> dict[str, Any]:
    """What an event is given for a file at a path on the server."""
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
