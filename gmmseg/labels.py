"""Label tables: which number a class has in each convention, its full name and its colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmmseg.checks import InputError

TISSUES = ("GM", "WM", "CSF")
"""Classes of a brain, in the order of their labels, where no atlas says otherwise."""

NAMES = {
    "GM": "Gray Matter", "WM": "White Matter", "CSF": "Cerebrospinal Fluid",
    "CGM": "Cortical Gray Matter", "SGM": "Subcortical Gray Matter",
    "BS": "Brainstem", "CBM": "Cerebellum",
}  # fmt: skip
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

BIDS_MORE = {"CGM": 8, "SGM": 9, "BS": 10, "CBM": 11}
"""Codes of BIDS for parts of the brain that only some atlases tell apart."""

FIRST_FREE = 20
"""Classes that BIDS has no code for get this one and those after it, in their order."""

COLOURS = {
    "GM": "#ff53bb", "WM": "#2f8bbe", "CSF": "#6abf4b",
    "CGM": "#ff53bb", "SGM": "#f5a623", "BS": "#8e5ac8", "CBM": "#d8433f",
}  # fmt: skip
"""BIDS's own example colours for GM and WM."""

OTHER_COLOURS = ("#808080", "#00a0a0", "#b8a000", "#7a5195", "#a05a2c", "#4f6d8f")
"""Of further classes, in turn."""

FREESURFER_COLOURS = {"WM": "#f5f5f5", "GM": "#cd3e4e", "CSF": "#3c3c3c"}
"""Those of FreeSurferColorLUT.txt."""


def codes(names: Sequence[str], scheme: str = "bids") -> tuple[int, ...]:
    """Code of each class in a convention.

    Raises
    ------
    InputError
        If the convention is unknown, or has no code for a class. ``bids`` has one for any: those
        that BIDS does not know count on from ``FIRST_FREE``.

    >>> codes(["GM", "WM", "CSF"], "fsl")
    (2, 3, 1)
    >>> codes(["GM", "SGM", "lesion"])
    (1, 9, 20)
    """
    if scheme not in SCHEMES:
        raise InputError(f"Unknown label scheme {scheme!r}; choose one of {', '.join(SCHEMES)}.")
    table = SCHEMES[scheme]
    if scheme == "bids":
        table = {**table, **BIDS_MORE}
        free = [name for name in names if name not in table]
        table.update({name: FIRST_FREE + k for k, name in enumerate(free)})
    unknown = [name for name in names if name not in table]
    if unknown:
        raise InputError(f"The label scheme {scheme} has no code for {', '.join(unknown)}.")
    return tuple(table[name] for name in names)


def colours(names: Sequence[str], scheme: str = "bids") -> tuple[str, ...]:
    """Colour of each class as #rrggbb; classes without one of their own share a few in turn.

    >>> colours(["GM", "lesion"])
    ('#ff53bb', '#808080')
    """
    table = FREESURFER_COLOURS if scheme == "freesurfer" else COLOURS
    others = [name for name in names if name not in table]
    spare = {name: OTHER_COLOURS[k % len(OTHER_COLOURS)] for k, name in enumerate(others)}
    return tuple(table.get(name) or spare[name] for name in names)


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
