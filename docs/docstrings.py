"""How docstrings are read for the site: "a, b: what both are" of a section is an entry for each name."""

from __future__ import annotations

import re
from typing import Any

import griffe

# A line of a section that begins with several names, and the deeper lines that belong to it.
SEVERAL = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<words>.*(?:\n(?P=indent) +.*)*)$", re.MULTILINE)


class SeveralNames(griffe.Extension):
    """Takes such entries apart before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Of every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = SEVERAL.sub(taken_apart, obj.docstring.value)


def taken_apart(entry: re.Match[str]) -> str:
    """The entry once for each of its names."""
    return "\n".join(f"{entry['indent']}{name}: {entry['words']}" for name in entry["names"].split(", "))
