"""What an affine map from voxel indices to millimetres says of the voxels.

nibabel's own function is for its images, at the edge; the maths knows arrays alone.
"""

from __future__ import annotations

import numpy as np


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Edge lengths of a voxel, in the order of the array's axes.

    Parameters
    ----------
    affine : (4, 4) ndarray, voxel index to mm; turned and sheared as it may be

    Returns
    -------
    (3,) float64 ndarray, mm

    >>> voxel_sizes(np.diag([-1.0, 2.0, 3.0, 1.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    return np.sqrt((np.asarray(affine, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))
