"""Errors that a user can act on: the message says what is wrong, what was expected, what to do."""

from __future__ import annotations

from typing import ClassVar

EXIT_OK, EXIT_INTERNAL, EXIT_USAGE, EXIT_DATA = 0, 1, 2, 3
EXIT_SOME_FAILED, EXIT_WEIGHTS, EXIT_DISK, EXIT_GATE, EXIT_INTERRUPTED = 4, 5, 6, 7, 75


class UserError(Exception):
    """The base of all of them; it is printed without a traceback.

    Attributes:
        exit_code: What the command ends with.
    """

    exit_code: ClassVar[int] = EXIT_USAGE


class UsageError(UserError, ValueError):
    """The command line, an experiment file or a setting asks for something that does not exist."""
