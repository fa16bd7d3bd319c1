"""What numba finds in the environment before it is imported: it refuses what it cannot use."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from gmmseg.checks import InputError

FOLDER, THREADS = "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"


def check_threads() -> None:
    """Raise InputError where the environment asks for no thread: importing numba would fail."""
    value = os.environ.get(THREADS) or "1"
    if not (value.strip().isdecimal() and int(value) >= 1):
        raise InputError(
            f"The environment variable {THREADS} is {value!r}; it must be a number, 1 or more. "
            f"Set it so, or unset it."
        )


def ensure_folder() -> None:
    """Give compiled kernels a temporary folder where numba would find none to keep them in.

    numba takes the folder that the environment names, the package's own or the user's; where none
    of them can be written, as for a service without a home in a read-only container, it refuses to
    import the kernels. The folder goes when the process ends.

    Raises
    ------
    InputError
        If there is no temporary folder either.
    """
    package = Path(__file__).parent
    own = [package / part / "__pycache__" for part in (".", "mixture", "spatial")]
    named = os.environ.get(FOLDER)
    if (named and _writable(Path(named))) or all(map(_writable, own)):
        return
    with suppress(RuntimeError):  # of a user without a home, as of a container
        if _writable(_users()):
            return
    # of a name that nobody can foretell: what lies in it is run
    try:
        folder = tempfile.mkdtemp(prefix="gmmseg-")
    except OSError as error:
        raise InputError(
            f"There is no folder for compiled kernels: the package's own, the user's and a "
            f"temporary one cannot be written. Name one by the environment variable {FOLDER}."
        ) from error
    os.environ[FOLDER] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _users() -> Path:
    """The folder that numba takes below the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("numba", appauthor=False)


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made itself where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
