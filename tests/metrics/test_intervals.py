"""What is drawn once of each of many models says the same as what is drawn of two."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glioma_hf.metrics.intervals import is_chance, paired_interval, resampled_ap
from glioma_hf.metrics.matching import Counts

IMAGES = st.lists(st.tuples(*[st.integers(0, 12)] * 6), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(images=IMAGES)
def test_drawn_once_of_each_says_what_the_paired_interval_says(images):
    first, second = [Counts(*image[:3]) for image in images], [Counts(*image[3:]) for image in images]
    drawn = [
        resampled_ap(np.array([c.tp for c in side]), np.array([c.tp + c.fp + c.fn for c in side]))
        for side in (first, second)
    ]
    _, (low, high) = paired_interval([first], [second])
    assert is_chance(*drawn) == (low <= 0 <= high)


def test_at_the_limit_the_percentile_decides():
    """Of 2,000 draws 49.975 lie outside on either side: 50 that are no better leave it between two of them."""
    for below, told in ((49, False), (50, False), (51, True)):
        differences = np.ones(2000)
        differences[:below] = -1
        assert is_chance(differences, np.zeros(2000)) == told
    differences[:51], differences[50] = -1, 0.001
    low = np.percentile(differences, 2.5)
    assert low < 0
    assert is_chance(differences, np.zeros(2000))
