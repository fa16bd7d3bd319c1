"""The packaged brain template: ICBM 2009a symmetric tissue maps, as nilearn ships them.

What makes the atlas is imported where it is made: the kept one is inflated meanwhile.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from gmmseg.kept import is_stored, kept
from gmmseg.labels import TISSUES

if TYPE_CHECKING:
    from gmmseg.spatial.atlas import TissueAtlas

_CODE = tuple(
    Path(__file__).parent / f"{name}.py"
    for name in (
        *("affines", "checks", "labels", "threads", "spatial/atlas", "spatial/blur"),
        *("spatial/boxes", "spatial/components", "spatial/headatlas", "spatial/regions"),
    )
)
"""All that the maps come through; a file that was made by other code is made anew."""

ATLAS, REGIONS = "icbm-head-atlas", "icbm-regions"  # names of files that keep them


@lru_cache(maxsize=1)
def icbm_head_atlas() -> TissueAtlas:
    """Head atlas over the packaged maps of grey matter, white matter and the brain.

    It is made in a second, once, and then kept; see :mod:`gmmseg.kept`.

    Returns
    -------
    TissueAtlas, 2 mm voxels, with the classes of :data:`gmmseg.spatial.atlas.CLASSES`

    References
    ----------
    Fonov et al. (2011), NeuroImage 54:313, doi 10.1016/j.neuroimage.2010.07.033.
    """
    sources = (Path(__file__), *_CODE, *(_path(name) for name in ("gm", "wm", "t1")))
    maps, affine, shares = kept(ATLAS, sources, _made)
    from gmmseg.spatial import atlas

    return atlas.TissueAtlas(maps, affine, atlas.CLASSES, atlas.LABELS, len(TISSUES), shares)


def let_go() -> None:
    """Forget the maps, 100 MB each, but for what no file keeps and would have to be made again."""
    for name, made in ((ATLAS, icbm_head_atlas), (REGIONS, region_maps)):
        if is_stored(name):
            made.cache_clear()


def _made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps of the classes, their affine, and the shares of their parts."""
    from gmmseg.spatial import headatlas, regions

    (grey, affine), (white, _), (t1, _) = (_load(name) for name in ("gm", "wm", "t1"))
    brain = (t1 > 0) | (grey > 127) | (white > 127)
    full = np.float32(1 / 255)
    with ThreadPoolExecutor(1) as pool:  # SciPy lets go of the interpreter lock
        solid = pool.submit(_closed, brain)
        grey, white = grey * full, white * full
        coarse, _ = headatlas.resampled(regions.part_shares(grey, white, affine), affine)
        head = headatlas.head_atlas(
            *regions.by_anatomy(grey, white, affine), solid.result(), affine
        )
    quantised = np.rint(255 * np.clip(np.stack(coarse, axis=-1), 0, 1)).astype(np.uint8)
    return head.maps, head.affine, quantised


def _closed(brain: np.ndarray) -> np.ndarray:
    """A mask without holes and without gaps of less than 6 voxels.

    Three steps over faces, as the packaged maps have been closed from the start; the ball of
    ``customatlas``, in mm, which maps of any voxel size need, gives .2 % of the voxels otherwise.
    """
    from scipy import ndimage

    from gmmseg.spatial.components import filled

    closed = ndimage.binary_closing(np.pad(brain, 4), iterations=3)[4:-4, 4:-4, 4:-4]
    return filled(closed)


@lru_cache(maxsize=1)
def region_maps() -> tuple[np.ndarray, np.ndarray]:
    """Where the packaged template has each of :data:`gmmseg.spatial.regions.REGIONS`.

    They are found in two seconds, once, and then kept, as the head atlas is.

    Returns
    -------
    maps : (X, Y, Z, 3) float32 ndarray, 0..1
    affine : (4, 4) ndarray, voxel index to template mm
    """
    sources = (Path(__file__), *_CODE, *(_path(name) for name in ("gm", "wm")))
    maps, affine = kept(REGIONS, sources, _found)
    return maps, affine


def _found() -> tuple[np.ndarray, np.ndarray]:
    """Maps of the regions, and their affine."""
    from gmmseg.spatial import regions

    (grey, affine), (white, _) = (_load(name) for name in ("gm", "wm"))
    full = np.float32(1 / 255)
    return regions.template_regions(grey * full, white * full, affine), affine


def _load(name: str) -> tuple[np.ndarray, np.ndarray]:
    image = nib.Nifti1Image.from_filename(str(_path(name)))
    return np.asarray(image.dataobj), image.affine


def _path(name: str) -> Path:
    data = files("nilearn") / "datasets" / "data"
    return Path(str(data / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"))
