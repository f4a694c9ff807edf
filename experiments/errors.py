"""Errors that are the user's to mend: printed as one message, without a traceback."""


class UserError(Exception):
    """Something asked for cannot be done; the message says what, why and the way out."""
