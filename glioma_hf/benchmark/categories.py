"""The categories of a scoring file, which are the file's own, and what its tasks count of them.

Names that fit the pattern of Glioma C6 get the names that the package uses (cell, cell_a, cell_b, soma), so that
files by different tools are told apart alike; all others keep their own.

    >>> read_categories([{"id": 3, "name": "Type A"}, {"id": 5, "name": "neuron"}])
    Categories(names=('cell_a', 'neuron'), own_names=('Type A', 'neuron'), ids={3: 0, 5: 1})
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glioma_hf.data.features import ALL, TASKS

CELLS = "cells"
_EXACT = {"cell": ("cell", "cells"), "soma": ("soma", "somata")}  # who wears a name that several would get


@dataclass(frozen=True)
class Categories:
    """Categories of a file, by index.

    Attributes:
        names: those of the package where they fit its pattern, otherwise the file's own.
        own_names: as the file has them.
        ids: from the file's category ids to indices.
    """

    names: tuple[str, ...] = ()
    own_names: tuple[str, ...] = ()
    ids: Mapping[int, int] = field(default_factory=dict)

    def tasks(self) -> dict[str, tuple[int, ...]]:
        """Indices of the categories that each task counts: cells, the paper's, each category's own name, all.

        "cells" are all but somata, and but nuclei that stand beside cells; nuclei alone are the file's cells.
        """
        bodies = [i for i, name in enumerate(self.names) if not _begins(name, "soma", "nucle")]
        cells = bodies or [i for i, name in enumerate(self.names) if not _begins(name, "soma")]
        tasks = {CELLS: tuple(cells)} if cells else {}
        for task, counted in TASKS.items():
            if task != CELLS and (indices := tuple(i for i, name in enumerate(self.names) if name in counted)):
                tasks[task] = indices
        for i, pair in enumerate(zip(self.names, self.own_names, strict=True)):
            for name in pair:
                tasks.setdefault(name, (i,))
        return {**tasks, ALL: tuple(range(len(self.names)))}

    def index_of(self, name: str, own_name: str) -> int | None:
        """The index of a category of another file: by its own name in any case, or else by the package's."""
        own = [n.casefold() for n in self.own_names]
        if own_name.casefold() in own:
            return own.index(own_name.casefold())
        return self.names.index(name) if name in self.names else None


def read_categories(entries: Sequence[Mapping[str, Any]]) -> Categories:
    """From the list `categories` of a COCO file; categories of one name are one."""
    own = {entry["id"]: str(entry.get("name") or "").strip() or f"category {entry['id']}" for entry in entries}
    own_names = tuple(dict.fromkeys(own.values()))
    fitting: dict[str, str] = {}
    for entry in entries:
        if name := _package_name(entry):
            fitting.setdefault(own[entry["id"]], name)
    beside_cells = any(name.startswith("cell") for name in fitting.values())
    for entry in entries:
        if beside_cells and _begins(own[entry["id"]], "nucle"):
            fitting.setdefault(own[entry["id"]], "soma")
    names = tuple(_names(own_names, fitting))
    return Categories(names, own_names, {i: own_names.index(name) for i, name in own.items()})


def _names(own_names: Sequence[str], fitting: Mapping[str, str]) -> Iterator[str]:
    """A name that several would get goes to the one that is called just so, or to none: they stay apart."""
    for own in own_names:
        name = fitting.get(own, own)
        rivals = [o for o in own_names if fitting.get(o) == name]
        yield name if len(rivals) < 2 or own.casefold() in _EXACT.get(name, (name,)) else own


def _package_name(entry: Mapping[str, Any]) -> str | None:
    """The package's name for a category by the Glioma C6 pattern, None where it doesn't fit."""
    words = _words(str(entry.get("name") or ""))
    supercategory = str(entry.get("supercategory") or "").lower()
    if supercategory == "cell_part" or (words and words[0].startswith("soma")):
        return "soma"
    if not words:
        return "cell" if supercategory == "cell" else None
    plain = words[:-1] if words[-1] in ("a", "b") else words
    if not all(word == "c" or word.startswith(("cell", "glioma", "type")) for word in plain):  # "c" of C6
        return None
    if plain is not words:
        return f"cell_{words[-1]}"
    return "cell" if any(word.startswith(("cell", "glioma")) for word in words) else None


def _begins(name: str, *starts: str) -> bool:
    return (_words(name) or [""])[0].startswith(starts)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
