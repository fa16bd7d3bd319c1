"""A scan made ready for the model: which way up, where its brain is known, what its values are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmmseg import volume as volumes
from gmmseg.affines import voxel_sizes
from gmmseg.checks import InputError
from gmmseg.layout import laid_out
from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.brainlabels import MIN_VOXELS
from gmmseg.spatial.faded import without_faded_edge
from gmmseg.spatial.floor import fitting_unit, negative_floor, raised_floor
from gmmseg.spatial.foreground import stripped_brain
from gmmseg.spatial.oversized import check_size

MIN_EXTENT_MM = 10.0  # of the image, or the brain in it, along each axis
MOST_EXTENT_MM = 2500.0  # of the image: a grown person, head to foot, and room


@dataclass(frozen=True, slots=True, eq=False)
class HeadScan:
    """A scan in RAS+ order, ready for the model: nothing negative, the brain's mask if known.

    Attributes
    ----------
    data : (X, Y, Z) float32 ndarray, units of ``unit`` above ``offset``; NaN where missing
    affine : (4, 4) float64 ndarray, voxel index to world mm
    spacing : (3,) float64 ndarray, voxel size, mm
    mask : (X, Y, Z) bool ndarray, optional
        The brain, where it was given or nothing else is left in the scan.
    stripped : bool, whether the scan was found, or said, to show a brain alone
    faded : bool, whether voxels at the edge of the brain were left out
    unit : float, that intensities are counted in, image units
    offset : float, taken off the intensities, image units
    """

    data: np.ndarray
    affine: np.ndarray
    spacing: np.ndarray
    mask: np.ndarray | None
    stripped: bool
    faded: bool
    unit: float
    offset: float

    def summary(self) -> dict[str, object]:
        """What was seen of the scan, for the record."""
        return {
            "stripped": self.stripped,
            "offset taken off": round(self.offset, 4),
            "faded edge left out": self.faded,
        }

    @classmethod
    def of(cls, scan: volumes.Volume, mask: np.ndarray | None, said: bool | None) -> HeadScan:
        """Make a scan ready.

        Parameters
        ----------
        scan : Volume
        mask : (X, Y, Z) bool ndarray, optional, the brain on the grid of the scan
        said : bool, optional
            Whether the scan was said to show a brain alone; None lets the scan tell.

        Raises
        ------
        InputError
            If the scan is too small, too thin or too long, if the mask is too small or can be no
            brain's, or if the scan was said to be stripped and no background stands apart.
        """
        canonical = volumes.to_canonical(scan)
        data, stripped, faded = canonical.data, bool(said), False
        if (unit := fitting_unit(data)) != 1.0:
            data = data / np.float32(unit)
        spacing = voxel_sizes(canonical.affine).round(4)  # equal grids, equal samples
        if mask is not None:
            mask = laid_out(volumes.turn(mask, scan), "C")
            check_size(mask, data, spacing)
        elif said is not False:
            mask = stripped_brain(data, spacing, force=stripped)
            if stripped and mask is None:
                raise InputError(
                    "The image was said to be skull-stripped, but no background stands apart; "
                    "give the brain mask with --mask instead."
                )
            stripped = mask is not None
            if mask is not None:
                whole, mask = mask, without_faded_edge(data, mask)
                faded = mask is not whole
        _check_extent(data, mask, spacing)
        offset, lowest = 0.0, float(np.nanmin(data))
        if lowest < 0:
            offset = negative_floor(data if mask is None else data[mask])
        elif mask is None or lowest > 0:  # around a brain alone zeros are no gaps
            offset = raised_floor(data)
        if lowest < 0 or offset > 0:
            data = np.maximum(data, np.float32(offset)) - np.float32(offset)
        shown = spacing, mask, stripped, faded, unit, offset * unit
        return cls(data, canonical.affine, *shown)


def _check_extent(data: np.ndarray, mask: np.ndarray | None, spacing: np.ndarray) -> None:
    """Raise unless tissues can be told apart, and an atlas laid in, in so many voxels."""
    if mask is not None and np.count_nonzero(mask) < MIN_VOXELS:
        raise InputError(
            f"The brain mask has {np.count_nonzero(mask)} voxels; "
            f"at least {MIN_VOXELS} are needed to tell tissues apart."
        )
    if data.size < MIN_VOXELS:
        raise InputError(
            f"The image has {data.size} voxels; at least {MIN_VOXELS} of brain are needed."
        )
    if (longest := float((np.array(data.shape) * spacing).max())) > MOST_EXTENT_MM:
        raise InputError(
            f"The image is {longest / 1000:.3g} m long, more than a scanner shows (at most "
            f"{MOST_EXTENT_MM / 1000:g} m are allowed); check the voxel size in the header, which "
            f"is taken as mm."
        )
    extent = np.array(data.shape if mask is None else [c.stop - c.start for c in box_of(mask)])
    if (extent < 2).any() or (extent * spacing < MIN_EXTENT_MM).any():
        what = "image" if mask is None else "brain mask"
        size = " x ".join(f"{mm:.3g}" for mm in extent * spacing)
        raise InputError(
            f"The {what} is {size} mm large, too thin for the atlas to be laid into it; "
            f"at least two slices and {MIN_EXTENT_MM:g} mm along each side are needed."
        )
