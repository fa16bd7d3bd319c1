"""Checks of what comes from outside: one clear sentence for each thing that is wrong."""


class InputError(ValueError):
    """Input that cannot be used. The message says which input, what was found and what to do."""


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
