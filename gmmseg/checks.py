"""Checks of what comes from outside: one clear sentence for each thing that is wrong."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

TRACEBACK = "GMMSEG_TRACEBACK"  # variable of the environment that lets tracebacks through


class InputError(ValueError):
    """Input that cannot be used. The message says which input, what was found and what to do."""


@contextmanager
def reachable() -> Iterator[None]:
    """Turn the refusal of the system to look for a file into an InputError that says why.

    Also a decorator.
    """
    try:
        yield
    except PermissionError as error:
        raise InputError(
            f"{error.filename or 'A file'} cannot be reached: permission denied. Ask for access to "
            f"its folder, or name another place."
        ) from error
    except FileNotFoundError as error:
        if error.filename is not None:
            raise
        raise InputError(
            "The current folder is not there any more; change to another one and start again."
        ) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            path = str(error.filename)
            raise InputError(
                f"The path {path[:60]}…, of {len(os.fsencode(path))} bytes, is longer than the "
                f"system takes, or a name in it is; choose a shorter one."
            ) from error
        if error.errno == errno.ELOOP:
            raise InputError(_loop(str(error.filename))) from error
        raise
    except RuntimeError as error:  # as pathlib has it up to Python 3.12
        if not str(error).startswith("Symlink loop"):
            raise
        raise InputError(_loop(str(error).partition("from ")[2][1:-1])) from error


def _loop(path: str) -> str:
    return f"{path} is a link that leads back to itself; name the file that it should lead to."


def ending(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C or the end of the program that an exception came of, if any.

    Compiled code may pass them on as a SystemError.

    >>> ending(ValueError()), ending(KeyboardInterrupt())
    (None, KeyboardInterrupt())
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return error
        error = error.__cause__ or error.__context__
    return None
