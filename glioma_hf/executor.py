"""Independent pieces of work: one after the other, by several processes of this machine, or by a Dask cluster.

Nothing is scheduled here: the processes are Python's own pool, a cluster is Dask's. A piece whose worker is killed is
done again by another.

    >>> [outcome.get() for outcome in Workers().run(lambda shared, piece: shared + piece, [1, 2], 10)]
    [11, 12]
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from glioma_hf.errors import InputError, WorkStopped
from glioma_hf.extras import missing_libraries_named

Work = Callable[[Any, Any], Any]  # what all pieces share, a piece -> its result; a module's own function
MAX_JOBS = 1024
_RESTARTS = 2  # of a pool that lost a process
_CONNECT = "10s"  # how long a scheduler has to answer


@dataclass(frozen=True)
class Outcome:
    """What became of the piece at a position: a value, or the error that it ended in."""

    position: int
    value: Any = None
    error: Exception | None = None

    def get(self) -> Any:
        """The value. Raises the error where there is one."""
        if self.error is not None:
            raise self.error
        return self.value


class Workers:
    """Who does the pieces. As a context it keeps its processes from one `run` to the next.

    Args:
        jobs: processes of this machine; 1 is this one.
        scheduler: address of a Dask scheduler, such as "tcp://10.0.0.5:8786", instead of them. Its workers have this
            package and see the same files under the same names.

    Raises `InputError` for a number of processes out of bounds.
    """

    def __init__(self, jobs: int = 1, scheduler: str | None = None):
        if not 1 <= jobs <= MAX_JOBS:
            raise InputError(f"pieces of work are done by 1 to {MAX_JOBS} processes, not by {jobs}")
        self.jobs, self.scheduler = jobs, scheduler
        self._pool: ProcessPoolExecutor | None = None
        self._depth = 0

    def __enter__(self) -> Workers:
        self._depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._end()

    @property
    def alone(self) -> bool:
        """Whether all is done in this process, one piece after the other."""
        return self.jobs == 1 and self.scheduler is None

    def run(self, work: Work, pieces: Iterable[Any], shared: Any = None) -> Iterator[Outcome]:
        """Outcomes of all pieces, in any order; where this process is alone in theirs, each when it is asked for.

        Args:
            work: given `shared` and a piece; where it isn't alone, both and the result are pickled.
            shared: sent to each worker once.

        Raises `InputError` where Dask isn't installed or its scheduler isn't reached.
        """
        if self.alone:
            for position, piece in enumerate(pieces):
                yield Outcome(position, *_attempt(work, shared, piece))
            return
        pieces = list(pieces)
        if pieces and self.scheduler is not None:
            yield from self._by_dask(work, pieces, pickle.dumps(shared))
        elif pieces:
            with self, tempfile.TemporaryDirectory(prefix="glioma-hf-") as folder:
                path = Path(folder) / "shared"
                path.write_bytes(pickle.dumps(shared))
                yield from self._by_processes(work, pieces, str(path))

    def _by_processes(self, work: Work, pieces: Sequence[Any], shared: str) -> Iterator[Outcome]:
        left = dict(enumerate(pieces))
        for _ in range(1 + _RESTARTS):
            pool, futures = self._begin(), {}
            try:
                for position, piece in left.items():
                    futures[pool.submit(_in_process, shared, work, piece)] = position
                for future in as_completed(futures):
                    outcome = Outcome(futures[future], *future.result())
                    del left[outcome.position]
                    yield outcome
            except BrokenProcessPool:
                self._end()
                continue
            finally:
                for future in futures:
                    future.cancel()
            return
        yield from (Outcome(position, error=_killed()) for position in left)

    def _begin(self) -> ProcessPoolExecutor:
        """The processes, which begin anew: those that are forked inherit threads of torch that don't run."""
        if self._pool is None:
            threads = max(1, (os.cpu_count() or 1) // self.jobs)
            self._pool = ProcessPoolExecutor(self.jobs, get_context("spawn"), _limit_threads, (threads,))
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def _by_dask(self, work: Work, pieces: Sequence[Any], shared: bytes) -> Iterator[Outcome]:
        with missing_libraries_named():
            import distributed
        try:
            client = distributed.Client(self.scheduler, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{self.scheduler}: no Dask scheduler answers there ({reason}); give the address that it prints"
            ) from None
        with client:
            # A task of its own, so that it is made anew where the worker that holds it is lost.
            held = client.submit(_same, shared, pure=False)
            futures = [client.submit(_in_cluster, held, work, piece, pure=False) for piece in pieces]
            places = {future.key: position for position, future in enumerate(futures)}
            try:
                for future in distributed.as_completed(futures, loop=client.loop):
                    try:
                        outcome = Outcome(places[future.key], *future.result())
                    except distributed.KilledWorker:
                        outcome = Outcome(places[future.key], error=_killed())
                    yield outcome
            finally:
                client.cancel(futures)


def _attempt(work: Work, shared: Any, piece: Any) -> tuple[Any, Exception | None]:
    try:
        return work(shared, piece), None
    except Exception as error:
        return None, error


def _in_process(shared: str, work: Work, piece: Any) -> tuple[Any, Exception | None]:
    """In another process: the result, or an error that travels."""
    value, error = _attempt(work, _read(shared), piece)
    return value, None if error is None else _packable(error)


def _in_cluster(shared: bytes, work: Work, piece: Any) -> tuple[Any, Exception | None]:
    """The same in a worker of a cluster."""
    value, error = _attempt(work, _unpacked(shared), piece)
    return value, None if error is None else _packable(error)


@lru_cache(maxsize=1)
def _read(path: str) -> Any:
    """What all pieces share, read once in each process; a run's own file, under a name that no other run has."""
    return pickle.loads(Path(path).read_bytes())


@lru_cache(maxsize=1)
def _unpacked(shared: bytes) -> Any:
    return pickle.loads(shared)


def _packable(error: Exception) -> Exception:
    """The error, or one of its kind that can be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        for kind in (WorkStopped, InputError):
            if isinstance(error, kind):
                return kind(str(error))
        if isinstance(error, OSError):
            return OSError(error.errno, error.strerror)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _limit_threads(threads: int) -> None:
    """A share of the machine for each process."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _same(data: bytes) -> bytes:
    return data


def _killed() -> WorkStopped:
    return WorkStopped(
        "the process that did it was killed again and again, as where memory runs out; run it again with fewer --jobs"
    )
