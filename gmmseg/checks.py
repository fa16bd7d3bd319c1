"""Checks of what comes from outside: one clear sentence for each thing that is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Input that cannot be used. The message says which input, what was found and what to do."""


@contextmanager
def permitted() -> Iterator[None]:
    """Turn the refusal of the system to look into a folder into an InputError that says so.

    Also a decorator.
    """
    try:
        yield
    except PermissionError as error:
        raise InputError(
            f"{error.filename or 'A file'} cannot be reached: permission denied. Ask for access to "
            f"its folder, or name another place."
        ) from error


def interrupted(error: BaseException | None) -> bool:
    """Whether an exception came of Ctrl-C: compiled code may pass it on as a SystemError.

    >>> interrupted(ValueError()), interrupted(KeyboardInterrupt())
    (False, True)
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
