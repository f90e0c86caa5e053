"""What `glioma-hf push` does: a saved model to the Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from glioma_hf import hub
from glioma_hf.models.saved import ModelFolder


def push_model(folder: str | Path, repo: str, private: bool = False, dry_run: bool = False) -> tuple[list[str], str]:
    """A saved model's files to a model repository on the Hub, compared there with what was sent.

    Returns the files' names and the address (the repository's name in a dry run). Raises `InputError` where the
    folder holds no model or the Hub refuses.
    """
    hub.check_repo(repo)
    with tempfile.TemporaryDirectory() as work:
        names = ModelFolder(folder).copy_to(Path(work), repo)
        return names, repo if dry_run else hub.push(Path(work), names, repo, private, kind="model")
