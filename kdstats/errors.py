"""The one exception that is a message to the user."""


class UserError(Exception):
    """Something that the user must change: a sentence that says what was wrong, where, and what would be right.

    The command line prints it and exits with code 2; no traceback.
    """
