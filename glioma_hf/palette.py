"""The colours of pictures, plots and pages, and the words for what they show: one table for all.

Okabe and Ito's palette, which colour-blind people can tell apart. The colours of categories and outcomes show on
grey images and read on white plots alike; yellow, which white swallows, and black, which images swallow, are none
of them.

    >>> hex_of(CATEGORY_COLOURS["cell_a"]), name_of(CATEGORY_COLOURS["cell_a"]), category_word("cell_a")
    ('#56B4E9', 'sky blue', 'type A cell')
"""

from __future__ import annotations

Colour = tuple[int, int, int]  # red, green, blue, 0 ... 255

BLACK: Colour = (0, 0, 0)
ORANGE: Colour = (230, 159, 0)
SKY_BLUE: Colour = (86, 180, 233)
GREEN: Colour = (0, 158, 115)
YELLOW: Colour = (240, 228, 66)
BLUE: Colour = (0, 114, 178)
VERMILLION: Colour = (213, 94, 0)
PURPLE: Colour = (204, 121, 167)
RED: Colour = (214, 39, 40)  # not of the palette: of predictions in figures like the paper's, beside sky blue alone

_NAMES = {
    BLACK: "black",
    ORANGE: "orange",
    SKY_BLUE: "sky blue",
    GREEN: "green",
    YELLOW: "yellow",
    BLUE: "blue",
    VERMILLION: "vermillion",
    PURPLE: "purple",
    RED: "red",
}
# For what has no colour of its own, in this order: what shows on grey and on white.
SERIES: tuple[Colour, ...] = (ORANGE, SKY_BLUE, GREEN, VERMILLION, PURPLE, BLUE)

OUTCOME_COLOURS: dict[str, Colour] = {"tp": GREEN, "fp": VERMILLION, "fn": SKY_BLUE}
CATEGORY_COLOURS: dict[str, Colour] = {
    "cell": ORANGE,
    "cell_a": SKY_BLUE,
    "cell_b": VERMILLION,
    "soma": GREEN,
    "nucleus": PURPLE,
}
CATEGORY_WORDS: dict[str, str] = {
    "cell": "cell",
    "cell_a": "type A cell",
    "cell_b": "type B cell",
    "soma": "soma",
    "nucleus": "nucleus",
}


def hex_of(colour: Colour) -> str:
    """As web pages and matplotlib take it: "#56B4E9"."""
    return "#{:02X}{:02X}{:02X}".format(*colour)


def name_of(colour: Colour) -> str:
    """The palette's word for one of its colours, as legends in words need it."""
    return _NAMES[colour]


def category_word(name: str) -> str:
    """What people call a category: the table's words, or its own name."""
    return CATEGORY_WORDS.get(name, name)
