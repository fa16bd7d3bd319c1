"""What a segmentation of the brain gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gmmseg import contrast
from gmmseg import volume as volumes
from gmmseg.checks import InputError
from gmmseg.labels import recode

if TYPE_CHECKING:
    import nibabel as nib

    from gmmseg.mixture.model import Mixture
    from gmmseg.spatial.carry import TemplateMap
    from gmmseg.volume import Volume


PLAUSIBLE_ML = (700, 2300)
"""Brain and CSF inside the skull, from a newborn's first months to the largest of adults."""


class TissueVolume(NamedTuple):
    """Volume of one class in mL."""

    name: str
    from_labels: float  # every voxel counts for the class it is labelled as
    from_probabilities: float  # every voxel counts for each class by its posterior


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Tissues of one brain on the grid of the scan; arrays are read-only.

    ``labels`` are 0 outside the brain and k + 1 for ``names[k]``, which with the default names
    are the codes of BIDS. ``posteriors`` sum to one in the brain and to zero outside.
    """

    labels: np.ndarray  # (X, Y, Z) uint8
    posteriors: np.ndarray  # (X, Y, Z, K) float32
    mask: np.ndarray  # (X, Y, Z) bool, the brain
    corrected: np.ndarray  # (X, Y, Z) float32, bias-corrected scan, image units
    bias: np.ndarray  # (X, Y, Z) float32, scan / corrected; geometric mean 1 in the brain
    mixture: Mixture  # Gaussians of the corrected intensities, one channel
    component_names: tuple[str, ...]  # class of each component of `mixture`
    objective: np.ndarray  # (T,) float64, nats per voxel, of the joint fit
    potts_objective: np.ndarray  # (S,) float64, nats per voxel, of the neighbourhood model
    stages: Mapping[str, float]  # seconds each stage took
    decisions: Mapping[str, object]  # what automatic settings came to
    volume: Volume  # the scan
    settings: Any  # frozen dataclass the workflow was given
    warnings: tuple[str, ...] = ()
    names: tuple[str, ...] = ("GM", "WM", "CSF")
    template_map: TemplateMap | None = None  # from canonical voxels to the atlas's space
    fractions: np.ndarray | None = None  # (X, Y, Z, K) float32, share of the voxel; if asked for

    def __post_init__(self) -> None:
        grid = self.volume.shape
        shapes = {
            **dict.fromkeys(("labels", "mask", "corrected", "bias"), grid),
            "posteriors": (*grid, len(self.names)),
        }
        if self.fractions is not None:
            shapes["fractions"] = shapes["posteriors"]
        for field, shape in shapes.items():
            array = getattr(self, field)
            if array.shape != shape:
                raise InputError(f"{field} must have shape {shape}; got {array.shape}.")
            _freeze(self, field, array)
        for field in ("objective", "potts_objective"):
            _freeze(self, field, np.asarray(getattr(self, field), dtype=np.float64))

    def volumes_ml(self) -> tuple[TissueVolume, ...]:
        """Volume of each class in mL, in the order of ``names``, and last the brain's."""
        voxel = self.volume.voxel_ml
        inside = self.labels[self.mask]
        counts = [np.count_nonzero(inside == k + 1) for k in range(len(self.names))]
        sums = self.posteriors[self.mask].sum(axis=0, dtype=np.float64)
        rows = [
            TissueVolume(name, float(count) * voxel, float(total) * voxel)
            for name, count, total in zip(self.names, counts, sums, strict=True)
        ]
        brain = TissueVolume(
            "brain", float(sum(counts)) * voxel, sum(row.from_probabilities for row in rows)
        )
        return (*rows, brain)

    def label_image(self, scheme: str = "bids") -> nib.Nifti1Image:
        """Labels as uint8 in a convention of :data:`gmmseg.labels.SCHEMES`."""
        coded = recode(self.labels, self.names, scheme)
        return volumes.to_image(coded, self.volume, dtype=np.uint8)

    def probability_image(self, name: str) -> nib.Nifti1Image:
        """Posterior of one class as float32, 0 to 1."""
        if name not in self.names:
            raise InputError(f"No class {name!r}; there are {', '.join(self.names)}.")
        posterior = self.posteriors[..., self.names.index(name)]
        return volumes.to_image(posterior, self.volume, dtype=np.float32)

    def fraction_image(self, name: str) -> nib.Nifti1Image:
        """Share of each voxel that is one tissue as float32, 0 to 1; needs ``pve=True``."""
        if self.fractions is None:
            raise InputError("There are no fractions; segment with BrainSettings(pve=True).")
        if name not in self.names:
            raise InputError(f"No class {name!r}; there are {', '.join(self.names)}.")
        share = self.fractions[..., self.names.index(name)]
        return volumes.to_image(share, self.volume, dtype=np.float32)

    def mask_image(self) -> nib.Nifti1Image:
        """Brain mask as uint8, 0 or 1."""
        return volumes.to_image(self.mask, self.volume, dtype=np.uint8)

    def corrected_image(self) -> nib.Nifti1Image:
        """Bias-corrected scan as float32, image units."""
        return volumes.to_image(self.corrected, self.volume, dtype=np.float32)

    def bias_image(self) -> nib.Nifti1Image:
        """Multiplicative bias field as float32."""
        return volumes.to_image(self.bias, self.volume, dtype=np.float32)


def doubts(segmentation: Segmentation) -> tuple[str, ...]:
    """What speaks against this being a brain in a scan of its contrast, a sentence each."""
    means, spreads = class_statistics(segmentation)
    # Other workflows decide on no contrast: theirs is that of T1.
    decided = segmentation.decisions.get("contrast", "t1")
    found = list(contrast.doubts(None if decided is None else str(decided), means, spreads))
    brain = segmentation.volumes_ml()[-1].from_labels
    low, high = PLAUSIBLE_ML
    if not low <= brain <= high:
        found.append(
            f"The brain with its CSF is {brain:.0f} mL large; {low} to {high} mL are plausible "
            f"for a whole one. Check the picture."
        )
    return tuple(found)


def class_statistics(segmentation: Segmentation) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of CSF, GM and WM, those that there are; image units."""
    names = [str(name) for name in ("CSF", "GM", "WM") if name in segmentation.names]
    means = {name: _class_mean(segmentation, name) for name in names}
    return means, {name: _class_spread(segmentation, name) for name in names}


def _class_mean(segmentation: Segmentation, name: str) -> float:
    """Mean intensity of a class, over its Gaussians; NaN if it has none."""
    mixture = segmentation.mixture
    own = [k for k, owner in enumerate(segmentation.component_names) if owner == name]
    weights = mixture.weights[own]
    return float(weights @ mixture.means[own, 0] / weights.sum()) if own else float("nan")


def _class_spread(segmentation: Segmentation, name: str) -> float:
    """Largest standard deviation of a class's Gaussians; 0 if it has none."""
    owners = segmentation.component_names
    own = [k for k, owner in enumerate(owners) if owner == name]
    variances = segmentation.mixture.covariances[own, 0, 0]
    return float(np.sqrt(variances.max(initial=0.0)))


def _freeze(owner: object, field: str, array: np.ndarray) -> None:
    view = array.view()
    view.flags.writeable = False
    object.__setattr__(owner, field, view)
