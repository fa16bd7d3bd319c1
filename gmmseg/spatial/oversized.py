"""Masks that can be no brain's, told before minutes are spent on labels for all of it.

Volume alone would not do. Where the header has voxels twice as long as they are, a brain holds
11 L, its labels are as good as ever, and the self-check says what is wrong. A mask of a whole
image mostly holds 6 to 17 L, and nothing that comes of it is of use.
"""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.spatial.boxes import box_of

BOX_L = 5.0
"""Litres: the box around the largest plausible brain (2.3 L, ``selfcheck.PLAUSIBLE_ML``), so that
a scan that was cut to its brain may come with a mask of all of it."""
BOX_SHARE = 0.8
"""Of the box around it, which an ellipsoid fills by pi / 6, brains of sixteen scans by .26 to .51,
the foreground of ten heads by .18 to .65, and a mask of the whole image by 1."""
MOST_L = 125.0
"""Litres: the field of view of an MRI scanner, at most 50 cm along each axis."""


def check_size(mask: np.ndarray, data: np.ndarray, spacing: np.ndarray) -> None:
    """Raise InputError if a mask is far too large for a brain.

    Parameters
    ----------
    mask : (X, Y, Z) bool ndarray, not empty
    data : (X, Y, Z) float ndarray
        The scan; voxels that are NaN do not count as part of the mask.
    spacing : (3,) voxel size, mm
    """
    voxel = float(np.prod(spacing)) / 1e6
    if np.count_nonzero(mask) * voxel <= BOX_L:
        return
    known = mask & np.isfinite(data)
    held = np.count_nonzero(known) * voxel
    if held > MOST_L:
        raise InputError(
            f"The brain mask holds {held:.0f} L, more than the field of view of a scanner "
            f"({MOST_L:g} L); check the voxel size in the header, which is taken as mm."
        )
    if held > BOX_L and (share := float(known[box_of(known)].mean())) > BOX_SHARE:
        raise InputError(
            f"The brain mask holds {held:.3g} L and fills {share:.0%} of the box around it, so "
            f"that it is no brain's ({BOX_SHARE:.0%} at most are allowed above {BOX_L:g} L); give "
            f"a mask of the brain alone, or leave out --mask."
        )
