"""The table of a folder while a run adds to it, and perhaps another run beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gmmseg.checks import InputError
from gmmseg.thresholdtable import TABLE, Row, read_table, write_table

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
        self._earlier = _by_stem(read_table(folder))
        self._new: dict[str, tuple[Row, ...]] = {}  # since the table was last written
        self._written: tuple[Path, ...] = ()
        self._saved_at = time.monotonic()

    def of(self, stem: str) -> tuple[Row, ...]:
        """What an earlier run said of an image, or of another of the same stem."""
        return self._earlier.get(stem, ())

    def made(self, stem: str) -> tuple[str, ...]:
        """Names of the files that an earlier run made of an image, or of one of its stem."""
        return tuple(dict.fromkeys(name for row in self.of(stem) for name in row.files))

    def add(self, stem: str, rows: Sequence[Row]) -> None:
        """Put rows in the place of those of an earlier run; now and then the table is written."""
        self._new[stem] = tuple(rows)
        if time.monotonic() - self._saved_at > _EVERY:
            self.save()

    def save(self) -> tuple[Path, ...]:
        """Write what is new into the table as it is by now.

        Returns
        -------
        tuple of Path; the table and its description, if they have been written by this run

        Raises
        ------
        InputError
            If they cannot be written.
        """
        if not self._new:
            return self._written
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _alone(self._folder):
                rows = _by_stem(read_table(self._folder)) | self._new
                self._written = write_table(
                    self._folder, [row for own in rows.values() for row in own]
                )
        except OSError as error:
            raise InputError(
                f"The labels are in {self._folder}, but the table {TABLE} could not be written "
                f"there ({error.strerror or error}); once it can, --resume makes up for it."
            ) from error
        self._new, self._saved_at = {}, time.monotonic()
        return self._written


def _by_stem(rows: Sequence[Row]) -> dict[str, tuple[Row, ...]]:
    found: dict[str, tuple[Row, ...]] = {}
    for row in rows:
        found[row.stem] = (*found.get(row.stem, ()), row)
    return found


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
