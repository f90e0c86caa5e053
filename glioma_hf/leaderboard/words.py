"""The words that rows say what they are by: roles, sources, states, kinds and modes."""

from __future__ import annotations

from glioma_hf.metrics.scoring_options import Mode

DEVELOPER, MAINTAINER = "developer", "maintainer"
PAPER, HERE = "paper", "here"  # where a model's figures are from
RECEIVED, SCORING, SCORED, FAILED, WITHDRAWN = "received", "scoring", "scored", "failed", "withdrawn"
STATES = (RECEIVED, SCORING, SCORED, FAILED, WITHDRAWN)
STANDING = (RECEIVED, SCORING, SCORED)  # of a model and task there is one of these
RESULTS, LABEL_MAPS, MODEL = "results", "label_maps", "model"
KINDS = (RESULTS, LABEL_MAPS, MODEL)
MODES: tuple[Mode, ...] = ("overlapping", "flattened")
