"""Error of tissue fractions: `gmmseg brain --pve` and peers' posteriors against true fractions.

    python benchmarks/pve.py [--cases NAME,NAME] [--atropos] [--floor]

The scans lie in $GMMSEG_BENCH; three heads are averaged from 1 to 2 mm, and their true labels with
them, which makes fractions. Root mean square over the voxels of the brain mask and the three
tissues, of estimated minus true fraction (0 to 1). scikit-learn's mixture of three Gaussians is
always fitted; `--atropos` adds Atropos and N4+Atropos (needs antspyx, minutes a scan). `--floor`
adds what supervision by the truth itself reaches: the best function of one voxel's intensity
after the true shading is taken out, and boosted trees that see 5x5x5 such voxels, trained on the
left half of the head and tested on the right.
"""

import argparse
import os
import tempfile
import time
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

import gmmseg
from gmmseg import volume
from gmmseg.settings import BrainSettings
from gmmseg.simulate import perturb

ROOT = Path(__file__).resolve().parent.parent
BENCH = Path(os.environ.get("GMMSEG_BENCH", ROOT.parent / "shared" / "bench"))
MADE = tempfile.TemporaryDirectory()  # the heads at 2 mm
TISSUES = ("csf", "gm", "wm")
HEADS = ("01", "09", "13")
CASES = {
    "mritc2mm": ("mritc2mm_t1", "mritc2mm_mask", "mritc2mm_{}"),
    "pn3_rf20": ("t1_pn3_rf20", "brainmask_1mm", "pv_{}"),
    "pn9_rf40": ("t1_pn9_rf40", "brainmask_1mm", "pv_{}"),
    **{f"head_{n}": (f"head_{n}_t1", f"head_{n}_mask", f"head_{n}_{{}}") for n in HEADS},
}


def path(name):
    return (Path(MADE.name) if name.startswith("head") else BENCH / "brainweb") / f"{name}.nii.gz"


def make_head(number):
    """Write a head of 2 mm, its mask and its fractions times 255 to files."""
    t1, tissue = (
        volume.to_canonical(volume.read(BENCH / "synthseg_sim" / f"{kind}_{number}.nii.gz"))
        for kind in ("t1", "tissue")
    )
    layers = [t1.data, *(tissue.data == code for code in range(1, len(TISSUES) + 1))]
    scans = [perturb.Scan.of(layer.astype(np.float32), t1.affine) for layer in layers]
    coarse, *shares = (perturb.coarse(scan, (2, 2, 2)) for scan in scans)
    brain = sum(share.data for share in shares)
    images = {"t1": coarse.data, "mask": (brain > 0.5).astype(np.uint8)}
    for name, share in zip(TISSUES, shares, strict=True):
        images[name] = 255 * share.data / np.maximum(brain, 1e-6)
    for name, data in images.items():
        nib.save(nib.Nifti1Image(data, coarse.affine), path(f"head_{number}_{name}"))


def load(name):
    return np.asarray(nib.load(path(name)).dataobj, dtype=np.float32)


def rmse(found, truth):
    """Over voxels and tissues, (N, 3) each."""
    return float(np.sqrt(np.mean((found - truth) ** 2)))


def show(case, what, error, seconds=None):
    took = "" if seconds is None else f"{seconds:8.1f} s"
    print(f"{case:10s} {what:44s} {error:.4f}{took}", flush=True)


def ours(case, scan, mask, truth):
    """Posteriors and fractions of one run, and what the fractions alone took."""
    result = gmmseg.segment_brain(path(scan), path(mask), BrainSettings(pve=True))
    inside = load(mask) > 0
    order = [result.names.index(name.upper()) for name in TISSUES]
    show(case, "gmmseg posteriors", rmse(result.posteriors[inside][:, order], truth))
    seconds = result.stages["mixed voxels"]
    show(case, "gmmseg --pve", rmse(result.fractions[inside][:, order], truth), seconds)


def sklearn(case, scan, mask, truth):
    from sklearn.mixture import GaussianMixture

    values = load(scan)[load(mask) > 0][:, None]
    start = time.perf_counter()
    model = GaussianMixture(3, random_state=0).fit(values)
    posterior = model.predict_proba(values)[:, np.argsort(model.means_[:, 0])]
    show(case, "scikit-learn mixture", rmse(posterior, truth), time.perf_counter() - start)


def atropos(case, scan, mask, truth):
    """K-means start, Potts field .1, with and without N4 before it."""
    import ants

    inside = load(mask) > 0
    image = ants.image_read(str(path(scan)))
    where = ants.from_numpy(inside.astype("float32"), image.origin, image.spacing, image.direction)
    for first in ("", "N4+"):
        start = time.perf_counter()
        if first:
            image = ants.n4_bias_field_correction(image, mask=where, shrink_factor=4)
        done = ants.atropos(a=image, x=where, i="kmeans[3]", m="[0.1,1x1x1]", c="[5,0]")
        maps = np.stack([p.numpy()[inside] for p in done["probabilityimages"]], axis=-1)
        level = (image.numpy()[inside] @ maps) / maps.sum(0)
        error = rmse(maps[:, np.argsort(level)], truth)
        show(case, f"{first}Atropos", error, time.perf_counter() - start)


def floor(case, scan, mask, truth):
    """Supervised by the truth: not a method, a bound on what methods may hope for."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    inside = load(mask) > 0
    spacing = nib.load(path(scan)).header.get_zooms()[0]
    values = np.where(inside, load(scan), 0)
    means = np.linalg.lstsq(truth, values[inside], rcond=None)[0]
    corrected = values
    for _ in range(3):  # shading: smoothed ratio of the scan to the noise-free one
        ideal = np.zeros_like(values)
        ideal[inside] = truth @ means
        smooth = [ndimage.gaussian_filter(x * ideal, 15 / spacing) for x in (values, ideal)]
        corrected = np.where(inside, values * smooth[1] / np.maximum(smooth[0], 1e-6), 0)
        means = np.linalg.lstsq(truth, corrected[inside], rcond=None)[0]
    level = np.digitize(
        corrected[inside], np.linspace(*np.percentile(corrected[inside], [0, 100]), 400)
    )
    count = np.maximum(np.bincount(level), 1)
    best = np.stack([np.bincount(level, t) / count for t in truth.T], axis=-1)[level]
    show(case, "floor: best function of one intensity", rmse(best, truth))

    index, rng = np.argwhere(inside), np.random.default_rng(0)
    side = index[:, 0] - inside.shape[0] // 2
    cloud = np.pad(corrected, 2)
    shifts = list(product(range(5), repeat=3))
    draw = [
        rng.permutation(np.flatnonzero(s))[:n] for s, n in ((side < -3, 10**5), (side > 3, 30000))
    ]
    train, test = (
        np.stack([cloud[tuple((index[rows] + shift).T)] for shift in shifts], axis=-1)
        for rows in draw
    )
    squares = 0.0
    for tissue in truth.T:
        trees = HistGradientBoostingRegressor(
            max_iter=400, learning_rate=0.08, max_leaf_nodes=48, early_stopping=True, random_state=0
        )
        found = trees.fit(train, tissue[draw[0]]).predict(test)
        squares += np.mean((np.clip(found, 0, 1) - tissue[draw[1]]) ** 2) / 3
    show(case, "floor: boosted trees on 5x5x5, true labels", float(np.sqrt(squares)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--atropos", action="store_true")
    parser.add_argument("--floor", action="store_true")
    chosen = parser.parse_args()
    for case in chosen.cases.split(","):
        scan, mask, fraction = CASES[case]
        if case.startswith("head"):
            make_head(case.removeprefix("head_"))
        inside = load(mask) > 0
        truth = np.stack([load(fraction.format(t))[inside] for t in TISSUES], axis=-1) / 255
        methods = [ours, sklearn, *([atropos] if chosen.atropos else [])]
        for method in [*methods, *([floor] if chosen.floor else [])]:
            method(case, scan, mask, truth)


if __name__ == "__main__":
    main()
