"""The leaderboard under load: visitors who browse, developers who submit, by locust on loopback.

python3 -m venv .venvs/locust && .venvs/locust/bin/pip install locust
PYTHONPATH=. python benchmarks/leaderboard_load.py --locust .venvs/locust/bin/locust
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.leaderboard.accounts import add_account
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.examples import SYNTHETIC, seed
from glioma_hf.leaderboard.tables import Submission

HERE = Path(__file__).parent
PASSWORD = "of the load test"
SERVE = "import sys; from glioma_hf.cli import main; main()"


def filled(folder: Path, developers: int, results: Path) -> None:
    """A leaderboard with its examples, no models run, accounts, and results to submit."""
    board = Board.open(folder)
    seed(board, folder, models={})
    for number in range(developers):
        add_account(board, f"developer-{number}", PASSWORD)
    board.close()
    found = []
    for key, side in read_references(folder / SYNTHETIC, "spec/test").of_task("cells").items():
        for item in side.to_coco(int(key))[2:]:
            counts = item["segmentation"]["counts"]
            item["segmentation"]["counts"] = counts.decode() if isinstance(counts, bytes) else counts
            found.append({name: item[name] for name in ("image_id", "category_id", "segmentation")} | {"score": 0.9})
    results.write_text(json.dumps(found))


def serve(folder: Path) -> tuple[subprocess.Popen, str]:
    """A server with a worker, as the command starts it, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = ["leaderboard", "serve", "--folder", str(folder), "--port", str(port), "--no-examples"]
    server = subprocess.Popen([sys.executable, "-c", SERVE, *given])
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5)
            return server, url
        except OSError:
            time.sleep(0.2)
    server.kill()
    raise SystemExit("the server didn't start")


def megabytes(pid: int) -> float:
    """Memory that a process holds."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(pid: int, seen: list[tuple[float, float, float]], stopped: threading.Event) -> None:
    """Every second: seconds since the beginning, megabytes, the machine's load."""
    began = time.monotonic()
    while not stopped.wait(1):
        seen.append((time.monotonic() - began, megabytes(pid), os.getloadavg()[0]))


def main() -> None:
    """Run it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--locust", default="locust", help="the program")
    parser.add_argument("--visitors", type=int, default=50, help="who browse")
    parser.add_argument("--developers", type=int, default=5, help="who submit")
    parser.add_argument("--seconds", type=int, default=120, help="how long")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name) / "board", Path(name) / "results.json"
        filled(folder, given.developers, results)
        server, url = serve(folder)
        seen: list[tuple[float, float, float]] = []
        stopped = threading.Event()
        before = os.getloadavg()[0]
        watcher = threading.Thread(target=watch, args=(server.pid, seen, stopped))
        try:
            watcher.start()
            command = [given.locust, "-f", str(HERE / "leaderboard_visitors.py"), "--headless", "--host", url]
            command += ["-u", str(given.visitors + given.developers), "-r", "10", "-t", f"{given.seconds}s"]
            command += ["--csv", str(Path(name) / "told"), "--only-summary", "--stop-timeout", "10"]
            told = {"RESULTS": str(results), "DEVELOPERS": str(given.developers), "PASSWORD": PASSWORD}
            done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True)
        finally:
            stopped.set()
            watcher.join()
            server.terminate()
            server.wait(60)
        if done.returncode:
            print(done.stderr[-2000:])
        print(f"load of the machine before: {before:.1f}; at the end: {seen[-1][2]:.1f}")
        print("| what | requests | failed | median, ms | 95 %, ms | 99 %, ms |\n|---|---|---|---|---|---|")
        with (Path(name) / "told_stats.csv").open() as file:
            for row in csv.DictReader(file):
                columns = ("Name", "Request Count", "Failure Count", "50%", "95%", "99%")
                print("| " + " | ".join(row[column] for column in columns) + " |")
        memory = [one[1] for one in seen]
        fifth = max(1, len(memory) // 5)
        for told_of, part in (("first", memory[:fifth]), ("last", memory[-fifth:])):
            print(f"memory of the server, {told_of} fifth: {min(part):.0f} to {max(part):.0f} MB")
        board = Board.open(folder)
        with board.database.reading() as session:
            states = [row.state for row in session.query(Submission).all()]
        board.close()
        print("submissions: " + ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))))


if __name__ == "__main__":
    main()
