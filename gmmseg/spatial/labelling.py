"""From a joint fit on the coarse lattice to class evidence at every voxel, and to a clean brain."""

import numpy as np
from numba import njit, prange
from scipy import ndimage

from gmmseg.spatial.atlas import corner, sample_prior
from gmmseg.spatial.foreground import largest_component


def tissue_region(fit, lattice, atlas, threshold=0.01):
    """Lattice points where the deformed prior of any tissue reaches ``threshold``, and one around.

    Returns
    -------
    (n_0, n_1, n_2) bool ndarray
    """
    shape = lattice.values.shape
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = index @ lattice.to_template[:3, :3].T + lattice.to_template[:3, 3]
    points += fit.displacement.reshape(-1, 3)
    to_voxel = np.linalg.inv(atlas.affine)
    points = np.ascontiguousarray(points @ to_voxel[:3, :3].T + to_voxel[:3, 3])
    prior = np.empty((len(points), len(atlas.names)), np.float32)
    sample_prior(atlas.maps, points, prior)
    inside = prior[:, : atlas.n_inside].sum(1) > threshold
    return ndimage.binary_dilation(inside.reshape(shape))


@njit(cache=True, parallel=True)
def _log_joint(
    values, first, to_atlas, displacement, maps, class_weights, low, width, density, labels, out
):
    nx, ny, nz = values.shape
    n_classes, n_labels, n_bins = maps.shape[3], out.shape[3], density.shape[0]
    ux, uy, uz = displacement.shape[:3]
    for i in prange(nx):
        prior = np.empty(n_classes)
        for j in range(ny):
            for k in range(nz):
                x, y, z = first[0] + i * first[3], first[1] + j * first[4], first[2] + k * first[5]
                a, fa = corner(x, ux)
                b, fb = corner(y, uy)
                c, fc = corner(z, uz)
                px = to_atlas[0, 0] * x + to_atlas[0, 1] * y + to_atlas[0, 2] * z + to_atlas[0, 3]
                py = to_atlas[1, 0] * x + to_atlas[1, 1] * y + to_atlas[1, 2] * z + to_atlas[1, 3]
                pz = to_atlas[2, 0] * x + to_atlas[2, 1] * y + to_atlas[2, 2] * z + to_atlas[2, 3]
                for da in range(2):
                    for db in range(2):
                        for dc in range(2):
                            w = (fa if da else 1 - fa) * (fb if db else 1 - fb)
                            w *= fc if dc else 1 - fc
                            px += w * displacement[a + da, b + db, c + dc, 0]
                            py += w * displacement[a + da, b + db, c + dc, 1]
                            pz += w * displacement[a + da, b + db, c + dc, 2]
                a, fa = corner(px, maps.shape[0])
                b, fb = corner(py, maps.shape[1])
                c, fc = corner(pz, maps.shape[2])
                for m in range(n_classes):
                    prior[m] = 0.0
                for da in range(2):
                    for db in range(2):
                        for dc in range(2):
                            w = (fa if da else 1 - fa) * (fb if db else 1 - fb)
                            w *= fc if dc else 1 - fc
                            for m in range(n_classes):
                                prior[m] += w * maps[a + da, b + db, c + dc, m]
                total = 0.0
                for m in range(n_classes):
                    prior[m] *= class_weights[m]
                    total += prior[m]
                # A missing voxel says nothing: its density is one for every class.
                known = not np.isnan(values[i, j, k])
                t = 0.0
                if known:
                    t = min(max((values[i, j, k] - low) / width, 0.0), n_bins - 1.001)
                b0 = int(t)
                f = t - b0
                for m in range(n_labels):
                    out[i, j, k, m] = 1e-30
                for m in range(n_classes):
                    p = prior[m] / total
                    if known:
                        p *= (1 - f) * density[b0, m] + f * density[b0 + 1, m]
                    out[i, j, k, labels[m]] += p
                for m in range(n_labels):
                    out[i, j, k, m] = np.log(out[i, j, k, m])


def class_log_joint(values, first, step, lattice, fit, atlas):
    """Log of prior times likelihood of each tissue, and of everything else, at every voxel.

    Parameters
    ----------
    values : (X, Y, Z) float32 ndarray, bias-corrected intensities of a box of voxels; NaN = missing
    first, step : (3,) lattice index of the box's first voxel, and from one voxel to the next
    lattice, fit, atlas : Lattice, UnifiedFit and TissueAtlas of the joint fit

    Returns
    -------
    (X, Y, Z, T + 1) float32 ndarray, nats; the last class is all that lies outside the brain
    """
    to_voxel = np.linalg.inv(atlas.affine)
    displacement = fit.displacement @ to_voxel[:3, :3].T.astype(np.float32)
    out = np.empty((*values.shape, atlas.n_tissues + 1), np.float32)
    _log_joint(
        values, np.concatenate([first, step]).astype(np.float64), to_voxel @ lattice.to_template,
        displacement, atlas.maps, fit.class_weights, fit.table.low, fit.table.width,
        fit.table.density, np.array(atlas.labels), out,
    )  # fmt: skip
    return out


def clean_brain(outside, spacing):
    """One solid brain from the probability of lying outside it.

    Islands and what hangs on by a thread (eyes, dura, marrow) go; enclosed holes are filled.

    Parameters
    ----------
    outside : (X, Y, Z) float32 ndarray, probability of lying outside the brain
    spacing : (3,) mm

    Returns
    -------
    (X, Y, Z) bool ndarray
    """
    brain = outside < 0.5
    radius = np.maximum(1, np.rint(NECK_MM / np.asarray(spacing)))
    ball = sum((g / r) ** 2 for g, r in zip(_offsets(radius), radius, strict=True)) <= 1.0
    core = largest_component(ndimage.binary_erosion(brain, ball))
    grown = ndimage.binary_dilation(core, ball) if core.any() else brain
    near = ndimage.binary_dilation(grown, iterations=2)
    return ndimage.binary_fill_holes(largest_component(brain & near))


NECK_MM = 1.5


def _offsets(radius):
    return np.ogrid[tuple(slice(-r, r + 1) for r in radius.astype(int))]
