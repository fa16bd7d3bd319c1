"""Arrays that take long to make and never change, kept in the user's cache folder between runs.

Nothing depends on the folder: where it cannot be read or written, or a file in it is damaged, the
arrays are made again, and they are the same.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from isal import igzip, isal_zlib

FOLDER = "GMMSEG_CACHE"
"""Environment variable that names another folder; if it is empty, nothing is kept."""
PIECE_BYTES = 1 << 23  # inflated at a time
GENERATIONS = 3  # of one name, for environments that share the folder; older ones are removed

_stored: set[str] = set()  # names of arrays that a file has been seen to hold, or made to


def kept(
    name: str, sources: Iterable[Path], make: Callable[[], tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """Arrays that ``make`` returns, from an earlier run where nothing they depend on has changed.

    Parameters
    ----------
    name : str
        Of the file.
    sources : iterable of Path
        Files whose content the arrays depend on: data, and the code that makes them. Versions of
        NumPy, SciPy and scikit-image are taken into account besides.
    make : callable
        Makes the arrays.

    Returns
    -------
    tuple of ndarray
    """
    folder = _folder()
    try:
        stamp = _stamp(sources)
    except OSError:  # code without files, as in a zip archive
        folder = None
    if folder is None:
        return make()
    path = folder / f"{name}-{stamp}.z"
    # A damaged file fails its check sum, a shortened one ends early.
    with suppress(OSError, ValueError, EOFError, isal_zlib.error):  # type: ignore[arg-type]
        arrays = _unpacked(path.read_bytes())
        _stored.add(name)
        return arrays
    arrays = make()
    with suppress(OSError):
        _store(path, arrays)
        _stored.add(name)
        generations = sorted(folder.glob(f"{name}-*.z"), key=lambda p: -p.stat().st_mtime)
        for old in generations[GENERATIONS:]:
            old.unlink(missing_ok=True)
    return arrays


def is_stored(name: str) -> bool:
    """Whether :func:`kept` has come by a file of that name, so that to read it again is cheap."""
    return name in _stored


def _folder() -> Path | None:
    chosen = os.environ.get(FOLDER)
    if chosen is not None:
        return Path(chosen) if chosen else None
    from platformdirs import user_cache_path

    try:
        return user_cache_path("gmmseg", appauthor=False)
    except RuntimeError:  # a user without a home, as of a container
        return None


def _stamp(sources: Iterable[Path]) -> str:
    """Name of arrays that these files make with these versions of the libraries they call."""
    libraries = [version(name) for name in ("numpy", "scipy", "scikit-image")]
    digest = hashlib.sha256(" ".join(libraries).encode())
    for source in (Path(__file__), *sources):  # this one says how they are packed
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _store(path: Path, arrays: tuple[np.ndarray, ...]) -> None:
    """Write the arrays whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(_packed(arrays))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _packed(arrays: tuple[np.ndarray, ...]) -> bytes:
    stream = io.BytesIO()
    stream.write(bytes([len(arrays)]))
    for array in arrays:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    return igzip.compress(stream.getbuffer(), 2)


def _unpacked(content: bytes) -> tuple[np.ndarray, ...]:
    """Inflate the arrays a piece at a time, so that they never stand in memory twice."""
    with igzip.IGzipFile(fileobj=io.BytesIO(content)) as stream:
        count = int.from_bytes(stream.read(1), "little")
        arrays = [_inflated(stream) for _ in range(count)]
        if not arrays or stream.read(1):  # the end, which has the check sum, is to be seen
            raise ValueError("These are not the arrays that were packed.")
    return tuple(arrays)


def _inflated(stream: igzip.IGzipFile) -> np.ndarray:
    """The next array of a stream.

    NumPy asks for a quarter of a MB at a time, and waits for the interpreter each time, which other
    threads hold while modules are loaded.
    """
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("This is not an array as it was packed.")
    shape, across, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("Arrays of objects are not kept.")
    array = np.empty(shape, dtype, order="F" if across else "C")
    flat = array.ravel(order="K").view(np.uint8)
    for first in range(0, flat.size, PIECE_BYTES):
        part = flat[first : first + PIECE_BYTES]
        part[...] = np.frombuffer(stream.read(part.size), np.uint8)
    return array
