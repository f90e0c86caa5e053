"""Long JSON read entry by entry: COCO files and results of gigabytes, in the memory of a few megabytes.

A window of the file is cut where one object of a list ends and the next begins, and what lies before the cut is parsed
in one go. Such a cut may be wrong (the same signs in a string, or in a list within an entry): then the text before it
is no whole number of entries, and the window is read again, one entry at a time.
"""

from __future__ import annotations

import codecs
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import IO, Any

import orjson

from glioma_hf.errors import InputError
from glioma_hf.jsonfile import check_unpacked, encoding_of, parse_exactly

WINDOW = 2**18  # bytes that are parsed at a time
MAX_NAME = 2**16  # bytes of a name
GAP = 2**14  # bytes between two entries that are read rather than leapt over
MAX_ENTRY = 16 * 2**20  # bytes of one entry
MAX_LISTS = 200_000  # lists and objects in one entry
FRESH = 16  # members each of which is given a window of its own; of more, most are read one by one
SPOOLED = 64 * 2**20  # bytes that are kept in memory where a copy is needed

_SPACE = re.compile(rb"[ \t\n\r]*")
_CUT = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*(?=\{)")
_END = re.compile(rb"\}[ \t\n\r]*(?=\][ \t\n\r]*[,}])")
_CUT_NAMED = re.compile(rb'\}[ \t\n\r]*,[ \t\n\r]*(?=")')
_NAME = re.compile(rb'"((?:[^"\\\x00-\x1f]|\\.)*)"[ \t\n\r]*:')
_decode_one = json.JSONDecoder(strict=False).raw_decode

Item = tuple[str, int, int, Any]


class JsonLists:
    """The lists of a JSON file, entry by entry: iterating gives (list, start, end, value) of each entry in turn.

    `list` is the name of the list in the object that the file holds, or "" where the file is a list itself; the entry
    lies at bytes `start` ... `end`, from where `read` gives it again. Values other than lists are read and dropped.

    Args:
        file: open for reading bytes, seekable.
        where: what errors begin with.
        by_name: members that may be objects in place of lists; their values are the entries.

    Attributes:
        kinds: of each member of the object the type of its value: list, dict or object for any other; known
            where the iteration has passed it. {"": list} where the file is a list.

    Iterating raises `InputError` for all that `glioma_hf.jsonfile.parse_json` refuses, but not for NaN, and for
    entries of more than `MAX_ENTRY` bytes.
    """

    def __init__(self, file: IO[bytes], where: str, by_name: Sequence[str] = ()):
        self.where, self.by_name = where, by_name
        self.kinds: dict[str, type] = {}
        self._file, self._begin = _as_utf8(file, where)
        self._buffer, self._start, self._pos = b"", 0, 0  # the buffer's place in the file, the place in it
        self._ended = False
        self._one_by_one = 0  # the place in the file up to which entries are parsed singly

    def __iter__(self) -> Iterator[Item]:
        self._rewind()
        opened = self._next()
        if opened == b"[":
            self.kinds[""] = list
            yield from self._entries("", "[")
        elif opened == b"{":
            yield from self._members()
        else:
            self._value()
        if self._next():
            raise self._wrong("text behind the end")

    def read(self, starts: Sequence[int], ends: Sequence[int]) -> list[Any]:
        """The entries at these bytes, parsed again; not while it is iterated."""
        texts: list[bytes] = []
        while len(texts) < len(starts):
            first = last = len(texts)
            while last + 1 < len(starts) and 0 <= starts[last + 1] - ends[last] < GAP:
                last += 1
            self._file.seek(starts[first])
            span = self._file.read(ends[last] - starts[first])
            texts += [span[starts[i] - starts[first] : ends[i] - starts[first]] for i in range(first, last + 1)]
        try:
            values: list[Any] = orjson.loads(b"[" + b",".join(texts) + b"]")
        except orjson.JSONDecodeError:
            return [parse_exactly(text, self.where) for text in texts]
        return values

    # -- the members of an object ---------------------------------------------------------

    def _members(self) -> Iterator[Item]:
        self._pos += 1
        if self._next() == b"}":
            self._pos += 1
            return
        while True:
            name = self._name()
            if name in self.kinds:
                raise InputError(f"{self.where} has {name!r} twice; keep one")
            opened = self._next()
            if len(self.kinds) < FRESH:  # what was a list's end to the window before is a beginning now
                self._one_by_one = 0
            if opened == b"[":
                self.kinds[name] = list
                yield from self._entries(name, "[")
            elif opened == b"{" and name in self.by_name:
                self.kinds[name] = dict
                yield from self._entries(name, "{")
            else:
                self.kinds[name] = dict if opened == b"{" else object
                self._value()
            sign = self._next()
            self._pos += 1
            if sign == b"}":
                return
            if sign != b",":
                raise self._wrong("a comma is missing", -1)
            self._next()

    def _name(self) -> str:
        match = _NAME.match(self._buffer, self._pos)
        while match is None and len(self._buffer) - self._pos < MAX_NAME and self._more():
            match = _NAME.match(self._buffer, self._pos)
        if match is None:
            raise self._wrong("a name in quotes is missing")
        self._pos = match.end()
        return str(parse_exactly(b'"' + match[1] + b'"', self.where))

    # -- the entries of a list ------------------------------------------------------------

    def _entries(self, name: str, opening: str) -> Iterator[Item]:
        """From the opening bracket of a list, or of an object whose values are the entries, to behind the closing."""
        closing = b"]" if opening == "[" else b"}"
        self._pos += 1
        if self._next() == closing:
            self._pos += 1
            return
        while True:
            if self._start + self._pos >= self._one_by_one:
                yield from self._window(name, opening)
                self._next()
            if opening == "{":
                self._name()
                self._next()
            start = self._start + self._pos
            value = self._value()
            yield name, start, self._start + self._pos, value
            sign = self._next()
            self._pos += 1
            if sign == closing:
                return
            if sign != b",":
                raise self._wrong(f"a comma or {closing.decode()} is missing", -1)
            self._next()

    def _window(self, name: str, opening: str) -> Iterator[Item]:
        """Entries from here to the last cut in the window, if they can be parsed in one go; else none of them."""
        while len(self._buffer) - self._pos < WINDOW and self._more():
            pass
        cut = _CUT if opening == "[" else _CUT_NAMED
        cuts = [(match.start() + 1, match.end()) for match in cut.finditer(self._buffer, self._pos)]
        if not cuts:
            yield from self._plain(name, opening)
            return
        start, place = self._start, self._pos
        self._one_by_one = start + cuts[-1][1]
        text, values = self._parsed(cuts, opening)
        if values is None and opening == "[" and (last := _END.search(self._buffer, place, cuts[-1][0])):
            # The list may end within the window, where another begins.
            cuts = [pair for pair in cuts if pair[1] <= last.start()]
            text, values = self._parsed(cuts, opening)
        if values is None:
            return
        self._check_names(text, values, 0 if opening == "[" else len(values))
        self._pos = cuts[-1][1]
        if opening == "[":
            places = [start + place, *(start + following for _, following in cuts)]
            yield from zip(repeat(name), places, (start + end for end, _ in cuts), values)
            return
        for value, (end, following) in zip(values, cuts, strict=True):
            named = _NAME.match(self._buffer, place)
            place = named.end() if named else place
            yield name, start + place, start + end, value
            place = following

    def _parsed(self, cuts: list[tuple[int, int]], opening: str) -> tuple[bytes, list[Any] | None]:
        """The text from here to the last of the cuts and its entries, None where these are others than the cuts say."""
        text = self._buffer[self._pos : cuts[-1][0]] if cuts else b""
        try:
            parsed = orjson.loads(b"[%b]" % text if opening == "[" else b"{%b}" % text)
        except orjson.JSONDecodeError:
            return text, None
        values = parsed if opening == "[" else list(parsed.values())
        sound = len(values) == len(cuts) > 0 and all(type(value) is dict for value in values)
        return text, values if sound else None

    def _plain(self, name: str, opening: str) -> Iterator[Item]:
        """As `_window` for entries that are no objects; of these the place isn't told, but -1."""
        self._one_by_one = self._start + len(self._buffer)
        for sign in (b"],", b","):
            end = self._buffer.rfind(sign, self._pos)
            if end < 0 or opening == "{":
                continue
            try:
                values = orjson.loads(b"[%b]" % self._buffer[self._pos : end + len(sign) - 1])
            except orjson.JSONDecodeError:
                continue
            if all(type(value) is not dict for value in values):
                self._check_names(self._buffer[self._pos : end + len(sign) - 1], values)
                self._pos = end + len(sign)
                yield from ((name, -1, -1, value) for value in values)
                return

    def _value(self) -> Any:
        """The value that begins here, whatever it is."""
        size = 2**12
        while True:
            while len(self._buffer) - self._pos < size and self._more():
                pass
            # Its end is found in bytes: as Latin-1 each is a character, and JSON's signs are what they are in UTF-8.
            text = self._buffer[self._pos : self._pos + size].decode("latin-1")
            whole = self._ended and self._pos + size >= len(self._buffer)
            if size > 2**18 and text.count("[") + text.count("{") > MAX_LISTS:
                raise self._wrong(f"an entry of more than {MAX_LISTS} lists")
            try:
                end = _decode_one(text)[1]
            except RecursionError:
                raise InputError(f"{self.where} isn't JSON that can be read: it is nested too deeply") from None
            except json.JSONDecodeError as error:
                cut_short = error.pos >= len(text) - 16 or error.msg.startswith("Unterminated")
                if whole or not cut_short:
                    raise self._wrong(error.msg, error.pos) from None
            except ValueError as error:  # a number of thousands of digits
                raise self._wrong(str(error)) from None
            else:
                if whole or end < len(text):
                    break
            if size >= MAX_ENTRY:
                raise self._wrong(f"an entry of more than {MAX_ENTRY} bytes")
            size *= 4
        raw = self._buffer[self._pos : self._pos + end]
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            value = parse_exactly(raw, self.where)
        else:
            self._check_names(raw, [value])
        self._pos += end
        return value

    def _check_names(self, text: bytes, values: list[Any], names: int = 0) -> None:
        """Raise `InputError` where an object has a name twice, which parsed values don't show.

        A colon in the text stands behind a name or is part of a string. As many colons as there are names (`names`
        those of the values themselves) means that none was lost.
        """
        colons = text.count(b":") - names
        if colons == sum(len(value) for value in values if type(value) is dict):
            return
        try:  # written again: as many colons, unless one was written as a number
            if b"\\u003" not in text and colons == orjson.dumps(values).count(b":"):
                return
        except orjson.JSONEncodeError:  # nested too deeply, as is said below
            pass
        parse_exactly(b"{%b}" % text if names else b"[%b]" % text, self.where)

    # -- the window -----------------------------------------------------------------------

    def _rewind(self) -> None:
        self.kinds = {}
        self._file.seek(self._begin)
        self._buffer, self._start, self._pos, self._ended, self._one_by_one = b"", self._begin, 0, False, 0

    def _next(self) -> bytes:
        """The next sign that isn't white space, b"" at the end; the place is before it."""
        while True:
            match = _SPACE.match(self._buffer, self._pos)
            self._pos = match.end() if match else self._pos
            if self._pos < len(self._buffer):
                return self._buffer[self._pos : self._pos + 1]
            if not self._more():
                return b""

    def _more(self) -> bool:
        """Read on; what lies before the place is dropped."""
        data = b"" if self._ended else self._file.read(max(WINDOW, len(self._buffer) - self._pos))
        self._ended = not data
        self._buffer, self._start, self._pos = self._buffer[self._pos :] + data, self._start + self._pos, 0
        return bool(data)

    def _wrong(self, what: str, ahead: int = 0) -> InputError:
        return InputError(f"{self.where} isn't JSON ({what}: byte {self._start + self._pos + ahead})")


def spooled() -> IO[bytes]:
    """A file for a copy, in memory while it is small; it vanishes when it is closed."""
    return tempfile.SpooledTemporaryFile(SPOOLED)


def _as_utf8(file: IO[bytes], where: str) -> tuple[IO[bytes], int]:
    """The file, or a copy of it in UTF-8, and where its text begins."""
    file.seek(0)
    head = file.read(4)
    check_unpacked(head, where)
    encoding = encoding_of(head)
    if encoding in ("utf-8", "utf-8-sig"):
        return file, 3 if encoding == "utf-8-sig" else 0
    file.seek(0)
    copy, decoder = spooled(), codecs.getincrementaldecoder(encoding)()
    try:
        while data := file.read(WINDOW):
            copy.write(decoder.decode(data).encode())
        copy.write(decoder.decode(b"", final=True).encode())
    except ValueError as error:
        raise InputError(f"{where} isn't JSON ({error})") from None
    except OSError as error:
        raise InputError(f"{where}: no room for a copy in UTF-8 ({error.strerror}); save it as UTF-8") from None
    return copy, 0
