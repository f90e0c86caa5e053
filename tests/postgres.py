"""A PostgreSQL of the tests' own, on loopback: `python -m tests.postgres COMMAND ...` runs a command beside one.

The command finds its address in GLIOMA_HF_TEST_POSTGRES. Where PostgreSQL isn't installed Debian's is brought, if that
can be; where it can't, that is said and nothing is run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser import tried

VARIABLE = "GLIOMA_HF_TEST_POSTGRES"
NONE_HERE = "no PostgreSQL for the tests of the leaderboard"


def find_programs() -> Path | None:
    """The folder of initdb and its like, of the newest version that is there."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parents[1].name))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def install() -> Path | None:
    """The same, brought by apt where it is missing."""
    if find_programs() is None and shutil.which("apt-get") and os.geteuid() == 0:
        tried("apt-get", "update", "-qq")
        tried("apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql")
    return find_programs()


@contextmanager
def cluster(programs: Path) -> Iterator[str]:
    """A new cluster, gone afterwards; its address."""
    # PostgreSQL doesn't run as root: then as its own user, who has to reach the folder.
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="glioma-hf-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run([programs / program, *arguments], capture_output=True, text=True, cwd=folder, **user)
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stdout}{done.stderr}")

    try:
        if user:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        data, log = str(folder / "data"), str(folder / "log")
        run("initdb", "-D", data, "-A", "trust", "-U", "glioma", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield f"postgresql://glioma@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run the command that is given."""
    programs = install()
    if programs is None:
        print(f"== NOT RUN: {NONE_HERE}; apt-get install postgresql", flush=True)
        return
    with cluster(programs) as address:
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, VARIABLE: address}).returncode)


if __name__ == "__main__":
    main()
