"""The demo page's memory over hours of use: the page is served, visitors come one after the other, and the resident
memory of each of its processes is printed after each of them.

    python benchmarks/demo_memory.py --visitors 30

A visitor opens a sample, finds its cells, corrects them, moves the slider and takes all files home; does the same with
an image of their own; opens three at once and takes the zip; cancels a run, and compares two models. Every fourth
teaches the model and uses what was taught. That is what a brisk visitor does in ten minutes; here nobody pauses.
`--images` brings real images in place of synthetic ones of many sizes.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the visitor of the tests comes here too
SIZES = [(w, h) for w, h in ((300, 200), (640, 480), (1000, 800), (520, 696), (1408, 1040), (400, 900), (768, 512))]


def serve(port: int) -> subprocess.Popen:
    """Start the page; returns once it answers."""
    code = "from glioma_hf.cli import main; main()"
    server = subprocess.Popen([sys.executable, "-c", code, "demo", "--port", str(port)], stdout=subprocess.DEVNULL)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2)
            return server
        except OSError:
            if server.poll() is not None:
                raise SystemExit("the page didn't start") from None
            time.sleep(0.5)
    raise SystemExit("the page didn't start")


def measure(address: str, server: int, files: list[Path], visitors: int, minutes: float, steps: int) -> None:
    """Print a line of a table after each visitor."""
    from tests.demo.hour import megabytes, processes, rounds

    began, done = time.monotonic(), collections.Counter[str]()
    names: list[str] = []
    for number, actions in enumerate(rounds(address, files, steps), start=1):
        for name, act in actions:
            act()
            done[name] += 1
        now = processes(server)
        if not names:
            names = list(now)
            print("visitors", "actions", "minutes", *names, "all", sep=" | ")
        told = [megabytes(pid) for pid in now.values()]
        passed = (time.monotonic() - began) / 60
        row = [f"{passed:.1f}", *(f"{value:.0f}" for value in [*told, sum(told)])]
        print(number, sum(done.values()), *row, sep=" | ", flush=True)
        if number == visitors or passed > minutes:
            break
    print("actions:", ", ".join(f"{count} x {name}" for name, count in done.most_common()))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=30, help="how many come at most")
    parser.add_argument("--minutes", type=float, default=60, help="after which no other comes")
    parser.add_argument("--images", type=Path, nargs="+", help="files that they bring, instead of synthetic ones")
    parser.add_argument("--steps", type=int, default=10, help="of teaching; 0 for none")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.conftest import free_port
    from tests.demo.hour import images

    with tempfile.TemporaryDirectory() as folder:
        files = options.images or images(Path(folder), SIZES)
        port = free_port()
        server = serve(port)
        try:
            address = f"http://127.0.0.1:{port}"
            measure(address, server.pid, files, options.visitors, options.minutes, options.steps)
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
