"""Instances to and from the files of other programs: label maps and ImageJ's regions of interest."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tifffile

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.rle import contours
from glioma_hf.segmentation import Priority, polygons_to_rles

MAX_ROIS = 100_000
MAX_ROI_BYTES = 2**20
MAX_ROIS_BYTES = 2**25  # of all regions together


def write_label_map(instances: Instances, path: str | Path, priority: Priority = "first", by_id: bool = False) -> None:
    """A TIFF of labels 1 ... N in the order of `instances`, or their ids; 16 bits, or 32 where they are too large.

    A label map can't hold overlaps: a contested pixel goes to the earlier object (of predictions: the one
    of higher score), or with the priority "last" to the later.
    """
    labels = instances.to_label_map(priority)
    if by_id:
        labels = np.r_[0, instances.ids][labels]
    kind = np.uint16 if max(len(instances), labels.max(initial=0)) < 2**16 else np.uint32
    tifffile.imwrite(path, labels.astype(kind), compression="zlib", photometric="minisblack", metadata=None)


def write_label_tiles(instances: Instances, path: str | Path, side: int = 512) -> None:
    """The label map that `write_label_map` writes, in tiles, each made from the objects that reach into it alone.

    What is held doesn't grow with the image. It is a BigTIFF where it may have over 4 GB.
    """
    kind = np.uint16 if len(instances) < 2**16 else np.uint32
    tifffile.imwrite(
        path,
        (tile.astype(kind) for tile in _label_tiles(instances, side)),
        shape=instances.size,
        dtype=kind,
        tile=(side, side),
        bigtiff=math.prod(instances.size) * np.dtype(kind).itemsize >= 2**32 - 2**25,
        compression="zlib",
        photometric="minisblack",
        metadata=None,
    )


def _label_tiles(instances: Instances, side: int) -> Iterator[np.ndarray]:
    """Squares of the label map, row by row; the last of each reach beyond the image."""
    numbered = Instances.from_rles(instances.rles, instances.size, crowd=instances.crowd)  # ids are positions
    for top in range(0, instances.size[0], side):
        for left in range(0, instances.size[1], side):
            near = numbered.crop(top, left, side, side)
            yield np.r_[0, near.ids + 1][near.to_label_map()]


def write_rois(instances: Instances, path: str | Path, by_id: bool = False) -> None:
    """A zip of ImageJ regions, one per object, which ImageJ's ROI Manager opens; overlaps are kept.

    They are called cell_00001 ... in the order of `instances`, or by their ids.

    A region is one outline: of an object in several parts it is that of the largest; holes are filled.
    Objects without pixels are left out.
    """
    import roifile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        numbers = instances.ids.tolist() if by_id else range(1, len(instances) + 1)
        for number, (mask, corner) in zip(numbers, instances.box_masks(), strict=True):
            if mask.any():
                outline = max(contours(mask, corner), key=lambda points: np.prod(np.ptp(points, axis=0)))
                region = roifile.ImagejRoi.frompoints(outline.astype(np.float32), name=f"cell_{number:05}")
                archive.writestr(f"cell_{number:05}.roi", region.tobytes())


def write_geojson(
    instances: Instances, path: str | Path, measures: Sequence[Mapping[str, float]] | None = None
) -> None:
    """A GeoJSON file that QuPath opens by dragging it onto the image: a detection for each object, in pixels.

    Overlaps are kept; an object in several parts is a MultiPolygon. Objects without pixels are left out.

    Args:
        measures: of each object, by name and unit, shown in QuPath's table of measurements.
    """
    features = []
    for position, polygons in enumerate(instances.to_polygons()):
        if not polygons:
            continue
        rings = [[np.round(np.reshape([*polygon, *polygon[:2]], (-1, 2)), 2).tolist()] for polygon in polygons]
        geometry = {"type": "Polygon", "coordinates": rings[0]}
        if len(rings) > 1:
            geometry = {"type": "MultiPolygon", "coordinates": rings}
        told = {
            "objectType": "detection",
            "name": f"cell {instances.ids[position]}",
            "classification": {"name": "Cell"},
        }
        if measures is not None:
            told["measurements"] = dict(measures[position])
        features.append({"type": "Feature", "geometry": geometry, "properties": told})
    Path(path).write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def read_rois(data: bytes, size: tuple[int, int], name: str) -> Instances:
    """Instances from a zip of ImageJ regions (polygons, freehand and traced outlines) in an image of `size`.

    Raises `InputError` that names the file and the region for anything else, and for more than `MAX_ROIS` regions or
    `MAX_ROIS_BYTES` bytes of them.
    """
    polygons, names = [], []
    for member, content in _members(data, name):
        points = _outline(content)
        if points is None:
            raise InputError(f"{name}: {member} isn't a readable ImageJ region")
        if len(points) < 3:
            raise InputError(f"{name}: {member} isn't an outline; use polygon or freehand selections")
        polygons.append([points.ravel()])
        names.append(member)
    return Instances.from_rles(polygons_to_rles(polygons, size, lambda i: f"{name}: {names[i]}"), size)


def _members(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each region in a zip, unpacked in bounds."""
    left = MAX_ROIS_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if m.filename.lower().endswith(".roi")]
            if not members or len(members) > MAX_ROIS:
                raise InputError(f"{name}: {len(members)} ImageJ regions in it; 1 to {MAX_ROIS} can be read")
            for member in members:
                if member.file_size > MAX_ROI_BYTES:
                    raise InputError(f"{name}: {member.filename} holds {member.file_size} bytes, too many for a region")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"{name}: {member.filename} is packed as ImageJ never does; zip it anew")
                with archive.open(member) as file:
                    content = file.read(MAX_ROI_BYTES)
                left -= len(content)
                if left < 0:
                    raise InputError(f"{name}: its regions hold over {MAX_ROIS_BYTES} bytes; split it")
                yield member.filename, content
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError, struct.error) as error:
        raise InputError(f"{name}: not a whole zip of ImageJ regions ({error})") from None


def _outline(content: bytes) -> np.ndarray | None:
    """Points of a region, float64 (P, 2), none where it is no outline; None where it can't be read."""
    import roifile

    outline_types = (roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.FREEHAND, roifile.ROI_TYPE.TRACED)
    try:
        region = roifile.ImagejRoi.frombytes(content)
        if region.roitype not in outline_types:
            return np.zeros((0, 2))
        points = np.asarray(region.coordinates(), np.float64)
    except Exception:  # the library raises whatever a damaged region leads it to
        return None
    return points if points.ndim == 2 and points.shape[1] == 2 else None
