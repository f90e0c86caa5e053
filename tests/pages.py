"""The code blocks of README and docs, and how they are run.

A page's blocks run from top to bottom in one folder, its Python blocks as one session. Lines and blocks that say "not
run by the tests" are left out. `python tests/pages.py START PAGE ...` runs pages in one process, so that libraries are
loaded once, each page in a new folder that begins with links to what lies in START.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
LEFT_OUT = "not run by the tests"
ELSEWHERE = ("make test",)  # which runs these tests


def blocks(text: str) -> list[tuple[str, str]]:
    """(kind, code) of each bash and Python block of a page."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """What of a page is run: a Python block whole, of a bash block one command after the other."""
    for kind, code in blocks(text):
        if kind == "python":
            if LEFT_OUT not in code:
                yield kind, code
            continue
        for line in code.replace("\\\n", " ").splitlines():
            command = line.split(" #")[0].strip()
            if command and not command.startswith("#") and LEFT_OUT not in line:
                yield kind, command


def run_readme(folder: Path) -> None:
    """Run what the README tells people to, each command as they would. An `AssertionError` shows what one said."""
    from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    for name in ("metric", "dataset_script"):
        (folder / name).symlink_to(ROOT / name)
    Image.fromarray(generate_scene(1, SceneConfig(width=300, height=280)).image).save(folder / "cells.tif")
    for kind, code in steps((ROOT / "README.md").read_text("utf-8")):
        if code in ELSEWHERE:
            continue
        if code.startswith("make "):
            code += f" -C {ROOT} OUT={folder}/quickstart"
        command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-c", code]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def run_page(page: Path) -> None:
    """Run a page's steps here, `glioma-hf` lines in this process. Raises what a step raises."""
    from glioma_hf.cli import main

    session: dict[str, object] = {"__name__": page.stem}
    for kind, code in steps(page.read_text("utf-8")):
        print(f"== {page.name}: {code.strip()}", flush=True)
        started = time.perf_counter()
        if kind == "python":
            exec(compile(code, f"{page.name}, a block", "exec"), session)
        elif code.startswith("glioma-hf "):
            sys.argv = shlex.split(code)
            try:
                main()
            except SystemExit as ended:
                if ended.code:
                    raise
        else:
            subprocess.run(["bash", "-c", code], check=True)
        print(f"== {time.perf_counter() - started:.1f} s", flush=True)


def main() -> None:
    """Run the pages that are named."""
    start, *pages = (Path(name).resolve() for name in sys.argv[1:])
    work = Path.cwd()
    for page in pages:
        folder = work / page.stem
        folder.mkdir()
        for item in start.iterdir():
            (folder / item.name).symlink_to(item)
        os.chdir(folder)
        run_page(page)


if __name__ == "__main__":
    main()
