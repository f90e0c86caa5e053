"""The one exception that stands for bad input."""


class InputError(ValueError):
    """Something given from outside (a file, an option, an annotation) can't be used.

    The message is one sentence that names the file and the object and says what to do.
    The command line prints it without a trace and ends with exit code 2.
    """
