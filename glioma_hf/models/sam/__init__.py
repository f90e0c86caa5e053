"""SAM: LoRA from one image, prompts from learned cell centres, generation by tiles."""
