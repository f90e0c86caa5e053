"""Images made smaller and larger than those that a model knows: AP50 as it is, with the diameter that it estimates, and
with the true one.

    python benchmarks/diameter.py --data T98G_PREPARED [--model centres:glioblastoma] [--zooms 0.25 0.5 1 2 3.5]

T98G_PREPARED is made by `glioma-hf data prepare`; its validation images are resized, and their outlines with them. The
true diameter is the median over an image's references of the circle of the same area. One view.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from skimage.transform import rescale

from glioma_hf import Instances, load_segmenter, overlap_ap
from glioma_hf.data.splits import load_images
from glioma_hf.models.base import typical_diameter
from glioma_hf.models.diameter import estimate_diameter, fitted


def zoomed(pixels: np.ndarray, cells: Instances, zoom: float) -> tuple[np.ndarray, Instances]:
    """An image (H, W) and its references, `zoom` times as large."""
    if zoom == 1:
        return pixels, cells
    image = rescale(pixels, zoom, preserve_range=True, anti_aliasing=zoom < 1).astype(np.uint8)
    polygons = [[[zoom * value for value in part] for part in parts] for parts in cells.to_polygons()]
    return image, Instances.from_polygons(polygons, image.shape)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="centres:glioblastoma")
    parser.add_argument("--zooms", type=float, nargs="+", default=[0.25, 0.35, 0.5, 1, 2, 3.5])
    given = parser.parse_args()
    model = load_segmenter(given.model)
    model = model.with_settings(views=1) if "views" in type(model.settings).model_fields else model
    images = load_images(given.data, "validation")
    print(f"{given.model}, made for cells of {model.diameter} pixels")
    print("| zoom | true diameters | estimated | CPU seconds of a look | AP50 as it is | estimated | true |")
    print("|---|---|---|---|---|---|---|")
    for zoom in given.zooms:
        true, estimated, seconds = [], [], []
        pairs: dict[str, list[tuple[Instances, Instances]]] = {"as it is": [], "estimated": [], "true": []}
        for item in images:
            pixels, references = zoomed(item.pixels, item.instances, zoom)
            true.append(typical_diameter([(pixels, references)]))
            started = time.process_time()
            estimated.append(estimate_diameter(model, pixels))
            seconds.append(time.process_time() - started)
            ways = {"as it is": model, "estimated": fitted(model, pixels)[0], "true": model.for_diameter(true[-1])}
            for name, way in ways.items():
                pairs[name].append((way.segment(pixels), references))
        scores = [f"{overlap_ap(found).ap50:.3f}" for found in pairs.values()]
        shown = [", ".join(f"{value:.0f}" if value else "none" for value in values) for values in (true, estimated)]
        print(f"| {zoom:g} | {' | '.join(shown)} | {np.median(seconds):.1f} | {' | '.join(scores)} |", flush=True)


if __name__ == "__main__":
    main()
