"""Cortex, deep grey matter, brainstem and cerebellum of a segmented brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gmmseg import template
from gmmseg import volume as volumes
from gmmseg.checks import InputError
from gmmseg.labels import recode
from gmmseg.segmentation import freeze
from gmmseg.spatial.boxes import box_of
from gmmseg.spatial.regions import REGIONS

if TYPE_CHECKING:
    import nibabel as nib

    from gmmseg.tissues import BrainSegmentation
    from gmmseg.volume import Volume

NAMES = ("WM", "CSF", "CGM", *REGIONS)
"""Parts of the brain: white matter of the cerebrum, CSF, cortical and subcortical grey matter,
brainstem and cerebellum (grey and white matter of both)."""


@dataclass(frozen=True, slots=True, eq=False)
class BrainRegions:
    """Parts of one brain on the grid of the scan; the array is read-only."""

    labels: np.ndarray  # (X, Y, Z) uint8, 0 outside the brain and k + 1 for names[k]
    volume: Volume  # the scan
    names: tuple[str, ...] = NAMES

    def __post_init__(self) -> None:
        freeze(self, "labels", self.labels)

    def label_image(self) -> nib.Nifti1Image:
        """Labels as uint8 with BIDS's codes: WM 2, CSF 3, CGM 8, SGM 9, BS 10, CBM 11."""
        return volumes.to_image(recode(self.labels, self.names), self.volume, dtype=np.uint8)

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each part in mL, counted from labels."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names) + 1)[1:]
        return {n: float(c) * self.volume.voxel_ml for n, c in zip(self.names, counts, strict=True)}


def brain_regions(segmentation: BrainSegmentation) -> BrainRegions:
    """Tell the parts of the brain apart by where the deformed atlas has them.

    Tissue labels are kept: grey matter is cortex or deep grey matter, and what the atlas has in
    the brainstem or the cerebellum is that, be it grey or white. Intensities are not looked at
    again, so borders that no tissue shows (midbrain to thalamus, pons to cerebellum) are as good
    as the atlas's alignment.

    Parameters
    ----------
    segmentation : BrainSegmentation with classes GM, WM and CSF, made with the packaged atlas

    Returns
    -------
    BrainRegions

    Raises
    ------
    InputError
        If the segmentation has other classes, or does not say how it came from the atlas.
    """
    if segmentation.settings.atlas:
        raise InputError(
            "Regions are parts of the packaged atlas, and this segmentation was made with other "
            "maps; give maps named CGM, SGM, BS and CBM among them instead."
        )
    if segmentation.names != ("GM", "WM", "CSF") or segmentation.template_map is None:
        raise InputError(
            "Regions need a segmentation into GM, WM and CSF with the packaged atlas; this one has "
            f"{', '.join(segmentation.names)}."
        )
    labels = volumes.turn(segmentation.labels, segmentation.volume)
    box = box_of(labels > 0)
    inside = labels[box]
    maps, affine = template.region_maps()
    template.let_go()
    share = segmentation.template_map.sample(maps, affine, box)
    parts = np.zeros(labels.shape, np.uint8)
    parts[box] = _assigned(inside, share, segmentation.names)
    return BrainRegions(volumes.from_canonical(parts, segmentation.volume), segmentation.volume)


def _assigned(labels: np.ndarray, share: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Part of each voxel from its tissue and the share of each region there, as in NAMES."""
    code = {name: NAMES.index(name) + 1 for name in NAMES}
    tissue = {name: labels == names.index(name) + 1 for name in names}
    deep, stem, cerebellum = np.moveaxis(share, -1, 0)
    out = np.zeros(labels.shape, np.uint8)
    for name in ("WM", "CSF"):
        out[tissue[name]] = code[name]
    out[tissue["GM"]] = code["CGM"]
    out[tissue["GM"] & (deep > 0.5)] = code["SGM"]
    hind = (tissue["GM"] | tissue["WM"]) & (stem + cerebellum > 0.5)
    out[hind] = np.where(stem >= cerebellum, code["BS"], code["CBM"])[hind]
    return out
