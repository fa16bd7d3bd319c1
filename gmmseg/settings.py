"""What can be set for a segmentation of the brain, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass

from gmmseg import contrast
from gmmseg.checks import InputError


@dataclass(frozen=True, slots=True)
class BrainSettings:
    """What can be set for :func:`gmmseg.segment_brain`.

    Attributes
    ----------
    mrf : float or "auto"
        Potts coupling, nats per neighbour; 0 turns the neighbourhood off, ``auto`` goes by the
        noise (:mod:`gmmseg.spatial.coupling`).
    bias_fwhm : float
        Shortest wavelength of the bias field, mm.
    bias : {"auto", "on", "off"}
        Estimate a bias field; ``auto`` keeps it where grey and white matter share the shading.
    deformation : bool
        Let the atlas deform.
    contrast : str
        "t1", "t2", "pd", or "auto" to tell by the class means; only doubts depend on it.
    stripped : bool, optional
        The scan shows the brain alone; None recognises it.
    pve : bool
        Also estimate how much of each voxel is which tissue.
    threads : int, optional
        Of the compiled kernels; None takes all there are.
    atlas, atlas_names : tuple of str
        Tissue maps to use in place of the packaged ones, and their names; see
        :func:`gmmseg.atlasfiles.find_maps`.
    """

    mrf: float | str = "auto"
    bias_fwhm: float = 60.0
    bias: str = "auto"
    deformation: bool = True
    contrast: str = "t1"
    stripped: bool | None = None
    pve: bool = False
    threads: int | None = None
    atlas: tuple[str, ...] = ()
    atlas_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        contrast.check(self.contrast)
        if self.mrf != "auto" and not (isinstance(self.mrf, int | float) and 0 <= self.mrf <= 10):
            raise InputError(f"mrf must be auto or lie between 0 and 10; got {self.mrf!r}.")
        if self.bias not in ("auto", "on", "off"):
            raise InputError(f"bias must be auto, on or off; got {self.bias!r}.")
        if not 20 <= self.bias_fwhm <= 1000:
            raise InputError(f"bias_fwhm must lie between 20 and 1000 mm; got {self.bias_fwhm:g}.")
