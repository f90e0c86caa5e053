"""Which image of one file is which of another, by their names: two that may be meant are never guessed between."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from glioma_hf.errors import InputError

ImageKey = int | str  # a COCO image id, or the name of a label map
Path = tuple[str, ...]
# What tools put behind an image's name: NAME_label, NAME.label, NAME_labels, NAME_mask, NAME_masks, NAME_cp_masks and
# NAME_seg, each also as OME-TIFF.
_LABEL_SUFFIX = re.compile(r"([._]labels?|(_cp)?_masks?|_seg)?(\.ome)?$", re.IGNORECASE)
LABEL_SUFFIXES = "_label, _labels, _mask, _masks, _cp_masks or _seg"


def image_name(file_name: str) -> str:
    """A file's name without folder, ending and what tools put behind the name of an image, in one Unicode form."""
    return unicodedata.normalize("NFC", _LABEL_SUFFIX.sub("", PurePosixPath(file_name.replace("\\", "/")).stem))


def is_label_name(file_name: str) -> bool:
    """Whether a file's name has behind it what tools put behind the name of an image."""
    match = _LABEL_SUFFIX.search(PurePosixPath(file_name).stem)
    return match is not None and match[1] is not None


def by_name(names: Mapping[ImageKey, str], where: str) -> dict[str, ImageKey]:
    """Keys by name. Raises `InputError` that begins with `where` and tells both for a name that comes twice."""
    found: dict[str, ImageKey] = {}
    for key, name in names.items():
        if name in found:
            raise InputError(f"{where}: its images {found[name]} and {key} are both called {name}; name them apart")
        found[name] = key
    return found


def pair_stems(
    given: Mapping[ImageKey, str], known: Mapping[ImageKey, str], said: tuple[str, str]
) -> dict[ImageKey, ImageKey]:
    """From keys of `given` to those of `known` whose `image_name` is the same; ids of unmatched ones are left out.

    Args:
        given, known: file names by key.
        said: what errors call either file.

    Raises `InputError` for a name that comes twice on a side.
    """
    stems = by_name({key: image_name(name) for key, name in known.items()}, said[1])
    own = by_name({key: image_name(name) for key, name in given.items()}, said[0])
    return {key: stems[stem] for stem, key in own.items() if stem in stems}


def pair_paths(
    given: Mapping[ImageKey, str], known: Mapping[ImageKey, str], said: tuple[str, str]
) -> dict[ImageKey, ImageKey]:
    """From keys of `given` to those of `known` that mean the same image; unmatched ones are left out.

    Names are compared with their folders: as they are, in one Unicode form, then where one lacks the upper folders
    of the other; by the base name alone only where it is the only one of its name on both sides.

    Raises `InputError` for two images of one name on a side, and for a name that may mean several images.
    """
    left, right = ({key: _parts(name) for key, name in side.items()} for side in (given, known))
    pairs: dict[ImageKey, ImageKey] = {}
    for form in (lambda path: path, _composed):
        open_left, open_right = _open(left, pairs), _open(right, pairs.values())
        others = by_name({key: "/".join(form(path)) for key, path in open_right.items()}, said[1])
        own = by_name({key: "/".join(form(path)) for key, path in open_left.items()}, said[0])
        pairs |= {key: others[name] for name, key in own.items() if name in others}
    left, right = ({key: _composed(path) for key, path in side.items()} for side in (left, right))
    for key, other in _partial(_open(left, pairs), _open(right, pairs.values()), said):
        pairs[key] = other
    bases = [Counter(path[-1:] for path in side.values()) for side in (left, right)]
    alone = {path[-1:]: key for key, path in _open(right, pairs.values()).items() if bases[1][path[-1:]] == 1}
    for key, path in _open(left, pairs).items():
        if bases[0][path[-1:]] == 1 and path[-1:] in alone:
            pairs[key] = alone[path[-1:]]
    return pairs


def _partial(
    left: Mapping[ImageKey, Path], right: Mapping[ImageKey, Path], said: tuple[str, str]
) -> list[tuple[ImageKey, ImageKey]]:
    """Pairs of which one path is the end of the other."""
    meant: dict[ImageKey, list[ImageKey]] = defaultdict(list)
    back: dict[ImageKey, list[ImageKey]] = defaultdict(list)
    ends = _by_end(right)
    others = {path: key for key, path in right.items()}
    for key, path in left.items():
        longer = ends.get(path, [])
        shorter = [others[path[i:]] for i in range(1, len(path)) if path[i:] in others]
        for other in (*longer, *shorter):
            meant[key].append(other)
            back[other].append(key)
    for side, paths, names, where in ((meant, left, right, said), (back, right, left, said[::-1])):
        for key, several in side.items():
            if len(several) > 1:
                first, second = ("/".join(names[other]) for other in several[:2])
                raise InputError(
                    f"{where[0]}: its image {'/'.join(paths[key])} may be {first} or {second} of "
                    f"{where[1]}; write the folders into both"
                )
    return [(key, several[0]) for key, several in meant.items()]


def _by_end(paths: Mapping[ImageKey, Path]) -> dict[Path, list[ImageKey]]:
    """Keys by each end of their path that is shorter than it."""
    ends: dict[Path, list[ImageKey]] = defaultdict(list)
    for key, path in paths.items():
        for i in range(1, min(len(path), 12)):
            ends[path[i:]].append(key)
    return ends


def _open(side: Mapping[ImageKey, Path], taken: Iterable[ImageKey]) -> dict[ImageKey, Path]:
    done = set(taken)
    return {key: path for key, path in side.items() if key not in done}


def _parts(name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    parts = tuple(part for part in path.parts if part not in ("/", "."))
    return parts[1:] if len(parts) > 1 and parts[0].endswith(":") else parts


def _composed(path: Path) -> Path:
    return tuple(unicodedata.normalize("NFC", part) for part in path)


def distinct(names: Sequence[str], form: Callable[[str], str] = str.casefold) -> list[str]:
    """The names, numbered where they come again, so that none stands for two.

    >>> distinct(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    seen: set[str] = set()
    made = []
    for name in names:
        number, new = 1, name
        while form(new) in seen:
            number += 1
            new = f"{name} ({number})"
        seen.add(form(new))
        made.append(new)
    return made
