"""What every model here is: an image in, `Instances` out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from glioma_hf.instances import Instances

Progress = Callable[[float], None]


def no_progress(share: float) -> None:
    """Takes the share of the work that is done, and says nothing."""


@runtime_checkable
class Segmenter(Protocol):
    """Anything that finds instances in an image."""

    def segment(self, image: np.ndarray, progress: Progress = no_progress) -> Instances:
        """Instances, with scores, of one image.

        Args:
            image: (H, W) or (H, W, channels), any numeric type.
            progress: called with the share of the work done, 0 ... 1; may raise to stop the work.
        """
        ...
