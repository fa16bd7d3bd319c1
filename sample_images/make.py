"""Make the sample scan and its truth: ``python sample_images/make.py [FOLDER]``.

The same seed gives the same files. The brain is drawn from the ICBM 2009a tissue maps
that nilearn ships; see README.md in this folder for where they come from.
"""

import gzip
import sys
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmmseg.simulate import HeadSettings, Phantom, simulate_head

SEED = 20262
SHAPE = (90, 113, 98)
VOXEL = 2.0  # mm
ORIGIN = (-89.0, -124.0, -100.0)  # world coordinates of the centre of voxel 0, 0, 0
# Pose and size of the sample person against the maps: a nod of 6 degrees, a turn of 3,
# a head 4 % smaller than the average one, a little off the centre of the scanner.
NOD, TURN, SCALE, SHIFT = np.deg2rad(6.0), np.deg2rad(3.0), 1.04, (2.0, -8.0, 3.0)
NAMES = ((1, "GM", "#ff53bb"), (2, "WM", "#2f8bbe"), (3, "CSF", "#6abf4b"))


def tissue_maps() -> tuple[np.ndarray, np.ndarray]:
    """(I, J, K, 3) probabilities of GM, WM, CSF, and the affine of their grid."""
    folder = files("nilearn.datasets") / "data"
    maps = {}
    for name in ("gm", "wm", "t1"):
        source = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        image = nib.load(str(source))
        maps[name] = np.asarray(image.dataobj, dtype=np.float32)
    brain = ndimage.binary_fill_holes(maps["t1"] > 0)
    grey, white = maps["gm"] / 255, maps["wm"] / 255
    fluid = np.clip(brain - grey - white, 0, 1)
    return np.stack([grey, white, fluid], axis=-1), image.affine


def pose() -> np.ndarray:
    """Affine from the sample person's world coordinates to those of the maps."""
    nod = [[1, 0, 0], [0, np.cos(NOD), -np.sin(NOD)], [0, np.sin(NOD), np.cos(NOD)]]
    turn = [[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = SCALE * np.array(turn) @ np.array(nod)
    affine[:3, 3] = SHIFT
    return affine


def grid() -> np.ndarray:
    """Affine of the sample scan: RAS+, voxels of 2 mm."""
    affine = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
    affine[:3, 3] = ORIGIN
    return affine


def sample_head() -> Phantom:
    """Simulate the sample scan."""
    maps, maps_affine = tissue_maps()
    settings = HeadSettings(affine=pose(), noise=3.0, bias=20.0)
    return simulate_head(maps, maps_affine, SHAPE, grid(), np.random.default_rng(SEED), settings)


def save(data: np.ndarray, path: Path) -> None:
    """Write NIfTI in mm and scanner space, packed tightly and without a time stamp."""
    image = nib.Nifti1Image(data, grid())
    image.set_sform(grid(), code=1)
    image.set_qform(grid(), code=1)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = sample_head()
    save(np.round(head.image).astype(np.int16), folder / "sub-sim_T1w.nii.gz")
    save(head.labels, folder / "sub-sim_dseg.nii.gz")
    rows = ["index\tname\tcolor", *(f"{code}\t{name}\t{color}" for code, name, color in NAMES)]
    (folder / "sub-sim_dseg.tsv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
