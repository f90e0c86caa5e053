"""Reading an archive in place: a zip or a folder, names and bytes only, nothing extracted.

Nothing in an archive is trusted: names that climb out of it, links out of the folder, members too
large, damaged or there twice are refused with an `InputError` that names the archive and the member.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from glioma_hf.data.images import is_litter
from glioma_hf.data.sources.zip_member import CHUNK, MemberStream, member_name, open_zip
from glioma_hf.errors import InputError
from glioma_hf.files import checksum
from glioma_hf.jsonstream import spooled
from glioma_hf.places import read_marker

MAX_MEMBER_BYTES = 512 * 2**20
MAX_JSON_BYTES = 4 * 2**30  # read in pieces
MAX_FILES = 1_000_000


class Archive:
    """Files of a zip or a folder by their relative names, with forward slashes, without `is_litter`.

    Raises `InputError` where `path` is neither, can't be read, holds a name that leaves it or can't be written, or a
    zip has a name twice.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            if self.path.is_dir():
                self.names = sorted(name for name in _files(self.path) if not is_litter(name))
            elif self.path.is_file():
                self._zip = open_zip(self.path, str(self.path))
                self._members = self._listed(self._zip)
                self.names = sorted(name for name in self._members if not is_litter(name))
            elif not self.path.exists():
                raise InputError(f"{self.path}: no such archive; give a zip or a folder in the Glioma C6 layout")
            else:
                raise InputError(f"{self.path} is neither a file nor a folder; give a zip or a folder")
            for name in self.names:
                check_relative(name, str(self.path))
        except OSError as error:  # a name that is too long, say, or a folder that may not be listed
            raise InputError(f"{self.path}: can't be read ({error.strerror}); give a zip or a folder") from None
        except InputError:
            self.close()
            raise

    def read(self, name: str) -> bytes:
        """The bytes of one member."""
        where = f"{self.path}: {name}"
        if self._zip is not None:
            return MemberStream(self._zip, self._members[name], where, MAX_MEMBER_BYTES).read()
        file = self.member_path(name)
        try:
            size = file.stat().st_size
            if size > MAX_MEMBER_BYTES:
                raise InputError(f"{where} holds {size} bytes, more than the {MAX_MEMBER_BYTES} allowed")
            return file.read_bytes()
        except OSError as error:
            raise InputError(f"{where} can't be read ({error.strerror}); get the archive again") from None

    def open(self, name: str) -> IO[bytes]:
        """A member open for reading at any place, up to `MAX_JSON_BYTES`; of a zip it is a copy that vanishes."""
        where = f"{self.path}: {name}"
        if self._zip is None:
            file = self.member_path(name)
            try:
                size = file.stat().st_size
                if size > MAX_JSON_BYTES:
                    raise InputError(f"{where} holds {size} bytes, more than the {MAX_JSON_BYTES} allowed")
                return file.open("rb")
            except OSError as error:
                raise InputError(f"{where} can't be read ({error.strerror}); get the archive again") from None
        stream = MemberStream(self._zip, self._members[name], where, MAX_JSON_BYTES)
        copy = spooled()
        try:
            while data := stream.read(CHUNK):
                copy.write(data)
        except OSError as error:
            raise InputError(
                f"{where}: no room to unpack it for reading ({error.strerror}); unpack the archive and give the folder"
            ) from None
        finally:
            stream.close()
        copy.seek(0)
        return copy

    def member_path(self, name: str) -> Path:
        """Where a member of a folder lies. Raises `InputError` for a link that leads out of the folder."""
        try:
            file = (self.path / name).resolve()
        except (OSError, RuntimeError):  # links in a circle
            raise InputError(f"{self.path}: {name} is a link that leads nowhere; put the file itself there") from None
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

    def _listed(self, packed: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in packed.infolist():
            name = member_name(info)
            if not name or "\0" in name:
                raise InputError(f"{self.path}: a member is called {name!r}; pack it again under a usual name")
            if name.endswith("/"):
                continue
            if name in members:
                raise InputError(f"{self.path}: {name} is in it twice; keep one")
            members[name] = info
        return members

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


def _files(folder: Path) -> list[str]:
    """Names of the files below a folder, without what lies in folders that we wrote.

    Links to folders aren't followed; what is no file is passed over.
    """

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: can't be read ({error.strerror}); allow it, or take it out of the folder")

    names: list[str] = []
    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if read_marker(Path(place, name)) is None]
        for name in files:
            if name[0] == "." and name.endswith((".lock", ".partial")):  # of a run into this very folder
                continue
            file = Path(place, name)
            try:
                regular = file.is_file()
            except (OSError, RuntimeError):  # links in a circle
                regular = False
            if regular:
                names.append(file.relative_to(folder).as_posix())
        if len(names) > MAX_FILES:
            raise InputError(f"{folder} holds more than {MAX_FILES} files; give the data set's own folder")
    return names


def check_relative(name: str, where: str, rooted: bool = False) -> None:
    """Raise `InputError` for a file name that climbs with '..' or, but with `rooted`, is absolute."""
    if "\0" in name or any("\ud800" <= sign <= "\udfff" for sign in name):
        raise InputError(f"{where}: the file name {name!r} can't be written in UTF-8; rename the file")
    path = PurePosixPath(name.replace("\\", "/"))
    absolute = path.is_absolute() or (path.parts and ":" in path.parts[0])
    if ".." in path.parts or (absolute and not rooted):
        raise InputError(f"{where}: the file name {name!r} leads out of the archive; only names inside it are read")
