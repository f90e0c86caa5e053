"""The model card of an adapter: what it was made from, by which recipe, and what it scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from glioma_hf.models.sam.sam import EMBEDDED

if TYPE_CHECKING:
    from glioma_hf.models.sam.train import TrainSettings

SCORES_FILE = "scores.json"  # beside the adapter

TEXT = """# LoRA adapter of SAM for overlapping cells

Base model: {base}. LoRA of rank {rank} on the queries and values of the image encoder and the mask decoder{head},
trained with `glioma_hf` on few annotated images.

{scores}

Thresholds were chosen on the validation images themselves, so the score there flatters; `generation.json` holds them.

```python
from glioma_hf.workflows.training import open_segmenter

segmenter = open_segmenter("{base}", "THIS_FOLDER")
```

## Recipe

`training.json`, read by `glioma-hf train --recipe training.json`:

| setting | value |
|---|---|
{recipe}
"""


def adapter_card(base: str, settings: TrainSettings, scores: dict[str, Any] | None = None) -> str:
    """README.md of an adapter's folder or repository.

    Args:
        base: name of the base model.
        settings: the recipe it was trained by.
        scores: `data`, `task`, `training_images`, `validation_images` and `validation_ap50`, where they are known.
    """
    head: dict[str, Any] = {
        "library_name": "peft",
        "tags": ["lora", "image-segmentation", "cell-segmentation", "microscopy"],
    }
    if base != EMBEDDED:
        head["base_model"] = base
    if scores:
        head["model-index"] = [
            {
                "name": f"LoRA on {base}",
                "results": [
                    {
                        "task": {"type": "image-segmentation"},
                        "dataset": {"name": scores["data"], "type": scores["data"], "split": "spec/validation"},
                        "metrics": [
                            {"type": "overlap_ap", "name": "AP50", "value": round(scores["validation_ap50"], 4)}
                        ],
                    }
                ],
            }
        ]
    flat = {**settings.model_dump(exclude={"lora"}), **{f"lora.{k}": v for k, v in settings.lora.model_dump().items()}}
    text = TEXT.format(
        base=base,
        rank=settings.lora.rank,
        head=", and a head that finds cell centres" if settings.lora.centre_head else "",
        scores=_scores(scores),
        recipe="\n".join(f"| `{name}` | {value} |" for name, value in flat.items()),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{text}"


def _scores(scores: dict[str, Any] | None) -> str:
    if not scores:
        return "It was scored on no data set."
    return (
        f"Trained on {', '.join(scores['training_images'])} of the data set {scores['data']} (task {scores['task']}). "
        f"AP at IoU 0.5 on its {len(scores['validation_images'])} validation images: {scores['validation_ap50']:.3f}."
    )
