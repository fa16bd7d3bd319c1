"""Files that appear together or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gmmseg.checks import InputError
from gmmseg.stopping import uninterrupted

_IMAGE_FOLDERS = ".zarr"  # folders that are one image, and may be replaced like files
WRITTEN = "all was written"
BEFORE = "before"  # folder of what is being replaced, below that of what replaces it
NAME_MAX = 255  # of a file, where the system does not say how long one may be


def resolved(paths: Iterable[Path | None]) -> frozenset[Path]:
    """Paths without links, by which files are told apart; None is left out."""
    return frozenset(path.resolve() for path in paths if path is not None)


def check_free(
    targets: Sequence[Path], *, inputs: Collection[Path] = (), overwrite: bool = False
) -> None:
    """Raise InputError if writing ``targets`` would overwrite an input, or anything unasked.

    Parameters
    ----------
    targets : sequence of Path
        Files that are going to be written.
    inputs : collection of Path
        Files that are never overwritten, :func:`resolved`.
    overwrite : bool
        Whether other files may be.
    """
    for target in targets:  # first, or the system refuses to look for them
        if len(os.fsencode(target.name)) > (longest := _longest_name(target.parent)):
            raise InputError(
                f"The output {target} would have a name of {len(os.fsencode(target.name))} bytes; "
                f"its disk takes {longest} at most. Give the input a shorter name."
            )
    for target in targets:
        if target.resolve() in inputs:
            raise InputError(
                f"The output {target} would overwrite an input of the same name; "
                f"choose another output folder with -o."
            )
        if target.is_dir() and not target.name.endswith(_IMAGE_FOLDERS):
            raise InputError(f"The output {target} is a folder; remove it or choose another -o.")
    existing = [target for target in targets if target.exists()]
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise InputError(
            f"The output {existing[0]} exists already{more}; "
            f"replace with --overwrite or choose another folder with -o."
        )


def _longest_name(folder: Path) -> int:
    """Bytes that the name of a file may have there, or where the folder is going to be made."""
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if there is None or not hasattr(os, "pathconf"):  # as on Windows
        return NAME_MAX
    try:
        longest = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError):
        return NAME_MAX
    return longest if longest > 0 else NAME_MAX


def left_over(
    folder: Path,
    stem: str,
    names: Iterable[str],
    *,
    targets: Iterable[Path],
    inputs: Collection[Path] = (),
) -> tuple[Path, ...]:
    """Files of an earlier run of a scan or an image that a new one does not replace.

    Parameters
    ----------
    folder : Path
    stem : str
        What the names of all files of the scan begin with, before an underscore.
    names : iterable of str
        Files that the earlier run says it made.
    targets : iterable of Path
        What the new run writes.
    inputs : collection of Path
        What it reads, :func:`resolved`, which is never left over.

    Returns
    -------
    tuple of Path; nothing but images and files of this stem in this folder, whatever ``names`` says
    """
    ours = [name for name in names if name.startswith(f"{stem}_") and Path(name).name == name]
    new = resolved(targets)
    return tuple(
        path
        for path in map(folder.joinpath, ours)
        if (path.is_file() or (path.is_dir() and path.name.endswith(_IMAGE_FOLDERS)))
        and path.resolve() not in new
        and path.resolve() not in inputs
    )


@contextmanager
def staged(
    folder: Path,
    targets: Sequence[Path],
    *,
    new: Sequence[Path] = (),
    stale: Sequence[Path] = (),
) -> Iterator[Path]:
    """Temporary folder whose files become ``targets`` when the block ends without an exception.

    The folder lies inside ``folder``, so that the renaming at the end stays on one disk and a
    folder that cannot be written is noticed at the start. Whatever ends the block early, Ctrl-C
    included, leaves the disk as it was. Once the block has ended signals wait until all is in its
    place; :func:`all_written` knows a KeyboardInterrupt that comes of one. A program that does not
    catch SIGTERM or SIGHUP ends before anything is cleaned up; the commands do.

    Parameters
    ----------
    folder : Path
        Created if it does not exist.
    targets : sequence of Path
        Files in ``folder``; those of their names that were written to the temporary folder are
        moved to them, over files that were there before.
    new : sequence of Path
        Those of the targets that may not have appeared meanwhile, as of another run.
    stale : sequence of Path
        Files in ``folder`` that are removed as the others are moved.

    Raises
    ------
    InputError
        If ``folder`` cannot be created or written, or one of ``new`` has appeared.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]  # deepest first
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".gmmseg-", dir=folder))
    except OSError as error:
        _remove_empty(created)
        what = error.strerror
        if isinstance(error, FileExistsError) and not folder.is_dir():
            what = f"{error.filename} is a file, or a broken link"
        raise InputError(
            f"The output folder {folder} cannot be written ({what}); choose another with -o."
        ) from error
    published = False
    try:
        try:
            yield stage
            check_free(new)
            with uninterrupted(), writing(folder):
                _publish(stage, targets, stale)
                published = True
        finally:
            with uninterrupted():
                if not _holds_files(stage / BEFORE):
                    shutil.rmtree(stage, ignore_errors=True)
                _remove_empty(created)
    except KeyboardInterrupt as stop:
        if published:
            raise KeyboardInterrupt(WRITTEN) from stop
        raise


def all_written(stop: BaseException) -> bool:
    """Whether Ctrl-C came when all files had been moved to their place."""
    return isinstance(stop, KeyboardInterrupt) and stop.args == (WRITTEN,)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a failed write, such as a full disk, into an InputError that says so."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Writing to {folder} failed ({error.strerror or error}); nothing was written there."
        ) from error


def _publish(stage: Path, targets: Sequence[Path], stale: Sequence[Path]) -> None:
    """Move every staged file to its target, stale ones away; on failure put everything back."""
    before = stage / BEFORE
    before.mkdir()
    staged = [target for target in targets if (stage / target.name).exists()]
    moved: list[Path] = []
    try:
        for target in staged:
            if target.exists():
                target.replace(before / target.name)
            moved.append(target)
            (stage / target.name).replace(target)
        for old in stale:
            if old.exists():
                old.replace(before / old.name)
    except BaseException as error:
        for target in (*staged, *stale):
            with suppress(OSError):  # the others all the same
                old = before / target.name
                if target in moved and (target.is_dir() or not old.exists()):
                    _remove(target)
                if old.exists():
                    old.replace(target)
        if _holds_files(before):
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise InputError(
                f"Writing the results failed ({reason}), and so did putting back those that were "
                f"there before; they are in {before}."
            ) from error
        raise
    shutil.rmtree(before, ignore_errors=True)


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _remove(path: Path) -> None:
    """Remove a file, or the folder of an image; nothing if there is none."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, deepest first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
