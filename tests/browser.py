"""The browser that the tests of the demo page drive. `python tests/browser.py` brings one where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NONE_HERE = "no browser for the tests of the demo page"
REMEDY = "playwright install chromium, or apt-get install chromium, or CHROMIUM=/path/of/one make test"
# Tells where playwright keeps its own, there or not; in a process of its own, as playwright has one loop a process.
WHERE = """
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)
"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """Path of a Chromium: the one that CHROMIUM names, one on PATH, or playwright's own."""
    if named := os.environ.get("CHROMIUM"):
        return named
    for name in NAMES:
        if on_path := shutil.which(name):
            return on_path
    return playwrights_own()


def playwrights_own() -> str | None:
    """The Chromium that `playwright install` left, if it did."""
    done = subprocess.run([sys.executable, "-c", WHERE], capture_output=True, text=True)
    path = done.stdout.strip()
    return path if path and Path(path).exists() else None


def starts(path: str | None) -> bool:
    """Whether it is there and all the libraries that it needs are."""
    if path is None:
        return False
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def tried(*command: str, seconds: float = 600) -> bool:
    """Run a command that may fail, and say why it did."""
    print("  trying:", " ".join(command), flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"  that failed: {error}")
        return False
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        print("  that failed:", next((line for line in lines if line.startswith(("E:", "Error"))), *lines[-1:]))
    return done.returncode == 0


def install() -> None:
    """Playwright's own browser or, where it can't be had or lacks libraries, Debian's."""
    if starts(find_browser()):
        return
    print("== no browser here for the tests of the demo page: bringing one", flush=True)
    if tried(sys.executable, "-m", "playwright", "install", "chromium", seconds=300) and starts(playwrights_own()):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        tried("apt-get", "update", "-qq")
        tried("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
    if not starts(find_browser()):
        print(f"  {NONE_HERE}; they will be left out: {REMEDY}", flush=True)


if __name__ == "__main__":
    install()
