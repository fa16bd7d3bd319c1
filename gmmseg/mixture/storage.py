"""Mixtures on disk, without pickle: a .npz of three arrays, or .json to read by eye."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.model import Mixture

_PARTS = ("weights", "means", "covariances")
_FORMAT = "gmmseg mixture 1"


def save(mixture: Mixture, path: str | os.PathLike[str]) -> Path:
    """Write a mixture; the name ends in .npz or .json, and both keep every bit.

    Parameters
    ----------
    mixture : Mixture
    path : path-like

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the name ends otherwise.
    """
    path = Path(path)
    suffix = _suffix(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    arrays = {name: getattr(mixture, name) for name in _PARTS}
    try:
        if suffix == ".npz":
            np.savez(temporary, format=np.array(_FORMAT), **arrays)
        else:
            content = {"format": _FORMAT, **{name: a.tolist() for name, a in arrays.items()}}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(path: str | os.PathLike[str]) -> Mixture:
    """Read a mixture that :func:`save` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Mixture

    Raises
    ------
    InputError
        If the file is missing or holds no mixture.
    """
    path = Path(path)
    suffix = _suffix(path)
    try:
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
        if str(content["format"]) != _FORMAT:
            raise KeyError("format")
        return Mixture(*(content[name] for name in _PARTS))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}.") from None
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no mixture that gmmseg wrote ({error}).") from None


def _suffix(path: Path) -> str:
    if path.suffix not in (".npz", ".json"):
        raise InputError(f"a mixture is stored as .npz or .json; got {path.name!r}.")
    return path.suffix
