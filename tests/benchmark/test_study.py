"""Studies as YAML asks for them, random splits, and what is made of their scores."""

from __future__ import annotations

import numpy as np
import pytest

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.study import Counts, Study, draw_split, read_study, study_names, study_of
from glioma_hf.benchmark.study_results import RepeatResult, average, differences, image_interval, mean_interval
from glioma_hf.benchmark.study_written import difference_told, to_csv, to_latex, to_markdown
from glioma_hf.metrics.foreground import foreground, pixel_loss
from glioma_hf.metrics.pixel_dice import dice_score

PAIR = ("704p", "2592p")
PAPER = ("table1", "table2", "table3", "table4", "table5")


def result(variant: str, repeat: int, test: list[str], scores: list[float]) -> RepeatResult:
    return RepeatResult(
        job="j", variant=variant, repeat=repeat, pairs=[PAIR], train=["t"], validation=[], test=test, scores=[scores]
    )


# -- the score at a pair of resolutions, by hand -----------------------------------------


def test_dice_of_a_model_at_a_pair_of_resolutions():
    """Seen at 2 x 2, compared at 4 x 4: weights along a side are 1, 3/4, 1/4, 0.

    Of the prediction 2 x 2 pixels are 1/2 or more (9/16 among them), of the reference 3 x 3 are above 0.
    """
    corner = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert dice_score(corner, corner > 0, (4, 4)) == pytest.approx(2 * 4 / (4 + 9))
    assert dice_score(corner, corner > 0, (2, 2)) == 1.0


def test_instances_of_any_model_become_a_mask():
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :3, :3] = masks[1, 1:, 2:5] = True
    cells = Instances.from_masks(list(masks))
    assert np.array_equal(foreground(cells), masks.any(0))
    assert not foreground(Instances.empty((3, 4))).any()
    assert dice_score(foreground(cells), masks[0]) == pytest.approx(2 * 9 / (16 + 9))


def test_the_loss_is_small_where_the_map_is_right():
    mask = np.eye(4)
    assert pixel_loss(mask, mask) < 1e-3 < pixel_loss(np.full((4, 4), 0.5), mask) < pixel_loss(1 - mask, mask)


# -- random splits -----------------------------------------------------------------------


def test_splits_are_disjoint_seeded_and_of_the_counts():
    counts = Counts(train=15, validation=5, test=10)
    splits = [draw_split(30, counts, 7, repeat) for repeat in range(10)]
    for split in splits:
        assert (len(split.train), len(split.validation), len(split.test)) == (15, 5, 10)
        assert sorted(split.train + split.validation + split.test) == list(range(30))
    assert len({split.train for split in splits}) == 10
    assert splits == [draw_split(30, counts, 7, repeat) for repeat in range(10)]
    assert splits[0] != draw_split(30, counts, 8, 0)


def test_images_for_tests_alone_are_never_learned():
    held = frozenset(range(5))
    for repeat in range(20):
        split = draw_split(23, Counts(train=12, validation=3, test=8), 0, repeat, held)
        assert not held & set(split.train + split.validation)
        assert held <= set(split.test)
    with pytest.raises(InputError, match="6 images, 5 of them for tests alone, can't be split into 1 for training, 1"):
        draw_split(6, Counts(train=1, validation=1, test=2), 0, 0, held)


# -- averages and intervals --------------------------------------------------------------


def test_the_average_is_over_all_images_of_all_repeats():
    made = average(
        "v", PAIR, [result("v", 1, ["a", "b"], [0.8, 0.6]), result("v", 2, ["b", "c"], [0.9, 0.9])], paper=0.876
    )
    assert made.dice == pytest.approx(0.8)
    assert made.per_repeat == pytest.approx((0.7, 0.9))
    # Student's t with one degree of freedom: 12.706 times 0.1.
    assert made.over_repeats == pytest.approx((0.8 - 1.2706, 0.8 + 1.2706), abs=1e-3)
    assert made.over_images is not None
    assert 0.6 <= made.over_images[0] < 0.8 < made.over_images[1] <= 0.9
    assert average("v", PAIR, []).dice is None


def test_one_repeat_or_image_has_no_interval():
    assert mean_interval([0.5]) is None
    assert image_interval([(np.array([0.5]), ["a"])]) is None
    same = image_interval([(np.array([0.5, 0.5]), ["a", "b"])])
    assert same == pytest.approx((0.5, 0.5))


def test_differences_are_over_common_repeats_of_the_same_images():
    first = [result("one", 1, ["a", "b"], [0.9, 0.7]), result("one", 2, ["a", "c"], [0.8, 0.8])]
    second = [result("two", 1, ["a", "b"], [0.8, 0.6]), result("two", 2, ["a", "c"], [0.7, 0.7])]
    (found,) = differences({"one": first, "two": second}, PAIR)
    assert found.by == pytest.approx(0.1)
    assert found.over_images == pytest.approx((0.1, 0.1))
    assert found.exceeds
    assert difference_told(found).startswith("one over two at (704p, 2592p): +0.100 (+0.100 to +0.100 over repeats")
    (less,) = differences({"one": first, "two": second[:1]}, PAIR)
    assert less.over_repeats is None
    assert differences({"one": first, "two": [result("two", 1, ["x"], [0.5])]}, PAIR) == []


def test_tables_put_the_paper_beside():
    made = [
        average("a | b_c", PAIR, [result("v", 1, ["a", "b"], [0.8, 0.6])], 0.876),
        average("gone", PAIR, [], None, "no data"),
    ]
    text = to_markdown("Title", "Note", "Table 2", made, [])
    assert r"| a \| b_c | 704p | 2592p | 0.700 | - | 0.600 to 0.800 | 1 | *0.876* |" in text
    assert "- gone failed: no data" in text
    assert "not made here" in text
    assert r"a | b\_c & 704p & 2592p & 0.700 (-) & 0.876 \\" in to_latex(made)
    assert to_csv(made).splitlines()[1].startswith("a | b_c,704p,2592p,0.7,0.30000000000000004,,,0.6,0.8,1,0.876")
    assert "the paper" not in to_markdown("Title", "", "", [average("a", PAIR, [])], [])


# -- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", study_names())
def test_studies_of_the_package_are_read(name):
    study = read_study(name)
    assert study.title
    if name in PAPER:
        assert study.paper == f"Table {name[-1]}"
        assert (study.counts.train, study.counts.validation, study.counts.test, study.repeats) == (15, 5, 10, 10)
        assert (study.recipe["learning_rate"], study.recipe["epochs"]) == (1e-4, 300)
        assert all(each.recipe["epochs"] == 60 for each in study.pretraining.values())
        assert all(len(variant.paper) == len(variant.scored) for variant in study.variants)
    else:
        assert study.images.test_only == ["spec/test"]


def test_the_papers_figures_are_those_that_it_prints():
    figures = {name: [v.paper for v in read_study(name).variants] for name in PAPER}
    assert figures["table1"] == [[0.868], [0.930], [0.940], [0.913], [0.932], [0.940]]
    assert figures["table2"] == [[0.876, 0.696], [0.878, 0.742], [0.886, 0.817], [0.887, 0.632]]
    assert [value for (value,) in figures["table4"]] == [0.899, 0.903, 0.904, 0.903, 0.906, 0.906, 0.903]
    assert [value for (value,) in figures["table5"]] == [0.904, 0.904, 0.903, 0.902]
    assert max(value for (value,) in figures["table3"]) == 0.907


GOOD = {
    "data": {"d": "d"},
    "images": {"data": "d"},
    "resolutions": {"r": [64, 64]},
    "variants": [{"name": "v", "resolution": "r", "scored": [["r", "r"]]}],
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"counts": {"train": 1, "test": 0}}, "counts.test: a study without test images scores nothing"),
        ({"resolutions": {"r": [0, 64]}}, "the resolution is .width, height. in whole pixels"),
        ({"resolutions": {"s": [64, 64]}}, "the resolution 'r' isn't known; it is s"),
        ({"variants": []}, "variants"),
        ({"variants": GOOD["variants"] * 2}, "two variants are called 'v'; name them apart"),
        ({"variants": [{"name": "v", "scored": [["r", "r"]]}]}, "v: give the resolution at which it is trained, or a"),
        ({"variants": [{**GOOD["variants"][0], "paper": [0.5, 0.6]}]}, "the paper's figures are one for each of the 1"),
        ({"no_such": 1}, "no_such"),
        ({"pretraining": {"random": {"data": "d", "resolution": "r"}}}, "a pretraining can't be called random"),
        ({"variants": [{**GOOD["variants"][0], "scored": [["r", "r"]] * 2}]}, "scored: .'r', 'r'. is there twice"),
    ],
)
def test_studies_that_cannot_be_are_refused_in_one_sentence(changes, says):
    with pytest.raises(InputError, match=f"^mine: .*{says}"):
        study_of({**GOOD, **changes}, "mine")
    assert isinstance(study_of(GOOD, "mine"), Study)


def test_a_name_that_is_not_known_lists_those_that_are(tmp_path):
    with pytest.raises(InputError, match=r"the study 'table9' isn't known; it is t98g, .*table5 or a YAML file"):
        read_study("table9")
    (tmp_path / "s.yaml").write_text("a: [")
    with pytest.raises(InputError, match="isn't YAML"):
        read_study(tmp_path / "s.yaml")
