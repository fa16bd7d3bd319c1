"""The record of a run: what went in, what was decided, and the command that repeats it."""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import gmmseg
from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError

if TYPE_CHECKING:
    from gmmseg.selfcheck import Check
    from gmmseg.tissues import BrainSegmentation

_PAIRS = {"hdr": "img", "head": "brik", "par": "rec"}  # of one image, header and voxels
_PAIRED = re.compile(r"(.+\.)(hdr|img|head|brik|par|rec)(?:\.gz|\.bz2)?", re.I)


def inputs(scan: Path, mask: Path | None, maps: Sequence[Path] = ()) -> dict[str, Any]:
    """Paths and check sums of what goes into a run, for :func:`record`; as it is read, not after.

    Parameters
    ----------
    scan, mask : Path
    maps : sequence of Path, of an atlas of the user's

    Raises
    ------
    InputError
        If one of them can no longer be read.
    """
    try:
        return {
            "scan": {**_files(scan), "absolute_path": str(scan.resolve())},
            "mask": None if mask is None else _files(mask),
            "atlas": [_files(path) for path in maps],
        }
    except OSError as error:
        raise InputError(
            f"{error.filename} can no longer be read ({error.strerror}); is it being moved or "
            f"written to?"
        ) from error


def record(
    segmentation: BrainSegmentation,
    *,
    read: Mapping[str, Any],
    labels: str,
    command: Sequence[str],
    checks: Sequence[Check] = (),
    files: Sequence[Path] = (),
) -> dict[str, Any]:
    """What ``_desc-provenance.json`` holds.

    Parameters
    ----------
    segmentation : BrainSegmentation
    read : mapping, from :func:`inputs`
    labels : str
        Convention of the label image.
    command : sequence of str
        Words of the command that repeats the run.
    checks : sequence of Check
        The self-check of the segmentation.
    files : sequence of Path
        What the run writes, told by name: a later one knows by it what is left over.

    Returns
    -------
    dict of what JSON knows
    """
    result = segmentation
    content = {
        "gmmseg": gmmseg.__version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(command),
        "scan": {
            **read["scan"],
            "shape": result.volume.shape,
            "voxel_size_mm": voxel_sizes(result.volume.affine),
            "affine": result.volume.affine,
            "missing_voxels": result.volume.n_missing,
        },
        "mask": read["mask"],
        "atlas": read["atlas"],
        "labels": labels,
        "files": [path.name for path in files],
        "settings": asdict(result.settings),
        "decisions": result.decisions,
        "warnings": result.warnings,
        "self_check": [check.record() for check in checks],
        "seconds": result.stages,
        "objective_nats_per_sample": result.objective,
        "potts_objective_nats_per_voxel": result.potts_objective,
        "components": components(result),
        "software": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "numba", "nibabel")},
        },
    }
    return plain(content)


def components(segmentation: BrainSegmentation) -> list[dict[str, Any]]:
    """Class, weight, mean and standard deviation of each Gaussian."""
    mixture = segmentation.mixture
    rows = zip(
        segmentation.component_names,
        mixture.weights,
        mixture.means[:, 0],
        np.sqrt(mixture.covariances[:, 0, 0]),
        strict=True,
    )
    return [
        {"class": name, "weight": weight, "mean": mean, "standard_deviation": deviation}
        for name, weight, mean, deviation in rows
    ]


def _files(path: Path) -> dict[str, Any]:
    """Path and check sum of an image, and those of the other file where it is one of two."""
    content: dict[str, Any] = {"path": str(path), "sha256": sha256(path)}
    others = [{"path": str(other), "sha256": sha256(other)} for other in beside(path)]
    return content | ({"belonging_files": others} if others else {})


def beside(path: Path) -> list[Path]:
    """Files that make an image together with the one that was named: the voxels of a header.

    >>> beside(Path("scan.nii"))
    []
    """
    match = _PAIRED.fullmatch(path.name)
    if match is None:
        return []
    stem, extension = match[1], match[2].lower()
    other = _PAIRS.get(extension) or next(k for k, v in _PAIRS.items() if v == extension)
    names = [stem + word + end for word in (other, other.upper()) for end in ("", ".gz", ".bz2")]
    found: list[Path] = []
    for one in map(path.with_name, names):
        # a disk that takes capitals for small letters has the same file under both names
        if one.is_file() and not any(one.samefile(known) for known in found):
            found.append(one)
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """The same content in what JSON knows: NumPy numbers and arrays, paths and tuples replaced.

    >>> plain({"affine": np.eye(2), "n": np.int64(3), "x": float("nan")})
    {'affine': [[1.0, 0.0], [0.0, 1.0]], 'n': 3, 'x': None}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None  # JSON has no NaN
    return value if value is None or isinstance(value, bool | int | str) else str(value)
