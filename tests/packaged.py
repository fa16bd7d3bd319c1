"""The packaged template's maps as a user would give them: arrays, and files in a folder."""

from importlib.resources import files

import nibabel as nib
import numpy as np
from scipy import ndimage


def tissue_maps(step=1):
    """GM, WM and CSF probabilities of every ``step``-th voxel, and their affine."""
    folder = files("nilearn") / "datasets" / "data"
    maps = {}
    for name in ("gm", "wm", "t1"):
        image = nib.load(str(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"))
        maps[name] = np.asarray(image.dataobj, np.float32)
    brain = (maps["t1"] > 0) | (maps["gm"] > 127) | (maps["wm"] > 127)
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(brain, iterations=3))
    grey, white = maps["gm"] / 255, maps["wm"] / 255
    out = {"GM": grey, "WM": white, "CSF": np.clip(brain - grey - white, 0, 1)}
    thin = slice(None, None, step)
    return (
        {name: m[thin, thin, thin] for name, m in out.items()},
        image.affine @ np.diag([step, step, step, 1.0]),
    )


def write(folder, maps, affine, axes="RAS", scale=1.0, dtype=np.float32, ending="probseg"):
    """One file for each map under a BIDS name; returns their paths as text, in order."""
    paths = []
    for name, values in maps.items():
        stored = np.rint(values * scale) if np.dtype(dtype).kind in "iu" else values * scale
        image = nib.Nifti1Image(stored.astype(dtype), affine)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
        )
        path = folder / f"tpl-X_res-01_label-{name}_{ending}.nii.gz"
        nib.save(image.as_reoriented(turn), path)
        paths.append(str(path))
    return paths
