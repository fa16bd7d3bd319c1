"""Names of results on stdout, which may be a file on a disk that is full."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

UNPRINTED = 1  # the exit code: the input is fine, and so are the results


@dataclass
class Listing:
    """Prints names of results; where that fails the work goes on, for the results are there.

    Attributes
    ----------
    out : Path, the folder of the results
    reason : str, why names could not be printed; empty if they could
    """

    out: Path
    reason: str = ""

    def add(self, written: Iterable[Path]) -> None:
        """Print names, one a line, unless that has failed before."""
        if self.reason:
            return
        try:
            for path in written:
                click.echo(path)
        except BrokenPipeError:  # whoever read along has gone, which click knows
            raise
        except OSError as error:
            self.reason = error.strerror or str(error)
            sys.stdout = None  # or it is flushed again on leaving, and fails again

    def finish(self) -> None:
        """Say where the results are, and leave, if their names could not be printed."""
        if self.reason:
            click.echo(
                f"Error: The results are in {self.out}, but their names cannot be printed "
                f"({self.reason}).",
                err=True,
            )
            sys.exit(UNPRINTED)
