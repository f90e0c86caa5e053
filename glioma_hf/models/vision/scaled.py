"""What segmenters share whose settings have one threshold of the score and one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glioma_hf.models.base import Segmenter

if TYPE_CHECKING:
    from typing_extensions import Self


class ScaledSegmenter(Segmenter):
    """A `Segmenter` whose settings have `score_thresh`, `scale`, `min_area` and `cell_diameter`."""

    @property
    def score_threshold(self) -> float:
        """The score from which a cell is kept."""
        return float(self.settings.score_thresh)

    def with_score_threshold(self, threshold: float) -> Self:
        """The same model with another threshold of the score."""
        return self.with_settings(score_thresh=threshold)

    def for_diameter(self, diameter: float) -> Self:
        """The same model for images whose cells are about `diameter` pixels across."""
        factor = diameter / self.settings.cell_diameter
        return self.with_settings(
            scale=self.settings.scale / factor,
            min_area=round(self.settings.min_area * factor**2),
            cell_diameter=diameter,
            **self.lengths(factor),
        )

    def lengths(self, factor: float) -> dict[str, Any]:
        """Further settings that grow with cells `factor` times as wide."""
        return {}
