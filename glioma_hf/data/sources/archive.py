"""Reading an archive in place: a zip or a folder, names and bytes only, nothing extracted.

Nothing in an archive is trusted: names that climb out of it, links out of the folder, members too
large or damaged are refused with an `InputError` that names the archive and the member.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType

from glioma_hf.errors import InputError
from glioma_hf.files import checksum
from glioma_hf.places import read_marker

MAX_MEMBER_BYTES = 512 * 2**20


class Archive:
    """Files of a zip or a folder by their relative names, with forward slashes.

    Raises `InputError` where `path` is neither, can't be read, or holds a name that leaves it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            self.names = _files_of_others(self.path)
        elif not self.path.exists():
            raise InputError(f"{self.path}: no such archive; give a zip or a folder in the Glioma C6 layout")
        else:
            try:
                self._zip = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError) as error:
                raise InputError(
                    f"{self.path}: not a whole zip archive ({error}); get it again or give a folder"
                ) from None
            self.names = sorted(i.filename for i in self._zip.infolist() if not i.is_dir())
        for name in self.names:
            check_relative(name, str(self.path))

    def read(self, name: str) -> bytes:
        """The bytes of one member."""
        if self._zip is None:
            file = self.member_path(name)
            size = file.stat().st_size
        else:
            size = self._zip.getinfo(name).file_size
        if size > MAX_MEMBER_BYTES:
            raise InputError(f"{self.path}: {name} holds {size} bytes, more than the {MAX_MEMBER_BYTES} allowed")
        try:
            return file.read_bytes() if self._zip is None else self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError, ValueError) as error:
            raise InputError(f"{self.path}: {name} can't be read ({error}); get the archive again") from None

    def member_path(self, name: str) -> Path:
        """Where a member of a folder lies. Raises `InputError` for a link that leads out of the folder."""
        file = (self.path / name).resolve()
        if not file.is_relative_to(self.path.resolve()):
            raise InputError(f"{self.path}: {name} is a link that leads out of the folder; put the file itself there")
        return file

    def fingerprint(self) -> str:
        """What tells whether this is the archive of an earlier run: what is in it, not where it lies.

        Of a zip its members' names, sizes and checksums; of a folder its files' names, sizes and times of change, and
        the content of its JSON files.
        """
        facts: list[tuple[str, int, int | str]]
        if self._zip is not None:
            facts = [(i.filename, i.file_size, i.CRC) for i in self._zip.infolist()]
        else:
            facts = []
            for name in self.names:
                known = (self.path / name).stat()
                facts.append((name, known.st_size, known.st_mtime_ns))
                if name.lower().endswith(".json"):
                    facts.append((name, known.st_size, checksum(self.path / name)))
        return hashlib.sha256(json.dumps([self.path.name, sorted(facts, key=str)]).encode()).hexdigest()

    def close(self) -> None:
        """Close the zip file, if it is one."""
        if self._zip is not None:
            self._zip.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _files_of_others(folder: Path) -> list[str]:
    """Files under a folder by relative name, without hidden ones and without what lies in folders that we wrote."""
    names = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".") and read_marker(here / name) is None]
        there = (here / name for name in files if not name.startswith("."))
        names += [p.relative_to(folder).as_posix() for p in there if p.is_file()]
    return sorted(names)


def check_relative(name: str, where: str) -> None:
    """Raise `InputError` for a file name that is absolute or climbs with '..'."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise InputError(f"{where}: the file name {name!r} leads out of the archive; only names inside it are read")
