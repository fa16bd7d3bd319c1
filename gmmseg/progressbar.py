"""A bar on the terminal that a run reports to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(*, show: bool) -> Iterator[Callable[[str, float], None] | None]:
    """A bar on stderr that a workflow reports to; None where no one would see it."""
    if not (show and sys.stderr is not None and sys.stderr.isatty()):  # None where it is closed
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    # the name of a file may look like rich's markup
    described = TextColumn("{task.description:20s}", markup=False)
    columns = (described, BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda stage, done: bar.update(task, description=stage, completed=done)
