"""Whom `leaderboard_load.py` sends: visitors who look at pages and their pictures, developers who submit results."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

from locust import HttpUser, between, task

PICTURES = 8  # of a page, that a visitor's browser hasn't yet


class Visitor(HttpUser):
    """Looks around; a picture is fetched once, as browsers do."""

    weight = 50
    wait_time = between(1, 5)

    def on_start(self) -> None:
        """Find out what there is."""
        self.seen: set[str] = set()
        self.known = [t["id"] for t in self.client.get("/api/tasks", name="/api/tasks").json() if t["images"]]
        self.models: list[str] = []

    def look(self, address: str, name: str) -> str:
        """A page with its pictures."""
        text = self.client.get(address, name=name).text
        fresh = [a.replace("&amp;", "&") for a in re.findall(r'src="(/(?:images|compare)/[^"]+)"', text)]
        for picture in [a for a in fresh if a not in self.seen][:PICTURES]:
            self.seen.add(picture)
            self.client.get(picture, name="pictures")
        return text

    @task(5)
    def leaderboard(self) -> None:
        """The table, by some score."""
        sort = random.choice(["ap50", "f1", "pq", "mhd"])
        text = self.look(f"/?task={random.choice(self.known)}&sort={sort}", "/")
        self.models = re.findall(r'href="/models/(\w+)"', text) or self.models

    @task(2)
    def a_task(self) -> None:
        """Models side by side."""
        self.look(f"/tasks/{random.choice(self.known)}", "/tasks/ID")

    @task(3)
    def a_model(self) -> None:
        """A model's page."""
        if self.models:
            self.look(f"/models/{random.choice(self.models)}", "/models/ID")

    @task(2)
    def compare(self) -> None:
        """Two models on one image."""
        self.look(f"/compare?task={random.choice(self.known)}", "/compare")

    @task(1)
    def cells(self) -> None:
        """Images."""
        self.look("/cells", "/cells")

    @task(1)
    def by_program(self) -> None:
        """The table as JSON."""
        self.client.get(f"/api/leaderboard?task={random.choice(self.known)}", name="/api/leaderboard")


class Developer(HttpUser):
    """Submits results, and waits until they are scored."""

    fixed_count = int(os.environ["DEVELOPERS"])
    wait_time = between(10, 20)
    names = iter(range(1000))

    def on_start(self) -> None:
        """Log in."""
        self.name, self.sent = f"developer-{next(Developer.names)}", 0
        given = {"name": self.name, "password": os.environ["PASSWORD"]}
        word = self.client.post("/api/log-in", json=given, name="/api/log-in").json()["word"]
        self.client.headers["authorization"] = f"Bearer {word}"
        known = self.client.get("/api/tasks", name="/api/tasks").json()
        self.task = next(t["id"] for t in known if t["name"] == "synthetic, spec/test: cells")

    @task
    def submit(self) -> None:
        """One more model; its page is looked at meanwhile."""
        self.sent += 1
        fields = {"task": self.task, "model": f"{self.name} {self.sent}"}
        files = {"file": ("results.json", Path(os.environ["RESULTS"]).read_bytes())}
        self.client.post("/api/submissions", data=fields, files=files, name="submit")
        self.client.get("/api/submissions", name="/api/submissions")
