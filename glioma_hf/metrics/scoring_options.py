"""What is scored and how: the one place for the metric's settings and their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.segmentation import Priority

Mode = Literal["overlapping", "flattened"]
BorderRule = Literal["exclude", "ignore"]


@dataclass(frozen=True)
class ScoringOptions:
    """What is scored and how; the defaults are the paper's (section 4, "Metrics").

    Attributes:
        thresholds: IoUs at which a pair counts as a match, equality included.
        mode: "overlapping" scores masks as they are (the paper's Table 2), "flattened" first gives each
            contested pixel to one object, on both sides (Table 4).
        priority: in the mode "flattened", whether the "first" or the "last" of the objects in annotation order wins a
            contested pixel. Predictions with scores are in order of rank: of these the earlier wins either way.
        border: width in pixels of the frame whose objects are left out (NeurIPS 2022 and MEDIAR rule).
        border_rule: "exclude" leaves them out of each side on its own, as the paper does, so that the
            partner of one that was left out is an error; "ignore" (ours) lets them take that partner
            along: it then counts on neither side.
        min_area: objects of fewer pixels are left out of both sides.

    Raises `InputError` for thresholds outside 0 ... 1 or given twice, for a border or area that is no whole number
    from 0 on, and for an unknown mode or rule.
    """

    thresholds: tuple[float, ...] = (0.5, 0.75, 0.9)
    mode: Mode = "overlapping"
    border: int = 2
    border_rule: BorderRule = "exclude"
    min_area: int = 1
    priority: Priority = "first"

    def told(self) -> str:
        """The mode in words, with the priority where it counts."""
        return self.mode if self.mode == "overlapping" else f"{self.mode}, the {self.priority} of overlapping ones wins"

    def __post_init__(self) -> None:
        values = [float(t) for t in np.atleast_1d(np.asarray(self.thresholds, float))]
        if not values or any(not 0 < t <= 1 for t in values) or len(set(values)) != len(values):
            raise InputError(f"IoU thresholds are distinct numbers above 0 and up to 1, not {list(self.thresholds)}")
        object.__setattr__(self, "thresholds", tuple(values))
        for name in ("border", "min_area"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise InputError(f"the {name.replace('_', ' ')} is a whole number of pixels from 0 on, not {value!r}")
        for name, kind in (("mode", Mode), ("border_rule", BorderRule), ("priority", Priority)):
            if getattr(self, name) not in get_args(kind):
                known = " or ".join(repr(v) for v in get_args(kind))
                raise InputError(f"the {name.replace('_', ' ')} {getattr(self, name)!r} isn't known; it is {known}")
