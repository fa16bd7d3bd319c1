"""The edge of a brain that was cut out of its head and resampled since, where it fades."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.components import largest_component, solid_component

FAINT = 0.1  # of the median of the brain: hardly any tissue and hardly any CSF is as dark
SKIRT, HALF_FLUID = 0.05, 0.15
"""Of the same median, next to nothing: an average of many brains has .007 of it in its outermost
layer, and none that was cut out, whose CSF has a tenth or more. And of the brightness around, what
CSF fills by half: it has three tenths and more of it."""
FADED, STEEP = 0.08, 4.0
"""How much of the outermost layer of voxels is faint where an edge fades, and how many times as
much as of the layer below. Of eight brains interpolated in three ways .13 to .66, and 5 times as
much and more; of ten as they were cut .03 at most; of two brought to a template before, .08 and
.17, 2 and 3 times as much; where CSF was made half or a quarter as bright, up to .56, but 2.2 times
as much at most."""
HALF_FILLED = 0.4
"""Of the mean around it, what a voxel has at least that the brain fills by half. It is less than
half since what is at the edge, CSF or cortex, is darker than what lies deeper."""
WINDOWS, BRIGHTEST = 8, 4.0
"""Windows of brightness along each axis of a brain, some 20 mm; what counts in them at most, of the
median of the brain, so that stray values do not."""
LAYERS = 2  # of voxels that interpolation reaches
NEAR = 1.0  # standard deviation of the Gaussian that says what is around a voxel, voxels


def without_faded_edge(data: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """A brain without the voxels at its edge that interpolation filled by less than half.

    Resampled after its skull was taken off, a brain has a seam of voxels that are part background.
    They are as dark as CSF, and make it 4 per cent too large. The average of many brains fades
    over several layers, none of them much fainter than the one below: there, all goes that CSF
    fills by less than half.

    Parameters
    ----------
    data : (X, Y, Z) float ndarray, image units; NaN where missing
    brain : (X, Y, Z) bool ndarray
        What differs from the background, holes filled. The background is the median around it.

    Returns
    -------
    (X, Y, Z) bool ndarray, one part; ``brain`` itself where its edge is as sharp as it was cut, or
    where tissue lies on both sides of the background, so that nothing tells how much of it a voxel
    has
    """
    if not brain.any():
        return brain
    box = box_of(brain, (1, 1, 1))
    inside, values = brain[box], data[box]
    around = values[~inside & np.isfinite(values)]
    if not around.size:
        return brain
    values = np.nan_to_num(values - np.median(around))
    deeper = ndimage.binary_erosion(inside, border_value=1)  # the image's border is no edge
    deepest = ndimage.binary_erosion(deeper, iterations=LAYERS - 1, border_value=1)
    if not deepest.any():
        return brain
    middle = np.median(values[deepest])
    if not np.quantile(values[deepest], 0.01) > 0:
        return brain
    rim = inside & ~deeper
    if np.median(values[rim]) < SKIRT * middle:
        out = brain.copy()
        out[box] = _half_filled_by_fluid(values, inside, middle)
        return out
    outer, below = (np.mean(values[layer] < FAINT * middle) for layer in (rim, deeper & ~deepest))
    if outer < FADED or outer < STEEP * below:
        return brain
    weight = ndimage.gaussian_filter(deeper.astype(np.float32), NEAR)
    total = ndimage.gaussian_filter(np.where(deeper, values, np.float32(0)), NEAR)
    out = brain.copy()
    out[box] &= deepest | (values * weight >= HALF_FILLED * total)
    return largest_component(out)


def _half_filled_by_fluid(values: np.ndarray, inside: np.ndarray, middle: float) -> np.ndarray:
    """Where a brain has as much as CSF fills by half, as bright as it is there.

    Parameters
    ----------
    values : (X, Y, Z) float32 ndarray, image units above the background
    inside : (X, Y, Z) bool ndarray
    middle : float, median of the brain, image units

    Returns
    -------
    (X, Y, Z) bool ndarray, one part of ``inside``, holes filled
    """
    core = inside & (values >= HALF_FLUID * middle)
    window = [max(n // WINDOWS, 1) for n in values.shape]
    bright = np.where(core, np.minimum(values, BRIGHTEST * middle), 0)
    total = ndimage.uniform_filter(bright, window, output=np.float64)
    weight = ndimage.uniform_filter(core, window, output=np.float64)
    return solid_component(inside & (values * weight >= HALF_FLUID * total))
