"""Pushing files to the Hugging Face Hub, and the check that they arrived as they were.

What is pushed are the bytes of a folder's files and nothing else; their checksums are compared with the Hub's
afterwards.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioma_hf.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push(
    tree: Path, names: list[str], repo: str, private: bool = False, api: HfApi | None = None, kind: str = "dataset"
) -> str:
    """Push the files of a tree to a repository (`dataset` or `model`), made if need be; returns its address.

    Raises `InputError` where the Hub refuses or a checksum there isn't that of the file here.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    check_repo(repo)
    api = api or HfApi()
    try:
        url = api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=tree,
            allow_patterns=names,
            commit_message="Pushed by glioma-hf",
        )
        there = {e.path: e for e in api.list_repo_tree(repo, repo_type=kind, recursive=True)}
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set: unset it to push, or give --dry-run") from None
    except HFValidationError as error:
        raise InputError(f"{repo}: {error}") from None
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{repo}: the Hub refused ({reason}); see that you are logged in (hf auth login)") from None
    except OSError as error:
        raise InputError(f"{repo}: the Hub can't be reached ({error}); run it again to go on") from None
    for name in names:
        if not _same(there.get(name), (tree / name).read_bytes()):
            raise InputError(f"{repo}: {name} on the Hub isn't the file that was pushed; run it again")
    return str(url)


def is_repo(name: str) -> bool:
    """Whether a name is of the form USER/NAME, and neither a path nor one that climbs."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and not set(name.split("/")) & {".", ".."}


def fetch(repo: str, names: list[str], most: int | None = None) -> Path | None:
    """A folder with those of the files that a model repository has; None where it hasn't the first of them.

    Files that were fetched before are taken from the cache, also without a network. Raises `InputError` where the Hub
    refuses, and for a file of more than `most` bytes, which isn't fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    folder = None
    for name in names:
        if most is not None and (size := _size(repo, name)) > most:
            raise InputError(f"{repo}: {name} holds {size} bytes, more than the {most} that are taken")
        try:
            folder = Path(hf_hub_download(repo, name)).parent
        except (EntryNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
            # Not in the cache either, because the Hub refused: no reason to do without it.
            if isinstance(error.__cause__, HfHubHTTPError):
                raise _not_fetched(repo, name, error.__cause__) from None
            if folder is None:
                return None
        except (HfHubHTTPError, OSError) as error:
            raise _not_fetched(repo, name, error) from None
    return folder


def _size(repo: str, name: str) -> int:
    """The bytes of a file; 0 where the Hub doesn't say, and then doesn't give it either."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return get_hf_file_metadata(hf_hub_url(repo, name)).size or 0
    except (HfHubHTTPError, HFValidationError, OSError):
        return 0


def _not_fetched(repo: str, name: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"{repo}: {name} can't be fetched from the Hub ({reason})")


def check_repo(repo: str) -> None:
    """Raise `InputError` for a name that isn't USER/NAME."""
    if not is_repo(repo):
        raise InputError(f"the repository {repo!r} isn't of the form USER/NAME")


def _same(entry: Any, data: bytes) -> bool:
    """Whether a file of the Hub's listing has this content: SHA-256 of large files, git's own of small ones."""
    if entry is None or entry.size != len(data):
        return False
    if entry.lfs is not None:
        return entry.lfs.sha256 == hashlib.sha256(data).hexdigest()
    return entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
