"""The result of `overlap_ap`: attributes, names, frame, table and picture of the same hand-worked numbers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioma_hf import InputError, Instances
from glioma_hf.metrics.intervals import ap_intervals
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.overlap_ap import EXTRAS, overlap_ap
from glioma_hf.metrics.scores import CURVE, OverlapScores
from glioma_hf.metrics.scoring_options import ScoringOptions
from tests.metrics.test_overlap_ap import cells
from tests.strategies import instances, stacks

REFERENCES = cells((5, 5, 10), (20, 5, 10), (5, 20, 10))
# exact; shifted by 2 of 10 (IoU 80 / 120); elsewhere
PREDICTIONS = cells((5, 5, 10), (22, 5, 10), (25, 25, 10))
COVERED = ("references", "recall", "miou")
PAIRS = [(PREDICTIONS, REFERENCES), (REFERENCES, REFERENCES), (Instances.empty((40, 40)), REFERENCES)]
FREE = [extra for extra in EXTRAS if extra != "coco"]  # those that need no scores of predictions


@pytest.fixture(scope="module")
def scores() -> OverlapScores:
    return overlap_ap(PAIRS, extras=FREE)


def test_attributes_by_hand(scores):
    # At 0.5: 2, 3 and 0 of nine references, one prediction left over. At 0.75 and 0.9 one match less.
    assert (scores.tp, scores.fp, scores.fn) == (5, 1, 4)
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((5 / 6, 5 / 9, 10 / 15))
    assert scores.ap50 == 0.5
    strict = scores.at(0.75)
    assert (strict.tp, strict.fp, strict.fn, strict.threshold) == (4, 2, 5, 0.75)
    assert (strict.ap, strict.precision, strict.recall, strict.f1) == pytest.approx((4 / 11, 4 / 6, 4 / 9, 8 / 15))
    assert scores.ap75 == scores.ap90 == 4 / 11
    assert (scores.images, scores.predictions, scores.references) == (3, 6, 9)
    assert [image.counts[0] for image in scores.per_image] == [Counts(2, 1, 1), Counts(3, 0, 0), Counts(0, 0, 3)]


def test_extras_by_hand(scores):
    assert scores.curve == {t: 0.5 if t <= 0.65 else 4 / 11 for t in CURVE}
    assert scores.ap50_95 == pytest.approx((4 * 0.5 + 6 * 4 / 11) / 10)
    assert scores.panoptic.sq == pytest.approx((4 + 2 / 3) / 5)
    assert scores.image_means[0.5].ap == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores.image_means[0.75].recall == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert scores.best_match.miou == pytest.approx((1 + 2 / 3 + 0 + 3) / 9)
    assert scores.coco_map is None


def test_what_was_not_asked_for_is_none():
    plain = overlap_ap(PAIRS)
    names = ("curve", "ap50_95", "panoptic", "image_means", "best_match", "mhd", "coco_map", "overlapped", "outcomes")
    assert all(getattr(plain, name) is None for name in names)
    assert plain.at(0.5).interval is None
    with pytest.raises(InputError, match=r"IoU 0.6 wasn't scored, but 0.5, 0.75, 0.9; give it among the thresholds"):
        plain.at(0.6)
    with pytest.raises(InputError, match=r"IoU 0.5 wasn't scored, but 0.3"):
        _ = overlap_ap(PAIRS, thresholds=[0.3]).ap50


def test_dict_has_the_names_values_and_order_that_files_rely_on(scores):
    plain = overlap_ap(PAIRS).to_dict()
    per_threshold = ["tp", "fp", "fn", "precision", "recall", "f1"]
    assert list(plain) == [
        *("ap50", *per_threshold),
        *("ap75", *(f"{name}_75" for name in per_threshold)),
        *("ap90", *(f"{name}_90" for name in per_threshold)),
        *("images", "predictions", "references"),
    ]
    extras = scores.to_dict()
    assert list(extras)[len(plain) :] == [
        *("ap55", "ap60", "ap65", "ap70", "ap80", "ap85", "ap95", "ap50_95", "rq", "sq", "pq"),
        *("mean_ap50", "mean_precision", "mean_recall", "mean_f1"),
        *("mean_ap75", "mean_precision_75", "mean_recall_75", "mean_f1_75"),
        *("mean_ap90", "mean_precision_90", "mean_recall_90", "mean_f1_90"),
        *("ap50_low", "ap50_high", "ap75_low", "ap75_high", "ap90_low", "ap90_high", "mdice", "miou", "mhd"),
        *(f"{name}_covered_{share}" for share in ("0_1", "1_10", "10_30", "30_100") for name in COVERED),
        *("references_contested", "ap_contested", "tp_contested", "fp_contested", "fn_contested"),
    ]
    assert {name: extras[name] for name in plain} == plain
    assert list(overlap_ap(PAIRS, thresholds=[0.925, 0.3]).to_dict())[:8] == ["ap92.5", *per_threshold, "ap30"]


@given(stacks(6), st.integers(0, 6), st.lists(st.sampled_from(FREE), unique=True))
def test_dict_and_attributes_are_the_same_numbers(stack, split, extras):
    scores = overlap_ap([(instances(stack[:split]), instances(stack[split:]))] * 2, extras=extras)
    values = scores.to_dict()
    for threshold, suffix in ((0.5, ""), (0.75, "_75"), (0.9, "_90")):
        at = scores.at(threshold)
        assert values[f"ap{100 * threshold:.0f}"] == at.ap
        for name in ("tp", "fp", "fn", "precision", "recall", "f1"):
            assert values[name + suffix] == getattr(at, name)
        if "interval" in extras:
            assert (values[f"ap{100 * threshold:.0f}_low"], values[f"ap{100 * threshold:.0f}_high"]) == at.interval
    assert ("pq" in values) == (scores.panoptic is not None) == ("panoptic" in extras)
    assert ("mhd" in values) == (scores.mhd is not None) == ("hausdorff" in extras)


def test_intervals_follow_from_the_counts_without_scoring_again(scores):
    plain = overlap_ap(PAIRS)
    for seed in (0, 5):
        asked = overlap_ap(PAIRS, extras=["interval"], seed=seed)
        assert plain.intervals(seed) == {t: asked.at(t).interval for t in (0.5, 0.75, 0.9)}
    assert scores.at(0.55).interval == scores.at(0.5).interval  # the curve's thresholds have one too
    # By hand: of two images, one perfect and one missed, every second draw takes one of each.
    low, high = ap_intervals([[Counts(1, 0, 0)], [Counts(0, 0, 1)]], seed=1)[0]
    assert (low, high) == (0, 1)
    assert ap_intervals([]) == []


def test_one_image_alone(scores):
    for position, pair in enumerate(PAIRS):
        alone = overlap_ap([pair], extras=["curve", "panoptic", "image_means", "interval"])
        assert scores.image(position).to_dict() == alone.to_dict()


def test_options_as_an_object_and_by_name():
    options = ScoringOptions(thresholds=(0.6,), mode="flattened", border=0)
    by_name = overlap_ap(PAIRS, thresholds=(0.6,), mode="flattened", border=0)
    assert overlap_ap(PAIRS, options) == by_name
    assert overlap_ap(PAIRS, options, border=0, mode="overlapping").options == ScoringOptions((0.6,), border=0)
    with pytest.raises(TypeError, match="medal"):
        overlap_ap(PAIRS, medal=3)


def test_frame_has_a_row_per_threshold(scores):
    frame = overlap_ap(PAIRS).to_frame()
    assert frame.index.tolist() == [0.5, 0.75, 0.9]
    assert frame.index.name == "iou"
    assert frame.columns.tolist() == ["ap", "precision", "recall", "f1", "tp", "fp", "fn"]
    assert frame.loc[0.75].tolist() == pytest.approx([4 / 11, 4 / 6, 4 / 9, 8 / 15, 4, 2, 5])
    full = scores.to_frame()
    assert full.index.tolist() == list(CURVE)
    assert (full.low <= full.ap).all()
    assert (full.ap <= full.high).all()


def test_printed_table(scores):
    lines = [line.split() for line in str(scores).splitlines()]
    assert lines[0] == ["IoU", "0.5", "0.75", "0.9"]
    assert lines[1] == ["ap", "0.5000", "0.3636", "0.3636"]
    assert lines[5] == ["tp", "5", "4", "4"]
    assert ["references", "9"] in lines
    assert ["pq", f"{scores.panoptic.pq:.4f}"] in lines
    assert repr(scores) == "OverlapScores(ap50=0.5000, ap75=0.3636, ap90=0.3636, images=3)"


def test_plot_of_the_curve_alone_and_of_several(scores, tmp_path):
    pytest.importorskip("matplotlib")
    axes = scores.plot(tmp_path / "curve.png", title="cells")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    (line,) = axes.get_lines()
    assert np.allclose(line.get_xydata(), list(scores.curve.items()))
    assert axes.get_legend() is None
    overlap_ap(PAIRS[:1]).plot(axes=axes, label="one image")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["AP", "one image"]
    assert axes.get_lines()[1].get_xdata().tolist() == [0.5, 0.75, 0.9]


def test_plot_without_matplotlib_is_refused_in_one_sentence(scores, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(InputError, match=r"matplotlib isn't installed; pip install 'glioma_hf\[plots\]' brings it"):
        scores.plot()
