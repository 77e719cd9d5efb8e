"""Errors a user can act on, and the exit code each ends the command with."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """The command line or an experiment file asks for something that does not exist."""


class BadConfig(UsageError):
    """A setting is unknown or has an impossible value."""


class UnknownPlugin(UsageError):
    """No plugin of this kind has this name."""


class BrokenPlugin(UsageError):
    """A plugin exists but cannot be loaded, or two claim one name."""


class BadSample(ValueError):
    """A method returned something that is not a set of volumes."""


class BadPrediction(ValueError):
    """A downstream protocol returned something that is not one probability per test case."""


class ForeignFolder(Exception):
    """A folder that has to go is not known to be ours; nothing was removed."""


class Interrupted(Exception):
    """The user or the scheduler asked to stop; everything finished is on disk."""


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
        raise PluginExit(
            f"sys.exit({'' if error.code is None else repr(error.code)}) was called. Raise an "
            "error instead, so that this stage fails and the others go on."
        ) from error


EXIT_OK, EXIT_INTERNAL, EXIT_USAGE, EXIT_DATA = 0, 1, 2, 3
EXIT_SOME_FAILED, EXIT_WEIGHTS, EXIT_DISK, EXIT_INTERRUPTED = 4, 5, 6, 75

# Error class name -> exit code. By name, because the classes of the other folders must not be
# imported (torch, pandas) just to be compared with.
_CODES = {
    "UsageError": EXIT_USAGE,
    "BadConfig": EXIT_USAGE,
    "ReportError": EXIT_USAGE,
    "BadContents": EXIT_DATA,
    "DatasetError": EXIT_DATA,
    "Misfit": EXIT_DATA,
    "MetricError": EXIT_DATA,
    "MissingWeights": EXIT_WEIGHTS,
    "ForeignFolder": EXIT_DISK,
    "Interrupted": EXIT_INTERRUPTED,
}


def exit_code(error: BaseException) -> int | None:
    """Return the exit code of an error the user can act on, or None for a defect of ours."""
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_CODES[name] for name in names if name in _CODES), None)


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
