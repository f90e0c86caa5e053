"""The door for JSON that nobody vouches for: bounded in bytes, depth and numbers, and the same answer for everybody.

`read_json` and `parse_json` are for documents of some kilobytes (recipes, configs, provenance); `glioma_hf.jsonstream`
reads long lists entry by entry. What JSON leaves open is refused in a sentence: a name twice in an object, text behind
the end, half of a surrogate pair. UTF-16 and UTF-32 are read too, and a byte order mark is passed over.
"""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from glioma_hf.errors import InputError

MAX_BYTES = 4 * 2**20  # of a document that is read whole: some hundred times a long one
MAX_DEPTH = 64
_EXACT_DIGITS = 18  # longer whole numbers become floats, as most readers have them
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zX": "xz"}  # begin so
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_json(path: str | Path, name: str | None = None, most: int = MAX_BYTES) -> Any:
    """The content of a small JSON file, called `name` in errors. Raises `InputError` as `parse_json`.

    >>> read_json("model.json")         # doctest: +SKIP
    {'format': 1, 'family': 'sam'}
    """
    path, where = Path(path), str(name or path)
    try:
        if not path.is_file():  # a pipe would never end
            raise InputError(f"{where}: no such file; give a JSON file")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{where}: can't be read ({error.strerror}); give a JSON file") from None
    return parse_json(data, where, most)


def read_checked(path: Path, most: int = MAX_BYTES) -> str:
    """The text of a small JSON file, for a type that parses it itself.

    Raises `OSError` where it can't be read, and `InputError` as `parse_json`.
    """
    if not path.is_file():  # a pipe would never end
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    with path.open("rb") as file:
        data = file.read(most + 1)
    parse_json(data, path.name, most)
    return data.decode(encoding_of(data))


def parse_json(data: bytes, where: str, most: int = MAX_BYTES) -> Any:
    """The content of a small JSON document.

    Raises `InputError` that begins with `where` for more than `most` bytes, for what isn't JSON, for nesting deeper
    than `MAX_DEPTH`, a name that is twice in an object, and for NaN and numbers that are infinite as a float.
    """
    if len(data) > most:
        raise InputError(f"{where} holds more than {most} bytes; that is no file of this kind")
    check_unpacked(data[:4], where)
    value = parse_exactly(data, where)
    _check_finite(value, where)
    return value


def parse_exactly(data: bytes, where: str) -> Any:
    """A JSON value, slowly and to the letter; NaN and Infinity are read as Python's own reader does.

    Raises `InputError` that begins with `where` for all that `parse_json` refuses but for size and numbers.
    """
    try:
        text = data.decode(encoding_of(data))
        value = json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except _NameTwice as error:
        raise InputError(f"{where} has {error.args[0]!r} twice in one object; keep one") from None
    except RecursionError:
        raise InputError(f"{where} isn't JSON that can be read: it is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{where} isn't JSON ({error})") from None
    check_value(value, where)
    return value


def problem_of(error: Exception) -> str:
    """What is wrong with a file of ours, in plain words: of pydantic's errors the first, with the entry's place."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if not hasattr(error, "errors"):
        return " ".join(str(error).split()[:20])
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    reason = "there is no such entry" if first["type"] == "extra_forbidden" else first["msg"]
    return f"{place}{': ' if place else ''}{reason.removeprefix('Value error, ')}"


def check_unpacked(head: bytes, where: str) -> None:
    """Refuse a packed file, told by its first bytes."""
    packed = next((kind for begin, kind in _PACKED.items() if head.startswith(begin)), None)
    if packed is not None:
        raise InputError(f"{where} isn't JSON but packed by {packed}; unpack it first")


def encoding_of(data: bytes) -> str:
    """Of JSON, by its first bytes: UTF-8, UTF-16 or UTF-32, with or without a mark."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    return json.detect_encoding(data[:4])


def check_value(value: Any, where: str) -> None:
    """Raise `InputError` for a value nested deeper than `MAX_DEPTH` and for strings that no file can hold."""
    for item, depth in _walk(value):
        if depth > MAX_DEPTH:
            raise InputError(f"{where} isn't JSON that can be read: it is nested too deeply")
        if isinstance(item, str) and not item.isascii():
            try:
                item.encode()
            except UnicodeEncodeError:
                raise InputError(f"{where} isn't JSON ({item[:40]!r} holds half a character)") from None


def id_of(value: Any) -> int | str | None:
    """An id as ids are compared: 3, 3.0 and "3" are one; other strings stay. None for what can't be an id.

    >>> id_of(3.0), id_of("3"), id_of("a7"), id_of(True)
    (3, 3, 'a7', None)
    """
    if type(value) is int:  # no bool
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value):
        return int(value)
    return value if isinstance(value, str) and value else None


def _check_finite(value: Any, where: str) -> None:
    for item, _ in _walk(value):
        if isinstance(item, float) and not math.isfinite(item):
            raise InputError(f"{where} holds {item}, which is no number of JSON; give a finite one")


def _walk(value: Any) -> Any:
    """(value, depth) of a value and all in it, names of objects among them."""
    left = [(value, 1)]
    while left:
        item, depth = left.pop()
        yield item, depth
        if isinstance(item, dict):
            left += [(name, depth) for name in item]
            left += [(part, depth + 1) for part in item.values()]
        elif isinstance(item, list):
            left += [(part, depth + 1) for part in item]


class _NameTwice(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise _NameTwice(name)
            names.add(name)
    return made


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _EXACT_DIGITS or abs(float(digits)) < 2**63 else float(digits)
