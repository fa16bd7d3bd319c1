"""What a segmentation of the brain gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as _field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gmmseg import volume as volumes
from gmmseg.checks import InputError
from gmmseg.labels import recode
from gmmseg.segmentation import Segmentation, freeze
from gmmseg.spatial import interval
from gmmseg.spatial.boxes import box_of

if TYPE_CHECKING:
    import nibabel as nib

    from gmmseg.spatial.carry import TemplateMap
    from gmmseg.volume import Volume


class TissueVolume(NamedTuple):
    """Volume of one class in mL."""

    name: str
    from_labels: float  # every voxel counts for the class it is labelled as
    from_probabilities: float  # every voxel counts for each class by its posterior
    low: float = float("nan")  # 90 % interval around `from_labels`; NaN where it is not known
    high: float = float("nan")
    from_fractions: float | None = None  # every voxel counts by its shares; if they were asked for


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class BrainSegmentation(Segmentation):
    """Tissues of one brain on the grid of the scan; arrays are read-only.

    ``labels`` are 0 outside the brain and k + 1 for ``names[k]``, which with the default names
    are the codes of BIDS. ``posteriors`` sum to one in the brain and to zero outside.
    """

    mask: np.ndarray  # (X, Y, Z) bool, the brain
    corrected: np.ndarray  # (X, Y, Z) float32, bias-corrected scan, image units
    bias: np.ndarray  # (X, Y, Z) float32, geometric mean 1 in the brain; see `bias_image`
    potts_objective: np.ndarray  # (S,) float64, nats per voxel, of the neighbourhood model
    stages: Mapping[str, float]  # seconds each stage took
    volume: Volume  # the scan
    names: tuple[str, ...] = ("GM", "WM", "CSF")
    template_map: TemplateMap | None = None  # from canonical voxels to the atlas's space
    contacts: np.ndarray | None = None  # (K + 1, K + 1) voxels, see spatial.ambiguity.contacts
    figures: Mapping[str, float] = _field(default_factory=dict)  # of the fit, for the self-check
    fractions: np.ndarray | None = None  # (X, Y, Z, K) float32, share of the voxel; if asked for
    _volumes: list[TissueVolume] = _field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        Segmentation.__post_init__(self)  # `super()` does not work in a class with slots
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
            freeze(self, field, array)
        freeze(self, "potts_objective", np.asarray(self.potts_objective, dtype=np.float64))
        if self.contacts is not None:
            freeze(self, "contacts", self.contacts)

    def uncertainty_image(self) -> nib.Nifti1Image:
        """:meth:`entropy` as float32, nats."""
        return volumes.to_image(self.entropy(), self.volume, dtype=np.float32)

    def volumes_ml(self) -> tuple[TissueVolume, ...]:
        """Volume of each class in mL, in the order of ``names``, and last the brain's.

        Each with a 90 % interval; see :mod:`gmmseg.spatial.interval` for what it allows for.
        """
        if not self._volumes:  # tables, picture and checks all want them, from two threads
            self._volumes[:] = list(self._measured())  # at once: neither half a table nor two
        return tuple(self._volumes)

    def warned(self, warnings: tuple[str, ...]) -> BrainSegmentation:
        """The same with other warnings; what is known of its volumes stays."""
        same = replace(self, warnings=warnings)
        object.__setattr__(same, "_volumes", self._volumes)
        return same

    def _measured(self) -> Iterator[TissueVolume]:
        voxel = self.volume.voxel_ml
        box = box_of(self.mask)
        mask = self.mask[box]
        inside = self.labels[box][mask]

        def ml(counts: Sequence[float]) -> list[float]:
            """Of each class, and of all of them."""
            return [float(n) * voxel for n in (*counts, sum(counts))]

        def summed(images: np.ndarray) -> list[float]:
            """Over the brain, in mL; a class at a time, without a copy of what is in it."""
            each = np.moveaxis(images[box], -1, 0)
            return ml([one.sum(dtype=np.float64, where=mask) for one in each])

        labels = ml([int(np.count_nonzero(inside == k + 1)) for k in range(len(self.names))])
        names, probabilities = (*self.names, "brain"), summed(self.posteriors)
        shares = [None] * len(names) if self.fractions is None else summed(self.fractions)
        tissues, brain = self._deviations(inside, self.corrected[box][mask])
        halves = [interval.Z90 * float(d) * voxel for d in (*tissues, brain)]
        rows = zip(names, labels, probabilities, halves, shares, strict=True)
        for name, own, probable, half, share in rows:
            yield TissueVolume(name, own, probable, max(own - half, 0.0), own + half, share)

    def _deviations(self, inside: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
        """Standard deviations of the volumes in voxels, of the tissues and of the brain."""
        if self.contacts is None:
            return np.full(len(self.names), np.nan), float("nan")
        means = {k + 1: self.class_mean(name) for k, name in enumerate(self.names)}
        borders = interval.border_voxels(values, inside, means)
        fluid = self.names.index("CSF") + 1 if "CSF" in self.names else 0
        return interval.deviations(self.contacts, borders, fluid)

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
        """Multiplicative bias field as float32.

        The scan is ``offset + bias * (corrected - offset)``, where the offset, 0 but for scans with
        negative intensities, is in ``decisions["offset taken off"]``; what lies below it (padding,
        stray values) is raised to it first.
        """
        return volumes.to_image(self.bias, self.volume, dtype=np.float32)
