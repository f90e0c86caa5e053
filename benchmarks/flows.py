"""MediarFormer on one large image: ours against its authors' own predictor, with the same weights.

    git clone https://github.com/Lee-Gihun/MEDIAR
    python benchmarks/flows.py --authors MEDIAR --work WORK

trains a MediarFormer over MiT-B0 on a synthetic image in WORK (unless one is there, or --model names one), and has a
synthetic image segmented by both: windows of 512 with 60 % overlap, the image as it is and mirrored
twice. The authors' side is their `Predictor`, read from their checkout and not copied here, with MONAI's windows, their
dynamics and, as a plain module in float32, the network that `tests/models/flows` shows to give their output. Each runs
in a process of its own, so that its peak of memory is its own. Processor time: what else the machine does isn't
counted.

Wants what `make test-models` puts into .venvs/models, and `monai` (pip install --no-deps monai).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glioma_hf import Instances
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.flows.dynamics import check_installed
from glioma_hf.models.flows.segment import FlowSegmenter, usual_settings
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import Progress
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

SMALL = SceneConfig(width=512, height=512)
Way = Callable[[np.ndarray], tuple[Any, Callable[[], Instances]]]  # the maps of an image, and the cells of them


def trained(work: Path, steps: int) -> Path:
    """A saved model, trained for a short while."""
    family, folder = get_family("flows"), work / "mediar"
    if not ModelFolder(folder).is_saved():
        scene = generate_scene(1, SMALL)
        brief = {"crop": 128, "average": 0.9}
        recipe = family.read_recipe("mediarformer-quick").for_steps(steps).model_copy(update=brief)
        pairs = [(scene.image, scene.instances())]

        def tell(progress: Progress) -> None:
            if progress.done and progress.done % 20 == 0:
                print(f"training: step {progress.done} of {steps}, loss {progress.loss}", flush=True)

        segmenter = family.train("random", pairs, recipe, Run(on_progress=tell, workers=0))
        ModelFolder(folder).write(family, segmenter, "random", recipe)
    return folder


def our_way(segmenter: FlowSegmenter) -> Way:
    """What `predict` does."""
    check_installed()  # what is imported on first use isn't measured, on either side

    def way(image: np.ndarray) -> tuple[Any, Callable[[], Instances]]:
        maps = segmenter.maps(image)
        return maps, lambda: segmenter.found(maps).select(segmenter.settings)

    return way


class Joined(torch.nn.Module):
    """The network as its authors' predictor calls it: flows and cells in one tensor."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 3, H, W)."""
        seen = self.network(windows)
        return torch.cat([seen["flows"], seen["cells"]], 1)


def authors_way(segmenter: FlowSegmenter, authors: Path) -> Way:
    """The authors' `Predictor` without what reads and writes files."""
    import monai.transforms  # type: ignore[import-not-found]
    import scipy.ndimage

    packages = ("core", "core.MEDIAR", "train_tools", "train_tools.data_utils", "train_tools.data_utils.custom")
    for name in packages:  # without what they import for training
        package = types.ModuleType(name)
        package.__path__ = [str(authors.joinpath(*name.split(".")))]
        sys.modules[name] = package
    sys.modules["core.BasePredictor"] = types.ModuleType("core.BasePredictor")
    sys.modules["core.BasePredictor"].BasePredictor = object  # type: ignore[attr-defined]
    sys.modules.setdefault("scipy.ndimage.filters", scipy.ndimage)  # its name in newer SciPy
    monai.transforms.compose.MapTransform = monai.transforms.MapTransform  # where it was in older MONAI
    from core.MEDIAR import Predictor as module  # type: ignore[import-not-found]
    from train_tools.data_utils.custom.NormalizeImage import CustomNormalizeImage  # type: ignore[import-not-found]

    predictor = module.Predictor.__new__(module.Predictor)
    predictor.hflip_tta, predictor.vflip_tta = module.HorizontalFlip(), module.VerticalFlip()
    predictor.use_tta, predictor.device = True, torch.device("cpu")
    plain = segmenter.networks[0].to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    predictor.model = Joined(plain).eval()

    def way(image: np.ndarray) -> tuple[Any, Callable[[], Instances]]:
        normalised = CustomNormalizeImage(percentiles=[0.0, 99.5])(np.stack([image] * 3, 2))
        pixels = torch.as_tensor(monai.transforms.ScaleIntensity()(normalised.transpose(2, 0, 1)))[None]
        maps = predictor._inference(pixels).numpy()
        return maps, lambda: Instances.from_label_map(predictor._post_process(maps).astype(np.int64))

    return way


def measure(way: Way, image: np.ndarray, out: Path) -> None:
    """Write what a way finds in an image, with its seconds and its peak of memory, to a file."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    maps, cells_of = way(image)
    middle = time.process_time()
    cells = cells_of()
    end = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {"maps": middle - begin, "cells": end - middle, "before": before / 1024, "peak": peak / 1024}
    np.save(out.with_suffix(".npy"), maps)
    out.write_text(json.dumps(told | {"found": cells.to_coco(1), "size": cells.size}))


def main() -> None:
    """Measure both ways in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, help="checkout of github.com/Lee-Gihun/MEDIAR")
    parser.add_argument("--work", type=Path, default=Path("flows_work"), help="folder for the model and results")
    parser.add_argument("--model", type=Path, help="a saved model of MediarFormer's network")
    parser.add_argument("--steps", type=int, default=400, help="of training, where there is no model yet")
    parser.add_argument("--width", type=int, default=2592, help="of the image")
    parser.add_argument("--height", type=int, default=1944)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=["ours", "authors"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    model = asked.model or trained(asked.work, asked.steps)
    if asked.only:
        segmenter = load_segmenter(str(model))
        assert isinstance(segmenter, FlowSegmenter)
        segmenter = segmenter.with_settings(**usual_settings(segmenter.networks[0]).model_dump())
        image = generate_scene(2, SceneConfig(width=asked.width, height=asked.height)).image
        way = our_way(segmenter) if asked.only == "ours" else authors_way(segmenter, asked.authors)
        measure(way, image, asked.work / f"{asked.only}.json")
        return
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "authors": []}
    for number in range(asked.runs):
        for name, told in runs.items():
            command = [sys.executable, __file__, "--only", name, "--work", str(asked.work), "--model", str(model)]
            command += ["--authors", str(asked.authors), "--width", str(asked.width), "--height", str(asked.height)]
            subprocess.run(command, check=True)
            told.append(json.loads((asked.work / f"{name}.json").read_text()))
            print(f"run {number + 1}, {name}: {told[-1]['maps']:.1f} + {told[-1]['cells']:.1f} s", flush=True)
    sides = {name: Instances.from_coco(told[0]["found"], told[0]["size"]) for name, told in runs.items()}
    same = overlap_ap([(sides["ours"], sides["authors"])], ScoringOptions(thresholds=(0.5, 0.75, 0.9), border=0))
    print("| | maps, s | cells, s | in all, s | peak, MB | cells found |\n|---|---|---|---|---|---|")
    whole = {}
    for name, told in runs.items():
        maps, cells, peak = (statistics.median(run[key] for run in told) for key in ("maps", "cells", "peak"))
        whole[name] = maps + cells
        print(f"| {name} | {maps:.1f} | {cells:.1f} | {maps + cells:.1f} | {peak:,.0f} | {len(sides[name])} |")
    print(f"the authors' takes {whole['authors'] / whole['ours']:.2f} times as long")
    aps = ", ".join(f"{name} {value:.3f}" for name, value in same.to_dict().items() if name.startswith("ap"))
    print(f"ours against theirs: {aps}")
    one, other = (np.load(asked.work / f"{name}.npy") for name in runs)
    print(f"maps differ by {np.abs(one - other).mean():.4f} in the mean, theirs vary by {other.std():.3f}")


if __name__ == "__main__":
    main()
