"""Checks of what comes from outside: one clear sentence for each thing that is wrong."""


class InputError(ValueError):
    """Input that cannot be used. The message says which input, what was found and what to do."""
