"""Instances to and from the files of other programs: label maps and ImageJ's regions of interest."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tifffile

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.rle import contours

MAX_ROIS = 100_000
MAX_ROI_BYTES = 2**20


def write_label_map(instances: Instances, path: str | Path) -> None:
    """A TIFF of labels 1 ... N in the order of `instances`, 16 bits, or 32 where there are too many.

    A label map can't hold overlaps: a contested pixel goes to the earlier object (of predictions: the one
    of higher score).
    """
    labels = instances.to_label_map()
    kind = np.uint16 if len(instances) < 2**16 else np.uint32
    tifffile.imwrite(path, labels.astype(kind), compression="zlib", photometric="minisblack", metadata=None)


def write_rois(instances: Instances, path: str | Path) -> None:
    """A zip of ImageJ regions, one per object, which ImageJ's ROI Manager opens; overlaps are kept.

    A region is one outline: of an object in several parts it is that of the largest; holes are filled.
    Objects without pixels are left out.
    """
    import roifile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (mask, corner) in enumerate(instances.box_masks(), start=1):
            if mask.any():
                outline = max(contours(mask, corner), key=lambda points: np.prod(np.ptp(points, axis=0)))
                region = roifile.ImagejRoi.frompoints(outline.astype(np.float32), name=f"cell_{number:05}")
                archive.writestr(f"cell_{number:05}.roi", region.tobytes())


def read_rois(data: bytes, size: tuple[int, int], name: str) -> Instances:
    """Instances from a zip of ImageJ regions (polygons, freehand and traced outlines) in an image of `size`.

    Raises `InputError` that names the file and the region for anything else.
    """
    import roifile

    outlines = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if m.filename.lower().endswith(".roi")]
            if not members or len(members) > MAX_ROIS:
                raise InputError(f"{name}: {len(members)} ImageJ regions in it; 1 to {MAX_ROIS} can be read")
            for member in members:
                if member.file_size > MAX_ROI_BYTES:
                    raise InputError(f"{name}: {member.filename} holds {member.file_size} bytes, too many for a region")
                outlines.append((member.filename, archive.read(member)))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise InputError(f"{name}: not a whole zip of ImageJ regions ({error})") from None
    polygons = []
    outline_types = (roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.FREEHAND, roifile.ROI_TYPE.TRACED)
    for member_name, content in outlines:
        try:
            region = roifile.ImagejRoi.frombytes(content)
            points = np.asarray(region.coordinates(), np.float64) if region.roitype in outline_types else None
        except Exception:  # the library raises whatever a damaged region leads it to
            raise InputError(f"{name}: {member_name} isn't a readable ImageJ region") from None
        if points is None or len(points) < 3:
            raise InputError(f"{name}: {member_name} isn't an outline; use polygon or freehand selections")
        polygons.append([points.ravel().tolist()])
    return Instances.from_polygons(polygons, size)
