from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioma_hf import InputError, Instances
from glioma_hf.metrics.agreement import agreement, consensus
from glioma_hf.metrics.overlap_ap import overlap_ap
from tests.metrics.test_overlap_ap import cells
from tests.strategies import instances, stacks


def same_masks(a: Instances, b: Instances) -> bool:
    return sorted(r["counts"] for r in a.rles) == sorted(r["counts"] for r in b.rles)


def test_matrix_is_symmetric_with_ones_on_its_diagonal():
    sources = {"one": [cells((5, 5, 10), (20, 20, 10))], "two": [cells((5, 5, 10))], "three": [cells((6, 5, 10))]}
    found = agreement(sources)
    table = found.to_dict()
    assert all(table[a][a]["ap50"] == 1 for a in sources)
    assert table["one"]["two"]["ap50"] == table["two"]["one"]["ap50"] == 0.5
    assert table["two"]["three"] == {"ap50": 1.0, "ap75": 1.0, "ap90": 0.0}
    assert (found.values() == found.values().T).all()
    # The other way round a miss is an invention.
    assert (found.of("one", "two").fp, found.of("one", "two").fn) == (1, 0)
    assert (found.of("two", "one").fp, found.of("two", "one").fn) == (0, 1)
    assert found.of("two", "one").to_dict() == overlap_ap(zip(sources["two"], sources["one"])).to_dict()  # noqa: B905
    with pytest.raises(InputError, match="'four' isn't among the sources one, two, three"):
        found.of("four", "one")


def test_frame_picture_and_images_of_an_agreement(tmp_path):
    pytest.importorskip("matplotlib")
    sources = {"one": [cells((5, 5, 10)), cells((5, 5, 10), (20, 20, 10))], "two": [cells((5, 5, 10))] * 2}
    found = agreement(sources)
    assert found.to_frame().loc["one", "two"] == pytest.approx(2 / 3)
    for position, expected in ((0, 1), (1, 0.5)):
        alone = agreement({name: [images[position]] for name, images in sources.items()})
        assert found.image(position).to_dict() == alone.to_dict()
        assert alone.of("two", "one").ap50 == expected
    axes = found.plot(0.75, tmp_path / "matrix.png", title="cells")
    assert (tmp_path / "matrix.png").stat().st_size > 1000
    assert sorted(text.get_text() for text in axes.texts) == ["0.67", "0.67", "1.00", "1.00"]


def test_sources_must_hold_the_same_images():
    with pytest.raises(InputError, match="different numbers of images"):
        agreement({"a": [cells((5, 5, 10))], "b": []})


def test_consensus_of_three_by_hand():
    # Two of three drew the first cell, shifted by two; one alone drew another; all drew the last alike.
    a = cells((5, 5, 10), (25, 25, 8))
    b = cells((7, 5, 10), (25, 25, 8))
    c = cells((20, 5, 9), (25, 25, 8))
    found = consensus([a, b, c])
    # Of the first cell the pixels that both drew: columns 7 to 14.
    expected = Instances.from_polygons([[[7, 5, 15, 5, 15, 15, 7, 15]], [[25, 25, 33, 25, 33, 33, 25, 33]]], (40, 40))
    assert same_masks(found, expected)


def test_consensus_of_one_and_of_two():
    a, b = cells((5, 5, 10)), cells((5, 5, 10), (20, 20, 10))
    assert same_masks(consensus([b]), b)
    assert same_masks(consensus([a, b]), a)  # more than half of two is both


def test_two_objects_of_one_annotator_never_vote_for_the_same_cell():
    whole = cells((5, 5, 12))
    halves = Instances.from_polygons([[[5, 5, 17, 5, 17, 12, 5, 12]], [[5, 12, 17, 12, 17, 17, 5, 17]]], (40, 40))
    found = consensus([whole, whole, halves])
    assert same_masks(found, whole)


def test_category_is_the_commonest():
    made = [Instances.from_polygons([[[5, 5, 9, 5, 9, 9, 5, 9]]], (20, 20), categories=[k]) for k in (2, 1, 2)]
    assert consensus(made).categories.tolist() == [2]


@given(stacks(4))
def test_unanimous_annotators_are_their_own_consensus(stack):
    filled = instances(stack[stack.any((1, 2))])
    distinct = (
        filled.select(np.unique([r["counts"] for r in filled.rles], return_index=True)[1]) if len(filled) else filled
    )
    assert same_masks(consensus([distinct] * 3), distinct)


def is_tied(iou: np.ndarray) -> bool:
    """Whether two matchings are best alike: as many pairs of IoU 0.5 or more, and the same sum."""
    pairs = np.argwhere(iou >= 0.5).tolist()
    scores = []
    for count in range(len(pairs) + 1):
        for chosen in combinations(pairs, count):
            if all(len({pair[side] for pair in chosen}) == count for side in (0, 1)):
                scores.append((count, round(sum(iou[row, column] for row, column in chosen), 9)))
    return scores.count(max(scores)) > 1


@given(stacks(6), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_overlaps_and_order_of_annotators(stack, owners):
    annotators = [instances(stack[[o == k for o in owners[: len(stack)]]]) for k in range(3)]
    found = [consensus([annotators[i] for i in order]) for order in permutations(range(3))]
    # Exact ties may be broken another way; where there are none, the order of annotators is nothing.
    tables = [annotators[i].iou(annotators[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    ious = np.concatenate([table[table >= 0.5] for table in tables])
    if len(np.unique(ious.round(9))) == len(ious) and not any(map(is_tied, tables)):
        assert all(same_masks(found[0], other) for other in found)


def test_no_annotators():
    with pytest.raises(InputError, match="at least one"):
        consensus([])
    assert len(consensus([Instances.empty((5, 5))] * 3)) == 0
