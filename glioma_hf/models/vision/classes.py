"""The classes of objects that a network tells apart: in its config, and in the images that it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError
from glioma_hf.models.base import LabelledPixels


class ClassesConfig(BaseModel):
    """What a network tells apart; of one class alone it says what it was taught as cells."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[Literal["cell", "cell_a", "cell_b", "soma", "nucleus"], ...] = ()  # told apart; none: all are one

    @property
    def maps(self) -> int:
        """Maps of the network's heads: one a class."""
        return max(1, len(self.classes))


def classes_in(images: Sequence[LabelledPixels]) -> tuple[str, ...]:
    """The categories that images have, by name. Raises `InputError` where it is one alone."""
    present = np.unique(np.concatenate([instances.categories for _, instances in images])).tolist()
    if len(present) < 2:
        raise InputError(
            f"the training images have objects of one category alone ({CATEGORIES[present[0]]}); leave types out of "
            "the recipe, or train with --task all"
        )
    return tuple(CATEGORIES[category] for category in present)
