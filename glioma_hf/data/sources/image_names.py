"""Finding the member of an archive that a COCO file's `file_name` means: never another one of the same name."""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import unquote

from glioma_hf.data.images import SUFFIXES
from glioma_hf.data.sources.archive import Archive, check_relative
from glioma_hf.errors import InputError


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


# What may differ between a file's name and what is written of it, the least first.
FORMS: tuple[Callable[[str], str], ...] = (
    str,
    _composed,
    lambda name: _composed(unquote(name)),
    lambda name: _composed(unquote(name)).casefold(),
)


class ImageNames:
    """The images of an archive, by the names that a COCO file has for them.

    Of the members with the same base name the one is meant that shares most folders with the name, from its end on;
    of several, those that `rank` puts first. Names are compared as they are, then by Unicode form, then with "%20" and
    its like read, then without regard to capitals.
    """

    def __init__(self, archive: Archive, rank: Callable[[str], int] = lambda member: 0):
        self.archive, self.rank = archive, rank
        self.members = [m for m in archive.names if m.lower().endswith(SUFFIXES)]
        self._by_base: list[dict[str, list[str]] | None] = [None] * len(FORMS)
        self._taken: dict[str, str] = {}

    def find(self, name: str, where: str) -> str:
        """The member that a name means.

        Raises `InputError` that begins with `where`, which names the image, for names that lead out of the archive,
        names of no member (the likest is told), names of several, and for a second name that comes to one member.
        """
        check_relative(name, where, rooted=True)
        wanted = PurePosixPath(_without_root(name))
        for number, form in enumerate(FORMS):
            parts = PurePosixPath(form(str(wanted))).parts
            alike = self._alike(number, form, parts)
            if len(alike) > 1:
                raise InputError(f"{where} may be {alike[0]} or {alike[1]}; write in file_name in which folder it is")
            if alike:
                other = self._taken.setdefault(alike[0], str(wanted))
                if other != str(wanted):
                    raise InputError(
                        f"{where} would be {alike[0]}, which {other} is already; put the missing file into the archive"
                    )
                return alike[0]
        raise InputError(f"{where} isn't in the archive{self._nearest(wanted)}")

    def _alike(self, number: int, form: Callable[[str], str], parts: tuple[str, ...]) -> list[str]:
        by_base = self._by_base[number]
        if by_base is None:
            groups = defaultdict(list)
            for member in self.members:
                groups[PurePosixPath(form(member)).name].append(member)
            by_base = self._by_base[number] = dict(groups)
        candidates = by_base.get(parts[-1], []) if parts else []
        if len(candidates) < 2:
            return candidates
        shared = [_shared(PurePosixPath(form(member)).parts, parts) for member in candidates]
        most = max(shared)
        candidates = [m for m, count in zip(candidates, shared, strict=True) if count == most]
        first = min(map(self.rank, candidates))
        return [member for member in candidates if self.rank(member) == first]

    def _nearest(self, wanted: PurePosixPath) -> str:
        listed = self.members or self.archive.names  # a name may have lost its ending
        names = {FORMS[-1](PurePosixPath(member).name): member for member in reversed(listed)}
        near = difflib.get_close_matches(FORMS[-1](wanted.name), names, 1, 0.5)
        if near:
            return f"; the likest there is {names[near[0]]}"
        return f"; there are {', '.join(listed[:3])} ..."


def _without_root(name: str) -> str:
    """Of "C:\\\\data\\\\a.tif" or "/data/a.tif" what may be a path within an archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "/"]
    return "/".join(parts[1:] if parts and parts[0].endswith(":") else parts)


def _shared(member: tuple[str, ...], name: tuple[str, ...]) -> int:
    """How many parts two paths share from their ends on."""
    count = 0
    for one, other in zip(reversed(member), reversed(name), strict=False):
        if one != other:
            break
        count += 1
    return count
