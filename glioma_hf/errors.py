"""The one exception that stands for bad input."""


class InputError(ValueError):
    """Something given from outside (a file, an option, an annotation) can't be used.

    The message is one sentence that names the file and the object and says what to do.
    The command line prints it without a trace and ends with exit code 2.
    """


class WorkStopped(InputError):
    """Work that broke off part-way though its input was fine; what it has done so far is kept to go on from."""
