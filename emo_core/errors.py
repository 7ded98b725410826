"""The error that tells a user what to change, as opposed to a mistake of ours."""


class InputError(ValueError):
    """Something the user handed in cannot be used.

    The message says, in this order: what it was, what was found, what was expected, what to do.
    The command line prints it without a traceback and ends with status 2.
    """
