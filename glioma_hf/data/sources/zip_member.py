"""Members of zip files, unpacked a piece at a time: what one says of its size is held to, however it is compressed."""

from __future__ import annotations

import bz2
import copy
import lzma
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from glioma_hf.errors import InputError

MAX_DIRECTORY = 16 * 2**20  # bytes of a zip's list of members: some 100,000 of them
MAX_DICTIONARY = 64 * 2**20  # bytes that LZMA may ask for before the first is unpacked
CHUNK = 2**18
ENCRYPTED = 1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# What zipfile and the decompressors raise for damaged files.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    RuntimeError,  # NotImplementedError among them
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    MemoryError,
)


def open_zip(path: Path, where: str, kind: str = "zip archive") -> zipfile.ZipFile:
    """A zip file, its list of members read. Raises `InputError` for what is none, or is damaged or out of bounds."""
    try:
        size = _directory_size(path)
        if size > MAX_DIRECTORY:
            raise InputError(f"{where}: its list of members takes {size} bytes, at most {MAX_DIRECTORY} are read")
        return zipfile.ZipFile(path)
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{where}: not a whole {kind} ({_said(error)}); get it again or give a folder") from None


def member_name(info: zipfile.ZipInfo) -> str:
    """The name of a member with forward slashes; in UTF-8 where it is that without saying so, as macOS writes it."""
    name = info.orig_filename
    if not info.flag_bits & 0x800 and not name.isascii():
        with suppress(UnicodeError):  # code page 437, that of old zips, by which it was read
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


class MemberStream:
    """The bytes of a member in pieces of whatever length, never more than it says that it holds.

    Args:
        where: what errors begin with: the archive and the member.
        most: the bytes that it may hold at most.

    Raises `InputError` for members that are encrypted, links, compressed in an unknown way, or too large; `read` does
    for damaged ones and for those that hold more or less than they say.
    """

    def __init__(self, packed: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, most: int):
        self.where, self.size = where, info.file_size
        if info.flag_bits & ENCRYPTED:
            raise InputError(f"{where} is encrypted; pack it again without a password")
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise InputError(f"{where} is a link; put the file itself there")
        if info.compress_type not in METHODS:
            raise InputError(
                f"{where} is compressed in a way that isn't read (method {info.compress_type}); "
                "pack it again as an ordinary zip"
            )
        if info.file_size > most:
            raise InputError(f"{where} holds {info.file_size} bytes, more than the {most} allowed")
        raw = copy.copy(info)
        raw.compress_type, raw.file_size = zipfile.ZIP_STORED, info.compress_size
        raw.CRC = None  # type: ignore[assignment]  # that of what is unpacked is checked here
        self._crc, self._expected, self._given = 0, info.CRC, 0
        try:
            self._raw: IO[bytes] = packed.open(raw)
            self._unpack: Any = _decompressor(info.compress_type, self._raw, where)
        except InputError:
            raise
        except DAMAGED as error:
            raise self._damaged(error) from None

    def read(self, count: int = -1) -> bytes:
        """The next `count` bytes, fewer only at the end; all that are left where `count` is negative."""
        left = self.size - self._given
        count = left if count < 0 else min(count, left)
        pieces = []
        try:
            while count > 0 and (piece := self._piece(min(count, CHUNK))):
                pieces.append(piece)
                count -= len(piece)
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._given += len(data)
            self._crc = zlib.crc32(data, self._crc)
            if count > 0:
                raise InputError(f"{self.where} ends after {self._given} of {self.size} bytes; get the archive again")
            if self._given == self.size and (self._piece(1) or self._crc != self._expected):
                raise InputError(f"{self.where} can't be read (it isn't what it says it is); get the archive again")
        except InputError:
            raise
        except DAMAGED as error:
            raise self._damaged(error) from None
        return data

    def _piece(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end."""
        if self._unpack is None:
            return self._raw.read(most)
        while not self._unpack.eof:
            tail = getattr(self._unpack, "unconsumed_tail", b"")
            packed = tail or (b"" if not getattr(self._unpack, "needs_input", True) else self._raw.read(CHUNK))
            data: bytes = self._unpack.decompress(packed, most)
            if data:
                return data
            if not packed and getattr(self._unpack, "needs_input", True):
                return b""
        return b""

    def close(self) -> None:
        """Close it."""
        self._raw.close()

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self.where} can't be read ({_said(error)}); get the archive again")


def _decompressor(method: int, raw: IO[bytes], where: str) -> Any:
    if method == zipfile.ZIP_STORED:
        return None
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor()
    _, length = struct.unpack("<HH", raw.read(4))
    properties, dictionary = struct.unpack("<BI", raw.read(length)[:5])
    if dictionary > MAX_DICTIONARY:
        raise InputError(f"{where} asks for {dictionary} bytes to be unpacked; pack it again as an ordinary zip")
    rest, lc = divmod(properties, 9)
    pb, lp = divmod(rest, 5)
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)


def _directory_size(path: Path) -> int:
    """Bytes that a zip's list of members takes, as its end says; 0 where it has none that is to be seen."""
    with path.open("rb") as file:
        file.seek(0, 2)
        length = file.tell()
        start = max(length - 2**16 - 22, 0)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < 22:
            return 0
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        locator = tail[max(at - 20, 0) : at]
        if locator[:4] == b"PK\6\7":  # zip64
            file.seek(min(int.from_bytes(locator[8:16], "little"), length))
            record = file.read(56)
            ahead = tail[max(at - 76, 0) : at - 20]  # where zipfile looks for it
            for found in (record, ahead):
                if found[:4] == b"PK\6\6":
                    size = max(size if size != 2**32 - 1 else 0, int.from_bytes(found[40:48], "little"))
        return size if size <= length else 0  # longer than the file: zipfile refuses it


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
