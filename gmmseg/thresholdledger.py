"""The table of a folder while a run adds to it, and perhaps another run beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gmmseg.checks import InputError
from gmmseg.thresholdtable import TABLE, Row, Table, read_table, write_table

_EVERY = 2.0  # seconds between two writings of the table of a long run


class Ledger:
    """Rows of all images of a folder, by stem.

    Parameters
    ----------
    folder : Path
        Need not exist.

    Raises
    ------
    InputError
        If there is a table that is not one of ours.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = self._there = _by_stem(read_table(folder))
        self._seen = self._stamp()
        self._own: dict[str, tuple[Row, ...]] = {}
        self._fresh: set[str] = set()  # stems whose rows are not in the table yet
        self._written: tuple[Path, ...] = ()
        self._tried_at = time.monotonic()

    def of(self, stem: str) -> tuple[Row, ...]:
        """What an earlier run said of an image, or of another of the same stem."""
        return self._first.get(stem, ())

    def made(self, stem: str) -> tuple[str, ...]:
        """Names of the files of an image, or of one of its stem, that the table names by now."""
        if self._stamp() != self._seen:
            with suppress(InputError):  # told when it is written
                self._there, self._seen = _by_stem(read_table(self._folder)), self._stamp()
        rows = self._there.get(stem, ())
        return tuple(dict.fromkeys(name for row in rows for name in row.files))

    def add(self, stem: str, rows: Sequence[Row]) -> None:
        """Put rows in the place of those of an earlier run; now and then the table is written."""
        self._own[stem] = tuple(rows)
        self._fresh.add(stem)
        if time.monotonic() - self._tried_at > _EVERY:
            with suppress(InputError):  # tried again, and told at the end
                self.save()

    def save(self) -> tuple[Path, ...]:
        """Write what is new into the table as it is by now.

        Returns
        -------
        tuple of Path; the table and its description, if they have been written by this run

        Raises
        ------
        InputError
            If they cannot be written, or another table is there by now.
        """
        if not self._fresh:
            return self._written
        self._tried_at = time.monotonic()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _alone(self._folder):
                table = read_table(self._folder)
                self._there = self._joined(table)
                rows = [row for own in self._there.values() for row in own]
                self._written = write_table(self._folder, Table(rows, table.added))
        except (OSError, InputError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            labelled = sum(all(row.ok for row in self._own[stem]) for stem in self._fresh)
            there = f" The labels of {labelled} image{'s' * (labelled != 1)} are there; "
            raise InputError(
                f"The table {TABLE} could not be written to {self._folder} ({why.rstrip('.')})."
                + (f"{there}once it can, --resume adds their rows." if labelled else "")
            ) from error
        self._seen = self._stamp()
        self._fresh = set()
        return self._written

    def _joined(self, table: Table) -> dict[str, tuple[Row, ...]]:
        """Rows of a table and those of this run, which go before what it has."""
        there = _by_stem(table)
        for stem, rows in self._own.items():
            other = there.get(stem, ())
            if stem not in self._fresh and other:
                continue  # it was written, by us or by another run since
            failed = not any(row.ok for row in rows)
            if failed and other != self._first.get(stem, ()) and any(row.ok for row in other):
                continue  # another run was first, and did better
            added = {row.cells.get("part"): row.only(table.added) for row in other}
            there[stem] = tuple(row.joined(added.get(row.cells.get("part"), {})) for row in rows)
        return there

    def _stamp(self) -> tuple[int, ...]:
        """What tells that the table has been written anew."""
        try:
            found = (self._folder / TABLE).stat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns


def _by_stem(table: Table) -> dict[str, tuple[Row, ...]]:
    found: dict[str, list[Row]] = {}
    for row in table.rows:
        found.setdefault(row.stem, []).append(row)
    return {stem: tuple(rows) for stem, rows in found.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs from the table meanwhile; where the system has no such locks they may come.

    The lock is on the folder itself: a file for it would be left behind.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # as of some network disks
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
