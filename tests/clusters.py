"""A Dask cluster on loopback, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, free_port


@contextmanager
def two_dask_workers(folder: Path, preload: Path | None = None) -> Iterator[tuple[str, list[int]]]:
    """Two workers of one thread each, without nannies, as processes; ended afterwards."""
    address = f"tcp://127.0.0.1:{free_port()}"
    # A worker that is gone without a word is given up after a minute, not after five.
    patience = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s"}
    environment = {**os.environ, **patience, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    common: dict[str, Any] = {
        "env": environment,
        "cwd": folder,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    port = address.rpartition(":")[2]
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    started = [subprocess.Popen([*base, "--host", "127.0.0.1", "--port", port, "--no-dashboard"], **common)]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    command += ["--no-dashboard", *(["--preload", str(preload)] if preload else [])]
    try:
        started += [subprocess.Popen(command, **common) for _ in range(2)]
        from distributed import Client

        with Client(address, timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address, [process.pid for process in started[1:]]
    finally:
        for process in started:
            process.kill()
            process.wait()
