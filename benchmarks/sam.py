"""Mask generation and the training step, against their peers, with the same weights on the same pictures.

    python benchmarks/sam.py --work WORK [--threads 1] [--points 12]

Generation: one generated image of 2592 x 1944, each way in a process of its own; transformers' `mask-generation`
pipeline and segment-anything's generator look at the whole image and at 4, 16 and 64 crops of it with a grid of
points in each; the overlap-aware model of the family centres sees the image in one view and in four. AP50 against
the generated outlines, peak memory. Before, the peers' logits are compared with ours.
Training: loss and gradients of one batch of crops, against a loop over its images that encodes each and decodes
its points alone, as CellSeg1 does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sam_peers
import torch
from transformers import SamModel

from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.metrics.matching import count
from glioma_hf.models import load_segmenter
from glioma_hf.models.sam.family import FAMILY
from glioma_hf.models.sam.generate import GenerationSettings, SamSegmenter
from glioma_hf.models.sam.lora import LoraSettings, add_adapter, load_base
from glioma_hf.models.sam.preprocess import raise_contrast, to_pixels
from glioma_hf.models.sam.prompt_crops import CELL, PADDING, PromptCrops, PromptCropSettings
from glioma_hf.models.sam.train import training_loss, trimmed_batch
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

WAYS = ("centres", "grid", "pipeline", "segment-anything", "overlap-aware", "overlap-aware-4")
VIEWS = {"overlap-aware": 1, "overlap-aware-4": 4}  # of the family centres; "centres" are SAM's prompts
SCENE = SceneConfig(width=2592, height=1944, cells_per_megapixel=(60, 60), scale=(1.0, 1.0))
OURS = GenerationSettings(pred_iou_thresh=0.6)
PEERS = {
    "score": OURS.pred_iou_thresh,
    "stability": OURS.stability_score_thresh,
    "offset": OURS.stability_score_offset,
    "nms": 0.5,  # of boxes
    "layers": 3,
    "points_per_batch": 64,
}


def generate(way: str, points: int, out: Path, overlap_aware: str) -> None:
    """One way's masks of the scene, with the seconds and the memory it took, into a JSON file."""
    scene = generate_scene(0, SCENE)
    if way in VIEWS:
        segmenter = load_segmenter(overlap_aware).with_settings(views=VIEWS[way])
        took, found = _median_of_three(lambda: segmenter.segment(scene.image))
        _write(out, took, found)
        return
    model = load_base()
    started = time.perf_counter()
    if way in ("centres", "grid"):
        # A grid as dense as the peers' densest: 64 crops of some 0.4 of a tile's side more than a tile.
        settings = OURS.model_copy(update={"prompts": way, "points_per_side": points})
        ours = SamSegmenter(model, settings)
        if way == "centres":
            took, found = _median_of_three(lambda: ours.segment(scene.image))
        else:
            found = ours.segment(scene.image)
            took = time.perf_counter() - started
    else:
        sam_peers.install_stand_in()
        run = sam_peers.pipeline_masks if way == "pipeline" else sam_peers.segment_anything_masks
        with torch.inference_mode():
            found = run(model, raise_contrast(scene.image), {**PEERS, "points": points})
        took = time.perf_counter() - started
    _write(out, took, found)


def _median_of_three(run: Callable[[], Instances]) -> tuple[float, Instances]:
    """Seconds of a run, and what it gave."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), found


def _write(out: Path, took: float, found: Instances) -> None:
    counts = [{"size": list(r["size"]), "counts": r["counts"].decode()} for r in found.rles]
    # Not `getrusage`: that begins with what the process held from which this one was started.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1e3
    out.write_text(json.dumps({"seconds": took, "megabytes": peak, "rles": counts}))


def compare_generation(points: int, work: Path, threads: int, ways: list[str], overlap_aware: str) -> None:
    """Print the table of generation."""
    wanted = scored_objects(generate_scene(0, SCENE).instances())
    rows: dict[str, Any] = {}
    for way in ways:
        out = work / f"{way}.json"
        numbers = ["--points", f"{points}", "--threads", f"{threads}", "--overlap-aware", overlap_aware]
        subprocess.run([sys.executable, __file__, "--way", way, "--out", out, "--work", work, *numbers], check=True)
        rows[way] = json.loads(out.read_text())
        found = Instances.from_rles(
            [{**r, "counts": r["counts"].encode()} for r in rows[way].pop("rles")], (SCENE.height, SCENE.width)
        )
        rows[way] |= {"counts": count(scored_objects(found).iou(wanted), 0.5), "instances": scored_objects(found)}
    ours = rows[ways[0]]
    print(f"\n{len(wanted)} cells in {SCENE.width} x {SCENE.height}, {points} points a side in each crop of the peers")
    print("| way | seconds | times ours | peak MB | AP50 | precision | recall | AP50 of ours against it |")
    for way, row in rows.items():
        counts = row["counts"]
        agreement = count(ours["instances"].iou(row["instances"]), 0.5).ap
        print(
            f"| {way} | {row['seconds']:.1f} | {row['seconds'] / ours['seconds']:.2f} | {row['megabytes']:.0f} "
            f"| {counts.ap:.3f} | {counts.precision:.3f} | {counts.recall:.3f} | {agreement:.3f} |"
        )


@torch.no_grad()
def compare_logits() -> None:
    """The same tile and points through all three: greatest difference of logits and scores."""
    sam_peers.install_stand_in()
    model = load_base()
    scene = generate_scene(0, SceneConfig(width=256, height=256))
    tile = torch.from_numpy(raise_contrast(scene.image))[None]
    points = torch.rand(1, 12, 2, generator=torch.Generator().manual_seed(0)) * 256
    masks, quality = model.decode(model.encode(to_pixels(tile)), points)
    swapped = sam_peers.swap_mask_tokens(model)
    labels = torch.ones(1, 12, 1, dtype=torch.int64)
    theirs = swapped(pixel_values=to_pixels(tile), input_points=points[:, :, None], input_labels=labels)
    difference = float((theirs.pred_masks[0, :, 0] - masks[0]).abs().max())
    scores = float((theirs.iou_scores[0, :, 0] - quality).abs().max())
    print(f"greatest difference of logits, transformers: {difference:.1e}; of scores {scores:.1e}")
    sam = sam_peers.segment_anything_model(model)
    sparse, dense = sam.prompt_encoder(points=(points[0][:, None], labels[0]), boxes=None, masks=None)
    logits, quality_there = sam.mask_decoder(
        image_embeddings=sam.image_encoder(to_pixels(tile)),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    difference = float((logits[:, 0] - masks[0]).abs().max())
    scores = float((quality_there[:, 0] - quality[0]).abs().max())
    print(f"greatest difference of logits, segment-anything: {difference:.1e}; of scores {scores:.1e}")


def compare_training(runs: int) -> None:
    """Seconds of loss and gradients: our batch, and an image at a time."""
    scene = generate_scene(3, SceneConfig(width=512, height=512, cells_per_megapixel=(120, 120)))
    quick = FAMILY.read_recipe("quick")
    recipe = quick.model_copy(update={"lora": LoraSettings(rank=quick.lora.rank, dropout=0.0), "seed": 1})
    crops = PromptCropSettings(scale=recipe.scale, max_cells=recipe.max_cells)
    dataset = PromptCrops([(scene.image, scene.instances())], recipe.batch, crops)
    items = [dataset[i] for i in range(recipe.batch)]
    adapted = add_adapter(load_base(), recipe.lora)
    model = adapted.get_base_model()
    trained = [p for p in adapted.parameters() if p.requires_grad]

    def batched() -> float:
        batch = trimmed_batch(items)
        kind = batch["kind"]
        outputs = adapted(tiles=batch["tiles"], points=batch["points"], prompted=kind != PADDING, drawn=kind == CELL)
        loss = training_loss(outputs, batch, recipe)
        loss.backward()
        return float(loss.detach())

    # The loop has the library's attention in its windows, as a plain SamModel has.
    plain = SamModel(model.config).vision_encoder
    plain_attention = [type(layer.attn) for layer in plain.layers]
    own_attention = [type(layer.attn) for layer in model.vision_encoder.layers]

    def one_by_one() -> float:
        total = 0.0
        for item in items:
            prompted = item["kind"] != PADDING
            batch = {n: v[prompted][None] if n in ("points", "kind", "masks") else v[None] for n, v in item.items()}
            embedding = model.encode(to_pixels(batch["tiles"]))
            points = batch["points"]
            prompts, dense = model.prompt_encoder(
                points[:, :, None], torch.ones(1, points.shape[1], 1, dtype=torch.int64), None, None
            )
            masks, quality = model.mask_decoder(
                image_embeddings=embedding,
                image_positional_embeddings=model.get_image_wide_positional_embeddings(),
                sparse_prompt_embeddings=prompts,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )[:2]
            cell = batch["kind"] == CELL
            outputs = {"heat": model.centre_head(embedding), "quality": quality[..., 0], "logits": masks[:, :, 0][cell]}
            loss = training_loss(outputs, batch, recipe) / len(items)
            loss.backward()
            total += float(loss.detach())
        return total

    ways = {"our batch": batched, "an image at a time": one_by_one}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, tuple[float, torch.Tensor]] = {}
    for fast in (False, True):
        for run in range(runs + 1):
            for name, way in ways.items():
                for parameter in trained:
                    parameter.grad = None
                kinds = own_attention if way is batched else plain_attention
                for layer, kind in zip(model.vision_encoder.layers, kinds, strict=True):
                    layer.attn.__class__ = kind
                started = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                    loss = way()
                if fast and run:
                    seconds[name].append(time.perf_counter() - started)
                if not fast and run == 0:
                    found[name] = loss, torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
            if not fast:
                break
    (loss, gradient), (other, theirs) = found.values()
    apart = float((gradient - theirs).norm() / theirs.norm())
    print(f"\nloss {loss:.6f} and {other:.6f}; gradients differ by {apart:.1e} of their length")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"| {name} | {value:.2f} s a step | {value / medians['our batch']:.2f} |")


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--points", type=int, default=12)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--skip", nargs="*", default=[], choices=("logits", "generation", "training"))
    parser.add_argument("--overlap-aware", default="centres:general", help="A model of the family centres.")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    np.seterr(all="ignore")
    if given.way:
        generate(given.way, given.points, given.out, given.overlap_aware)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    if "logits" not in given.skip:
        compare_logits()
    if "training" not in given.skip:
        compare_training(given.runs)
    if "generation" not in given.skip:
        compare_generation(given.points, given.work, given.threads, given.ways, given.overlap_aware)


if __name__ == "__main__":
    main()
