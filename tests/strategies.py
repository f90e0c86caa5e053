"""Random masks for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glioma_hf import Instances

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def stacks(draw: st.DrawFn, most: int = 5) -> np.ndarray:
    """A boolean stack (N, H, W) of 0 to `most` masks, empty and overlapping ones among them."""
    height, width = draw(sizes)
    count = draw(st.integers(0, most))
    return draw(hnp.arrays(bool, (count, height, width)))


def instances(stack: np.ndarray, **columns) -> Instances:
    return Instances.from_masks(list(stack), stack.shape[1:], **columns)


def square(x: float, y: float, side: float) -> list[list[float]]:
    """One object of one square polygon."""
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]
