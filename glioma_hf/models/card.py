"""The card of a saved model: what it is, what it was trained on and scored, how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from glioma_hf.models.base import Family
    from glioma_hf.models.saved import TrainingScores

THIS = "THIS_FOLDER"  # stands in a card for the name by which the model is loaded

TEXT = """# {title} for overlapping cells

{summary}

{scores}

```python
from glioma_hf import load_segmenter

segmenter = load_segmenter("{this}")
```

## Recipe

`recipe.json`, read by `glioma-hf train --recipe recipe.json`:

| setting | value |
|---|---|
{recipe}
"""


def card(family: Family, base: str, recipe: Any, scores: TrainingScores | None = None) -> str:
    """README.md of a saved model, with what the Hub reads at its head."""
    head: dict[str, Any] = {
        "library_name": family.library,
        "tags": [*family.tags, "image-segmentation", "cell-segmentation", "microscopy"],
    }
    if base not in family.not_on_hub and not Path(base).is_dir():
        head["base_model"] = base
    if scores is not None and scores.validation_ap50 is not None:
        metric = {"type": "overlap_ap", "name": "AP50", "value": round(scores.validation_ap50, 4)}
        result = {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": scores.data, "type": scores.data, "split": "validation"},
            "metrics": [metric],
        }
        head["model-index"] = [{"name": f"{family.title} on {base}", "results": [result]}]
    text = TEXT.format(
        title=family.title,
        summary=family.summary(base, recipe),
        scores=_told(scores),
        this=THIS,
        recipe="\n".join(f"| `{name}` | {value} |" for name, value in _flat(recipe.model_dump()) if recipe is not None),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{text}"


def _told(scores: TrainingScores | None) -> str:
    if scores is None:
        return "It was scored on no data set."
    trained = f"Trained on {', '.join(scores.training_images)} of the data set {scores.data} (task {scores.task})."
    if scores.unlabelled_images:
        trained += f" Trained too on {', '.join(scores.unlabelled_images)}, with labels that a model gave them."
    if scores.validation_ap50 is None:
        return f"{trained} It was scored on no image; its thresholds are those that the recipe's model came with."
    return (
        f"{trained} AP at IoU 0.5 on its {len(scores.validation_images)} validation images: "
        f"{scores.validation_ap50:.3f}. Thresholds were chosen on those images, so the score there flatters; "
        f"`thresholds.json` holds them."
    )


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows
