"""Label tables: which number a class has in each convention, its full name and its colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmmseg.checks import InputError

NAMES = {"GM": "Gray Matter", "WM": "White Matter", "CSF": "Cerebrospinal Fluid"}
"""Full names of the classes, as BIDS spells them."""

SCHEMES: dict[str, dict[str, int]] = {
    "bids": {"GM": 1, "WM": 2, "CSF": 3},
    "fsl": {"CSF": 1, "GM": 2, "WM": 3},  # FAST's classes of a T1 scan, darkest first
    "spm": {"GM": 1, "WM": 2, "CSF": 3},  # c1, c2, c3
    # FreeSurferColorLUT's left white matter, left cortex and CSF: the hemispheres and the deep
    # grey matter are not told apart, so the left hemisphere's codes stand for both.
    "freesurfer": {"WM": 2, "GM": 3, "CSF": 24},
}
"""Code of each class in each convention; 0 is always what lies outside."""

COLOURS = {"GM": "#ff53bb", "WM": "#2f8bbe", "CSF": "#6abf4b"}
"""BIDS's own example colours for GM and WM."""

FREESURFER_COLOURS = {"WM": "#f5f5f5", "GM": "#cd3e4e", "CSF": "#3c3c3c"}
"""Those of FreeSurferColorLUT.txt."""


def codes(names: Sequence[str], scheme: str = "bids") -> tuple[int, ...]:
    """Code of each class in a convention.

    Raises
    ------
    InputError
        If the convention is unknown, or has no code for a class.

    >>> codes(["GM", "WM", "CSF"], "fsl")
    (2, 3, 1)
    """
    if scheme not in SCHEMES:
        raise InputError(f"Unknown label scheme {scheme!r}; choose one of {', '.join(SCHEMES)}.")
    table = SCHEMES[scheme]
    unknown = [name for name in names if name not in table]
    if unknown:
        raise InputError(f"The label scheme {scheme} has no code for {', '.join(unknown)}.")
    return tuple(table[name] for name in names)


def colours(names: Sequence[str], scheme: str = "bids") -> tuple[str, ...]:
    """Colour of each class as #rrggbb; grey for a class without one of its own.

    >>> colours(["GM", "lesion"])
    ('#ff53bb', '#808080')
    """
    table = FREESURFER_COLOURS if scheme == "freesurfer" else COLOURS
    return tuple(table.get(name, "#808080") for name in names)


def recode(labels: np.ndarray, names: Sequence[str], scheme: str = "bids") -> np.ndarray:
    """Label image in a convention.

    Parameters
    ----------
    labels : ndarray of uint8
        0 outside, k + 1 for ``names[k]``.
    names : sequence of K str
    scheme : {"bids", "fsl", "spm", "freesurfer"}

    Returns
    -------
    ndarray of uint8, of the same shape
    """
    return np.array([0, *codes(names, scheme)], dtype=np.uint8)[labels]
