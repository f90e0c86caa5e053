"""The one exception that stands for bad input."""

from __future__ import annotations


class InputError(ValueError):
    """Something given from outside (a file, an option, an annotation) can't be used.

    The message is one sentence that names the file and the object and says what to do.
    The command line prints it without a trace and ends with exit code 2.
    """


class WorkStopped(InputError):
    """Work that broke off part-way though its input was fine; what it has done so far is kept to go on from."""


class NotWritten(WorkStopped):
    """An output can't be written: no room, no permission, no such place.

    Attributes:
        reason: in the system's words.
    """

    def __init__(self, path: object, reason: str):
        self.reason = reason
        super().__init__(f"{path} can't be written ({reason}); {_remedy(reason)}")


def _remedy(reason: str) -> str:
    """What to do about it."""
    if any(word in reason for word in ("space", "quota", "File too large")):
        return "make room and run the same command again"
    return "see to that, or give another place for the output"
