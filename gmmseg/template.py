"""The packaged brain template: ICBM 2009a symmetric tissue maps, as nilearn ships them."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.resources import files

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmmseg.spatial.atlas import TissueAtlas, head_atlas
from gmmseg.spatial.foreground import filled
from gmmseg.spatial.regions import by_anatomy, template_regions


@lru_cache(maxsize=1)
def icbm_head_atlas() -> TissueAtlas:
    """Head atlas over the packaged maps of grey matter, white matter and the brain.

    Returns
    -------
    TissueAtlas, 2 mm voxels, with the classes of :data:`gmmseg.spatial.atlas.CLASSES`

    References
    ----------
    Fonov et al. (2011), NeuroImage 54:313, doi 10.1016/j.neuroimage.2010.07.033.
    """
    (grey, affine), (white, _), (t1, _) = (_load(name) for name in ("gm", "wm", "t1"))
    brain = (t1 > 0) | (grey > 127) | (white > 127)
    full = np.float32(1 / 255)
    with ThreadPoolExecutor(1) as pool:  # SciPy lets go of the interpreter lock
        solid = pool.submit(_closed, brain)
        grey, white = by_anatomy(grey * full, white * full, affine)
        return head_atlas(grey, white, solid.result(), affine)


def _closed(brain: np.ndarray) -> np.ndarray:
    """A mask without holes and without gaps of less than 6 voxels."""
    return filled(ndimage.binary_closing(np.pad(brain, 4), iterations=3)[4:-4, 4:-4, 4:-4])


@lru_cache(maxsize=1)
def region_maps() -> tuple[np.ndarray, np.ndarray]:
    """Where the packaged template has each of :data:`gmmseg.spatial.regions.REGIONS`.

    Returns
    -------
    maps : (X, Y, Z, 3) float32 ndarray, 0..1
    affine : (4, 4) ndarray, voxel index to template mm
    """
    (grey, affine), (white, _) = (_load(name) for name in ("gm", "wm"))
    full = np.float32(1 / 255)
    return template_regions(grey * full, white * full, affine), affine


def _load(name: str) -> tuple[np.ndarray, np.ndarray]:
    resource = files("nilearn") / "datasets" / "data"
    path = resource / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    image = nib.Nifti1Image.from_filename(str(path))
    return np.asarray(image.dataobj), image.affine
