"""The queue of submissions to score: huey, in a file of SQLite or in PostgreSQL.

huey is the one of the well-kept queues whose embedded mode outlives its process and whose networked one needs nothing
but PostgreSQL: procrastinate's and pgqueuer's embedded modes are in memory, for tests. It forgets a task once a worker
has taken it; that a dead worker's submission is taken up again follows from `Submission.state` and `Lease`, not from
the queue (see `scoring.py`). Tasks are JSON here: what lies in a database is never unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huey import PostgresHuey, SqliteHuey
from huey.api import Huey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer
from sqlalchemy.engine import URL

NAME = "glioma_hf_leaderboard"
TASK = "score"


class _Json(Serializer):
    """Tasks of one string argument, as JSON."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps({"id": data.id, "name": data.name, "args": list(data.args)}).encode()

    def _deserialize(self, data: bytes) -> Message:
        facts = json.loads(bytes(data))
        return Message(id=facts["id"], name=facts["name"], retries=0, retry_delay=0, args=facts["args"], kwargs={})


class _Consumer(Consumer):
    """In a thread of a server, which has its own ways with signals."""

    def _set_signal_handlers(self) -> None:
        pass


class Queue:
    """Ids of submissions, first in, first out."""

    def __init__(self, database: URL, folder: Path):
        """The queue beside a database: in the same PostgreSQL, or in `folder/queue.sqlite`."""
        settings: dict[str, Any] = {"results": False, "serializer": _Json()}
        if database.get_backend_name() == "postgresql":
            dsn = database.set(drivername="postgresql").render_as_string(hide_password=False)
            self._huey: Huey = PostgresHuey(NAME, dsn=dsn, **settings)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._huey = SqliteHuey(NAME, filename=str(folder / "queue.sqlite"), timeout=30, **settings)
        self._work: Callable[[str], None] = lambda submission: None
        self._task = self._huey.task(name=TASK)(lambda submission: self._work(submission))
        self._consumer: Consumer | None = None

    def put(self, submission: str) -> None:
        """Have a submission scored."""
        self._task(submission)

    def waiting(self) -> list[str]:
        """Those that no worker has taken yet."""
        return [task.args[0] for task in self._huey.pending()]

    def start(self, work: Callable[[str], None], number: int = 1) -> None:
        """Begin to do `work` on each submission, in `number` threads of this process."""
        self._work = work
        self._consumer = _Consumer(self._huey, workers=number, periodic=False, max_delay=1.0, backoff=1.3)
        self._consumer.start()

    def tend(self) -> None:
        """Replace threads that died."""
        if self._consumer is not None:
            self._consumer.check_worker_health()

    def stop(self, graceful: bool = True) -> None:
        """Take no more; `graceful` waits for what is being worked on."""
        if self._consumer is not None:
            self._consumer.stop(graceful=graceful)
            self._consumer = None

    def close(self) -> None:
        """Stop, and close the connection."""
        self.stop(graceful=False)
        self._huey.storage.close()
