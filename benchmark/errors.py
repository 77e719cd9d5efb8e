"""Errors of the engine and the command line, beside those of ``core`` and the other folders."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cerebench.core.errors import (
    EXIT_DATA,
    EXIT_DISK,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    UsageError,
    UserError,
)


class UnknownPlugin(UsageError):
    """No plugin of this kind has this name."""


class BrokenPlugin(UsageError):
    """A plugin exists but cannot be loaded, or two claim one name."""


class BadSample(ValueError):
    """A method returned something that is not a set of volumes."""


class BadPrediction(ValueError):
    """A downstream protocol returned something that is not one probability per test case."""


class Damaged(UserError):
    """A file holds something else than its record says, though size and times are as recorded."""

    exit_code = EXIT_DATA


class ForeignFolder(UserError):
    """A folder that has to go is not known to be ours; nothing was removed."""

    exit_code = EXIT_DISK


class Interrupted(UserError):
    """The user or the scheduler asked to stop; everything finished is on disk."""

    exit_code = EXIT_INTERRUPTED


class TakenOver(RuntimeError):
    """Another process took this one for dead and works on its stage; this one publishes nothing."""


class PluginExit(RuntimeError):
    """A plugin called ``sys.exit()``, which would have ended the command as if all were well."""


@contextmanager
def no_exit() -> Iterator[None]:
    """Turn ``sys.exit()`` in foreign code into an error like any other.

    Raises:
        PluginExit: If it was called.
    """
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # nobody reads what rich prints
            raise
        raise PluginExit(
            f"sys.exit({'' if error.code is None else repr(error.code)}) was called. Raise an "
            "error instead, so that this stage fails and the others go on."
        ) from error


def told(error: BaseException) -> str:
    """Return an error of foreign code on one line, with its kind."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # foreign code, too
        text = "an error without a text"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def disk_is_full(error: BaseException) -> bool:
    """Say whether an error tells that a disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def of_machine(error: Exception) -> tuple[str, int]:
    """Return what an error of the system says to a user, and the exit code.

    Args:
        error: An ``OSError``, a ``MemoryError``, or a ``ValueError`` of a path.

    Returns:
        An empty message where it is none of these, but a fault in the program.
    """
    if fault := path_fault(error):
        return fault, EXIT_USAGE
    if isinstance(error, MemoryError):
        return (
            f"This machine has too little memory: {str(error) or 'none is left'}. Choose a smaller "
            "size, or fewer volumes; everything finished so far is kept."
        ), EXIT_INTERNAL
    if not isinstance(error, OSError):
        return "", EXIT_INTERNAL
    place = f": {error.filename}" if error.filename else ""
    return (
        f"{error.strerror or error}{place}. Check the disk and the permissions of --out, of "
        "$CEREBENCH_CACHE, of the temporary folder and of the data; everything finished so far is "
        "kept."
    ), EXIT_DISK


def path_fault(error: BaseException) -> str:
    """Return what is wrong with a path that no file system could have, or an empty string."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = str(error.filename or "")
        return f"A name in {name[:60]}… is too long for the file system. Give a shorter one."
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return (
            "A path holds a NUL character, which no file system allows. Correct it on the command "
            "line, in the experiment or in the table that it comes from."
        )
    return ""
