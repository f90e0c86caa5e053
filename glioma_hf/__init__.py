"""Glioma C6: overlapping cells as data set, metric and models on the Hugging Face stack."""

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

__all__ = ["InputError", "Instances"]
__version__ = "0.1.0"
