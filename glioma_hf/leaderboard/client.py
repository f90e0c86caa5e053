"""Taking part from a program: the other side of a leaderboard's API."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import httpx

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.words import RECEIVED, SCORING


def send(
    url: str,
    name: str,
    password: str,
    file: str | Path | None,
    task: str,
    model: str,
    kind: str = "results",
    wait: bool = False,
    by_name: str = "",
) -> dict[str, Any]:
    """Send a file; what became of it: `id`, `state`, `told` and more.

    Args:
        url: of the leaderboard.
        name, password: of the account there.
        file, task, kind: see `submissions.submit`.
        model: what it is called.
        by_name: a model's name in place of a file.
        wait: until it is scored, or failed.

    Raises `InputError` where the leaderboard refuses or isn't reached.
    """
    try:
        with httpx.Client(base_url=url, timeout=600) as client, contextlib.ExitStack() as held:
            word = _answer(client.post("/api/log-in", json={"name": name, "password": password}))["word"]
            client.headers["authorization"] = f"Bearer {word}"
            fields = {"task": task, "model": model, "kind": kind, "by_name": by_name}
            files = None if file is None else {"file": (Path(file).name, held.enter_context(Path(file).open("rb")))}
            sent: dict[str, Any] = _answer(client.post("/api/submissions", data=fields, files=files))
            while wait and sent["state"] in (RECEIVED, SCORING):
                time.sleep(1)
                told = _answer(client.get("/api/submissions"))
                sent = next(row for row in told if row["id"] == sent["id"])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(f"{url}: the leaderboard isn't reached ({error}); see that it is served there") from None
    except OSError as error:
        raise InputError(f"{file}: can't be read ({error.strerror})") from None
    return sent


def _answer(answer: httpx.Response) -> Any:
    try:
        told = answer.json()
    except ValueError:
        raise InputError(f"{answer.url.host}: no leaderboard answers there ({answer.status_code})") from None
    if answer.is_error:
        sentence = str(told.get("error", answer.status_code)) if isinstance(told, dict) else str(answer.status_code)
        raise InputError(f"{answer.url.host}: {sentence[:1].lower()}{sentence[1:]}")
    return told
