"""On label maps without overlap our counts are those of Cellpose and StarDist; with scores, faster-coco-eval's mAP."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from glioma_hf import Instances
from glioma_hf.metrics.overlap_ap import overlap_ap
from tests.conftest import ROOT

PEERS = Path(os.environ.get("GLIOMA_HF_PEERS", ROOT / ".venvs" / "peers" / "bin" / "python"))
pytestmark = pytest.mark.skipif(not PEERS.exists(), reason="no environment of the peers: make setup builds it")
THRESHOLDS = (0.3, 0.5, 0.75, 0.9)

SCRIPT = """
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from cellpose.metrics import average_precision
from stardist.matching import matching
maps = np.load(sys.argv[1])
thresholds = json.loads(sys.argv[2])
stardist = []
for p, r in zip(maps["p"], maps["r"]):
    stardist.append([[int(m.tp), int(m.fp), int(m.fn)] for m in matching(r, p, thresh=thresholds)])
_, tp, fp, fn = average_precision(list(maps["r"]), list(maps["p"]), thresholds)
cellpose = np.stack([tp, fp, fn], -1).astype(int).tolist()
print(json.dumps({"stardist": stardist, "cellpose": cellpose}))
"""


def label_maps(seed: int, count: int = 20) -> np.ndarray:
    """Label maps of touching blobs; the first is empty."""
    rng = np.random.default_rng(seed)
    maps = [np.zeros((48, 64), np.int32)]
    for _ in range(count - 1):
        blobs = ndimage.gaussian_filter(rng.random((48, 64)), 2) > 0.5
        labels, _ = ndimage.label(blobs)
        maps.append(labels.astype(np.int32))
    return np.stack(maps)


def test_counts_agree_with_cellpose_and_stardist(tmp_path):
    references = label_maps(1)
    # Predictions: the references, shifted and with a stripe cut out; the empty image gets some, another loses all.
    predictions = np.roll(references, 1, axis=2)
    predictions[:, 20:22] = 0
    predictions[0], predictions[5] = references[3], 0
    np.savez(tmp_path / "maps.npz", p=predictions, r=references)
    command = [str(PEERS), "-c", SCRIPT, str(tmp_path / "maps.npz"), json.dumps(THRESHOLDS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peers = json.loads(done.stdout.strip().splitlines()[-1])
    for number, (p, r) in enumerate(zip(predictions, references, strict=True)):
        pair = Instances.from_label_map(p), Instances.from_label_map(r)
        scores = overlap_ap([pair], thresholds=THRESHOLDS, border=0)
        ours = [[scores.at(t).tp, scores.at(t).fp, scores.at(t).fn] for t in THRESHOLDS]
        for peer, found in peers.items():
            assert found[number] == ours, (peer, number)
