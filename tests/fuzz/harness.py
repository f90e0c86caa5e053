"""Inputs that nobody vouches for, by the thousand, given to a reader in a process of its own.

A module `fuzz_NAME.py` in this folder has

- `read(data: bytes)`: gives the bytes to what is tried; it returns or raises `InputError`, all else is a finding;
- `seeds() -> list[bytes]`: good inputs, from which the others are made;
- `mutate(rng, data) -> bytes`, if `mutated` isn't enough.

`test_fuzz.py` tries each shortly, `make fuzz` for `FUZZ_SECONDS`. What is found lies in `fuzz-findings/`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
HANGS = 20  # times the seconds allowed, by the clock: a busy machine gets that long before a reader is said to hang
BATCH = 200  # inputs a process is given before it is replaced, so that what one leaves behind is of no use to others
NUMBERS = (0, 1, 2, 3, 7, 8, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Finding:
    """An input that was neither answered nor refused in a sentence, or took too much; `what` says which."""

    data: bytes
    what: str


def check(
    function: Callable[[bytes], Any], data: Iterable[bytes], seconds: float = 2, megabytes: int = 500
) -> list[Finding]:
    """Run `function` on each input in a worker process and tell the findings.

    Args:
        function: of a module's top level; it may return anything and raise `InputError`.
        seconds: of the processor that an input may take.
        megabytes: by which an input may let the process grow.
    """
    findings = []
    worker: _Worker | None = None
    given = 0
    try:
        for item in data:
            if worker is None or given == BATCH:
                if worker is not None:
                    worker.close()
                worker, given = _Worker(function, seconds, megabytes), 0
            given += 1
            what = worker.ask(item)
            if what:
                findings.append(Finding(item, what))
                worker.close()
                worker = None
    finally:
        if worker is not None:
            worker.close()
    return findings


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few things done to them: bits turned, numbers set, pieces cut, doubled or moved."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not out:
            break
        # Half of the changes fall into the first kilobyte, where headers lie.
        at = rng.randrange(min(len(out), 1024) if rng.random() < 0.5 else len(out))
        kind = rng.randrange(8)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind in (2, 3):
            code = rng.choice(("<H", ">H", "<I", ">I", "<Q"))
            number = rng.choice(NUMBERS) if rng.random() < 0.8 else rng.randrange(2**32)
            size = struct.calcsize(code)
            out[at : at + size] = struct.pack(code, number % 2 ** (8 * size))
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            del out[at : at + rng.randrange(1, 64)]
        elif kind == 6:
            out[at:at] = out[at : at + rng.randrange(1, 64)] * rng.choice((1, 1, 2, 100))
        else:
            out[at:at] = rng.randbytes(rng.randrange(1, 16))
    return bytes(out)


def mutants(module: ModuleType, seed: int) -> Iterator[bytes]:
    """Without end: the seeds of a fuzz module as they are, then changed ones."""
    rng = random.Random(seed)
    seeds: Sequence[bytes] = module.seeds()
    mutate: Callable[[random.Random, bytes], bytes] = getattr(module, "mutate", mutated)
    yield from seeds
    while True:
        yield mutate(rng, rng.choice(seeds))


def for_seconds(items: Iterable[bytes], seconds: float) -> Iterator[bytes]:
    """The items until the time is over."""
    end = time.monotonic() + seconds
    for item in items:
        if time.monotonic() > end:
            return
        yield item


class _Worker:
    """A process that runs one function on what it is sent, one input at a time."""

    def __init__(self, function: Callable[[bytes], Any], seconds: float, megabytes: int):
        self._seconds, self._megabytes = seconds, megabytes
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.harness", function.__module__, function.__name__, str(megabytes)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One thread: pools of threads reserve memory that no input asked for.
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        )
        if not self._answer(120):
            raise RuntimeError(f"the worker for {function.__module__}.{function.__name__} didn't start")

    def ask(self, data: bytes) -> str:
        """What is wrong with how the function took these bytes; empty if nothing is."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack("<I", len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            return "the process was gone"
        answer = self._answer(self._seconds * HANGS)
        if answer is None:
            return f"no answer in {self._seconds * HANGS} s"
        if not answer:
            return f"the process ended with {self._process.wait()}"
        if answer["failed"]:
            return str(answer["failed"])
        if answer["seconds"] > self._seconds:
            return f"{answer['seconds']:.1f} s"
        if answer["megabytes"] > self._megabytes:
            return f"{answer['megabytes']:.0f} MB"
        return ""

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """A line of the process; {} where it ended, None where nothing came in time."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else {}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _memory(field: str) -> float:
    """Megabytes of this process: `VmRSS` it holds, `VmHWM` it held at most, `VmSize` it has addresses for."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def _work(module: str, name: str, megabytes: int) -> None:
    """The worker's side: inputs from standard input, a line of JSON for each to standard output."""
    from glioma_hf.errors import InputError

    function = getattr(importlib.import_module(module), name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print isn't an answer
    # Far beyond what an input may take, so that what takes far more fails here and not the machine.
    limit = int((_memory("VmSize") + 2 * megabytes) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    while header := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", header)[0])
        failed, started, held, most = "", time.process_time(), _memory("VmRSS"), _memory("VmHWM")
        try:
            function(data)
        except InputError as error:
            failed = "" if str(error).strip() else "an InputError without a sentence"
        except BaseException as error:
            failed = f"{type(error).__name__}: {error}"[:500]
        seconds, peak = time.process_time() - started, _memory("VmHWM")
        grown = peak - held if peak > most else 0.0
        print(json.dumps({"failed": failed, "seconds": seconds, "megabytes": grown}), file=answers, flush=True)


def main() -> int:
    """Each fuzz module in turn, for its part of FUZZ_SECONDS; findings go to files. 1 where there are any."""
    names = sys.argv[1:] or sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))
    seconds = float(os.environ.get("FUZZ_SECONDS", "600")) / len(names)
    seed = int(os.environ.get("FUZZ_SEED", str(time.time_ns() % 2**32)))
    found = 0
    for name in names:
        module = importlib.import_module(f"tests.fuzz.{name}")
        tried = 0

        def counted(module: ModuleType = module) -> Iterator[bytes]:
            nonlocal tried
            for item in for_seconds(mutants(module, seed), seconds):
                tried += 1
                yield item

        findings = check(module.read, counted())
        print(f"{name}: {tried} inputs in {seconds:.0f} s, {len(findings)} findings (FUZZ_SEED={seed})", flush=True)
        folder = ROOT / "fuzz-findings" / name
        for finding in findings:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{found:04}").write_bytes(finding.data)
            print(f"  {folder.relative_to(ROOT)}/{found:04}: {finding.what}", flush=True)
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[3].isdigit():
        _work(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main())
