"""What several tests of the leaderboard make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from glioma_hf.benchmark.scoring_files import read_references

TASK = "synthetic, spec/test: cells"


def own_results(folder: Path, path: Path, leave_out: int = 3) -> Path:
    """COCO results that copy the references of spec/test, but for some cells."""
    found = []
    for key, side in read_references(folder, "spec/test").instances.items():
        for item in side.to_coco(key)[leave_out:]:
            counts = item["segmentation"]["counts"]
            item["segmentation"]["counts"] = counts.decode() if isinstance(counts, bytes) else counts
            found.append({name: item[name] for name in ("image_id", "category_id", "segmentation")} | {"score": 0.9})
    path.write_text(json.dumps(found))
    return path


def command(*arguments: object) -> subprocess.CompletedProcess:
    """`glioma-hf` with these arguments, and a password at hand."""
    code = "import sys; from glioma_hf.cli import main; main()"
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, "GLIOMA_HF_PASSWORD": "correct horse battery"}
    given = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(given, capture_output=True, text=True, env=environment, timeout=300)
