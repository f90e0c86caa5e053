"""A visitor without a browser, who can send the page anything: public and private events, with any arguments."""

from __future__ import annotations

import copy
import json
import re
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
        self.components = config["components"]
        self.names = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
        self.kinds = {c["id"]: c["type"] for c in config["components"]}
        self.events = config["dependencies"]
        kind = next(c for c in config["components"] if c["props"].get("elem_id") == "kind")
        self.first_model = kind["props"]["value"]

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a file; what an event is given for it."""
        with path.open("rb") as file:
            answer = self.http.post("/upload", files={"files": (path.name, file)})
        answer.raise_for_status()
        return given(answer.json()[0], path.name)

    def send(self, element: str, event: str, *values: Any, event_data: Any = None) -> dict[str, Any]:
        """Send the event of an element, with values for its inputs that are no state.

        Returns what each component was last set to, by its element's name.

        Raises `Told` with the sentence where the page refuses.
        """
        found = self._event(element, event)
        event_id = self._join(found, values, event_data)
        last: list[Any] = []
        outputs: dict[str, Any] = {}
        with self.http.stream("GET", "/queue/data", params={"session_hash": self.session}) as news:
            for line in news.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") != event_id or "output" not in message:
                    continue
                if not message["success"]:
                    raise Told(str(message["output"].get("error")))
                data = message["output"].get("data") or []
                if message["msg"] == "process_generating" and last:
                    last = [changed(old, edits) for old, edits in zip(last, data, strict=True)]
                else:
                    last = data
                for component, value in zip(found["outputs"], last, strict=False):
                    if not (isinstance(value, dict) and value.get("__type__") == "update" and "value" not in value):
                        is_update = isinstance(value, dict) and value.get("__type__") == "update"
                        outputs[self.names.get(component) or ""] = value["value"] if is_update else value
                if message["msg"] == "process_completed":
                    break
        for name, value in outputs.items():
            if isinstance(value, str) and 'class="bad"' in value:
                raise Told(" ".join(re.findall(r'<p class="bad">(.*?)</p>', value)) or name)
        return {n: json.loads(v) if v and n.endswith("viewer") else v for n, v in outputs.items()}

    def cancel(self, element: str, button: str, *values: Any) -> None:
        """Click an element and, once it gave news, the button that cancels it, as a browser does."""
        found = self._event(element, "click")
        event_id = self._join(found, values)
        stopped = self._event(button, "click")
        body = {"fn_index": stopped["id"], "session_hash": self.session, "data": [None] * len(stopped["inputs"])}
        asked = False
        with self.http.stream("GET", "/queue/data", params={"session_hash": self.session}) as news:
            for line in news.iter_lines():
                if event_id in line and '"process_generating"' in line and not asked:
                    self.http.post("/run/predict", json=body).raise_for_status()
                    asked = True
                if event_id in line and '"process_completed"' in line:
                    return

    def choices(self, element: str) -> list[str]:
        """What can be chosen in a group of boxes."""
        found = next(c for c in self.components if self.names[c["id"]] == element)
        return [value for _, value in found["props"]["choices"]]

    def take(self, file: dict[str, Any]) -> int:
        """Download a file that the page offers; its bytes."""
        return len(self.http.get(f"/file={file['path']}").raise_for_status().content)

    def _event(self, element: str, event: str) -> dict[str, Any]:
        """An event of the server's."""
        return next(
            e
            for e in self.events
            if e["backend_fn"] and any(self.names.get(t) == element and name == event for t, name in e["targets"])
        )

    def _join(self, found: dict[str, Any], values: Any, event_data: Any = None) -> str:
        left = list(values)
        data = [None if self.kinds[i] == "state" else left.pop(0) for i in found["inputs"]]
        body = {"fn_index": found["id"], "session_hash": self.session, "data": data, "event_data": event_data}
        return str(self.http.post("/queue/join", json=body).raise_for_status().json()["event_id"])


def changed(value: Any, edits: list[tuple[str, list, Any]]) -> Any:
    """A value as Gradio's differences to the one before make it."""
    value = copy.deepcopy(value)
    for action, path, new in edits:
        if not path:
            value = value + new if action == "append" else new
            continue
        place = value
        for step in path[:-1]:
            place = place[step]
        if action == "delete":
            del place[path[-1]]
        elif action == "append":
            place[path[-1]] += new
        elif action == "add" and isinstance(place, list):
            place.insert(path[-1], new)
        else:
            place[path[-1]] = new
    return value


def given(path: str, name: str = "file") -> dict[str, Any]:
    """What an event is given for a file at a path on the server."""
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
