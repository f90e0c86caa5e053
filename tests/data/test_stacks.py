"""Files of several images."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from glioma_hf.data.images import read_image
from glioma_hf.data.stacks import read_plane, read_stack
from glioma_hf.errors import InputError

PLANES = np.stack([np.full((20, 30), value, np.uint16) for value in (1, 2, 3)])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"imagej": True, "metadata": {"axes": "CYX"}}, "channel 2"),
        ({"imagej": True, "metadata": {"axes": "ZYX"}}, "slice 2"),
        ({"ome": True, "metadata": {"axes": "TYX"}}, "time 2"),
        ({"photometric": "minisblack", "metadata": None}, "page 2"),
    ],
)
def test_each_plane_has_a_name(tmp_path, options, name):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, PLANES, **options)
    stack = read_stack(path)
    assert stack is not None
    assert stack.planes == 3
    assert stack.name(1) == name or name == "page 2"
    assert [int(read_plane(path, i).max()) for i in range(3)] == [1, 2, 3]
    with pytest.raises(InputError, match=r"stack\.tif: it has no page 4"):
        read_plane(path, 3)
    with pytest.raises(InputError, match="3 pages"):
        read_image(path)


def test_several_axes(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.arange(6, dtype=np.uint8).repeat(600).reshape(2, 3, 20, 30), imagej=True)
    stack = read_stack(path)
    assert stack is not None
    assert (stack.planes, stack.name(5)) == (6, "slice 2, channel 3")
    assert read_plane(path, 5).max() == 5


def test_one_image_is_no_stack(tmp_path):
    tifffile.imwrite(tmp_path / "grey.tif", PLANES[0])
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    (tmp_path / "text.tif").write_text("no image")
    for name in ("grey.tif", "colour.tif", "text.tif"):
        assert read_stack(tmp_path / name) is None
