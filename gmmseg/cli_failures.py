"""How a command ends that cannot do its work: with one sentence and an exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from gmmseg.checks import TRACEBACK, InputError, ending
from gmmseg.staging import WRITTEN, all_written

INTERRUPTED = 130  # exit code of a command that Ctrl-C ended, as shells have it


@contextmanager
def after_writing() -> Iterator[None]:
    """What a command says when its results are written: Ctrl-C does not undo them."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(WRITTEN) from stop


class InputFailure(click.ClickException):
    """An InputError as the user sees it."""

    exit_code = 2


class Commands(click.Group):
    """Commands whose errors are told in a sentence each.

    The exit code is 2 for what cannot be used, 1 for anything else.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except InputError as error:
            raise InputFailure(str(error)) from error
        except MemoryError as error:
            raise click.ClickException("There is not enough memory for it.") from error
        except (KeyboardInterrupt, Exception) as error:
            stop = ending(error)
            if isinstance(stop, KeyboardInterrupt):
                what = WRITTEN if all_written(stop) else "nothing was written"
                click.echo(f"Interrupted; {what}.", err=True)
                ctx.exit(INTERRUPTED)
            if stop is not None:
                raise stop from None
            gone = isinstance(error, OSError) and error.errno == errno.EPIPE  # click knows it
            if gone or os.environ.get(TRACEBACK):
                raise
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise click.ClickException(
                f"It failed in a way no one thought of ({what}). Set {TRACEBACK}=1 to see where."
            ) from error
