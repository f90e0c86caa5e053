from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from glioma_hf import InputError, overlap_ap
from glioma_hf.cli import app
from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import has_split, load_images
from glioma_hf.metrics.overlapped import covered_shares
from glioma_hf.synthetic.compose import OverlapConfig
from glioma_hf.workflows.composing import compose

HEAVY = OverlapConfig(cells=12, covered=(0.4, 0.8))


def test_a_composed_test_set_is_prepared_and_tells_heavy_overlap_apart(folder, tmp_path):
    laid = compose(folder, tmp_path / "heavy.zip", copies=2, seed=3, config=HEAVY)
    prepare(tmp_path / "heavy.zip", tmp_path / "heavy")
    before, after = load_images(folder, "test"), load_images(tmp_path / "heavy", "test")
    assert not has_split(tmp_path / "heavy", "train")
    assert len(after) == 2 * len(before)
    assert sum(len(item.instances) for item in after) == 2 * sum(len(item.instances) for item in before) + laid
    for old, new in zip(np.repeat(before, 2), after, strict=True):
        own = len(old.instances)
        assert new.instances.select(slice(own)).rles == old.instances.rles
        assert (covered_shares(new.instances)[own:] >= 0.39).all()
    perfect = [(item.instances, item.instances) for item in after]
    flat = [(item.instances.flatten(), item.instances) for item in after]
    whole, erased = (overlap_ap(pairs, extras=["overlapped"]).overlapped[-1] for pairs in (perfect, flat))
    assert whole.references > 5
    assert whole.recall == 1 > erased.recall  # a label map can't hold what others cover
    compose(folder, tmp_path / "again.zip", copies=2, seed=3, config=HEAVY)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "heavy.zip").read_bytes()


def test_it_is_a_command(folder, tmp_path):
    arguments = ["data", "compose", str(folder), "--out", str(tmp_path / "o.zip"), "--cells", "4", "--covered"]
    done = CliRunner().invoke(app, [*arguments, "0.1", "0.9"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "cells were laid over others" in done.output
    wrong = CliRunner().invoke(app, [*arguments, "0.9", "0.1"])
    assert isinstance(wrong.exception, InputError)


def test_what_can_not_be_composed_is_said(folder, tmp_path):
    with pytest.raises(InputError, match="one of train, validation, test"):
        compose(folder, tmp_path / "o.zip", split="gen")
    (tmp_path / "mine.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"mine\.zip"):
        compose(folder, tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").read_bytes() == b"mine"
