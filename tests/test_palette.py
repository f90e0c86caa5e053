from __future__ import annotations

import sys

import numpy as np
import pytest

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError
from glioma_hf.palette import CATEGORY_COLOURS, CATEGORY_WORDS, OUTCOME_COLOURS, hex_of
from glioma_hf.plots import pyplot


def luminance(colour) -> float:
    """Relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_category_has_a_colour_and_a_word_of_its_own():
    assert tuple(CATEGORY_COLOURS) == tuple(CATEGORY_WORDS) == CATEGORIES
    assert len(set(CATEGORY_COLOURS.values())) == len(CATEGORIES)


@pytest.mark.parametrize("colour", [*CATEGORY_COLOURS.values(), *OUTCOME_COLOURS.values()])
def test_colours_read_on_white_and_stand_out_from_grey(colour):
    assert (1 + 0.05) / (luminance(colour) + 0.05) > 2  # yellow has 1.3
    assert np.ptp(colour) > 80  # a grey pixel has 0


def test_hex():
    assert hex_of((0, 158, 115)) == "#009E73"


def test_without_matplotlib_one_sentence_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'glioma_hf\[plots\]'"):
        pyplot()
