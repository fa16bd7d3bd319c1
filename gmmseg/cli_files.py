"""Options that take all the files that follow them, which click has for arguments alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click


class FilesCommand(click.Command):
    """A command whose ``--atlas`` may be followed by several files, once the scan is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say the option again before each further file, as click wants it."""
        arguments = [str(p.name) for p in self.params if isinstance(p, click.Argument)]

        def named(before: Sequence[str]) -> bool:
            try:
                values = self.make_parser(ctx).parse_args(list(before))[0]
            except click.UsageError:  # told when all words are parsed
                return False
            return all(isinstance(values.get(name), str) for name in arguments)

        return super().parse_args(ctx, repeated(args, "--atlas", named))


def repeated(args: Sequence[str], option: str, named: Callable[[Sequence[str]], bool]) -> list[str]:
    """Words of a command line with an option repeated before each of its files.

    Parameters
    ----------
    args : sequence of str
    option : str
    named : callable
        Whether the words before the option name all arguments of the command, so that no more of
        them can follow.

    Returns
    -------
    list of str

    >>> repeated(["t1.nii", "--atlas", "gm.nii", "wm.nii", "-q"], "--atlas", bool)
    ['t1.nii', '--atlas', 'gm.nii', '--atlas', 'wm.nii', '-q']
    """
    out: list[str] = []
    taking = False
    for at, word in enumerate(args):
        if word == "--":
            return [*out, *args[at:]]
        if word == option:
            taking = named(args[:at])
        elif word.startswith("-"):
            taking = False
        elif taking and args[at - 1] != option:
            out.append(option)
        out.append(word)
    return out
