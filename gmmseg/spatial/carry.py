"""The way from a scan to the template, and maps of template space brought along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from gmmseg.spatial.boxes import Box
from gmmseg.spatial.lattice import Lattice
from gmmseg.spatial.sampling import displaced_row, moved_point, read_maps
from gmmseg.spatial.unified import UnifiedFit
from gmmseg.threads import spread


@dataclass(frozen=True, slots=True, eq=False)
class TemplateMap:
    """Where each voxel of a scan lies in the template: an affine map and a displacement.

    Attributes
    ----------
    first, step : (3,) ndarrays
        Voxel index of the scan (in RAS+ order) divided by ``step``, less ``first``, is the index
        in the lattice.
    to_template : (4, 4) float64 ndarray, lattice index to template mm
    displacement : (n_0, n_1, n_2, 3) float32 ndarray
        Template mm, added after ``to_template``; interpolated linearly between lattice points and
        held constant beyond them.
    """

    first: np.ndarray
    step: np.ndarray
    to_template: np.ndarray
    displacement: np.ndarray

    @classmethod
    def of(cls, fit: UnifiedFit, lattice: Lattice) -> TemplateMap:
        """The map that a joint fit on a lattice found."""
        return cls(lattice.first, lattice.step, lattice.to_template, fit.displacement)

    def way_to(self, affine: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How kernels get from a voxel of ``box`` to where it lies in maps of template space.

        Parameters
        ----------
        affine : (4, 4) ndarray, voxel index of the maps to template mm
        box : three slices of the scan, in RAS+ order

        Returns
        -------
        first : (6,) float64 ndarray, lattice index of the first voxel of the box, and of one step
        to_map : (4, 4) float64 ndarray, lattice index to voxel of the maps
        displacement : (n_0, n_1, n_2, 3) float32 ndarray, voxels of the maps; see
            :func:`gmmseg.spatial.sampling.displaced_row`
        """
        to_voxel = np.linalg.inv(affine)
        start = np.array([side.start for side in box]) / self.step - self.first
        displacement = self.displacement @ to_voxel[:3, :3].T.astype(np.float32)
        return np.concatenate([start, 1 / self.step]), to_voxel @ self.to_template, displacement

    def sample(self, maps: np.ndarray, affine: np.ndarray, box: Box) -> np.ndarray:
        """Bring maps of template space to the voxels of a scan.

        Parameters
        ----------
        maps : (X, Y, Z, K) ndarray
            Interpolated linearly, held to their border.
        affine : (4, 4) ndarray, voxel index of the maps to template mm
        box : three slices of the scan, in RAS+ order

        Returns
        -------
        (x, y, z, K) float32 ndarray, on the voxels of ``box``
        """
        shape = tuple(side.stop - side.start for side in box)
        out = np.empty((*shape, maps.shape[-1]), np.float32)
        spread(
            _sample,
            len(out),
            np.ascontiguousarray(maps, np.float32),
            *self.way_to(affine, box),
            out,
        )
        return out

    def points(self, index: np.ndarray) -> np.ndarray:
        """Template coordinates of voxels.

        Parameters
        ----------
        index : (N, 3) ndarray, voxel indices of the scan in RAS+ order, whole or not

        Returns
        -------
        (N, 3) float64 ndarray, template mm
        """
        from scipy.ndimage import map_coordinates

        at = np.asarray(index, np.float64) / self.step - self.first
        moved = [
            map_coordinates(self.displacement[..., axis], at.T, order=1, mode="nearest")
            for axis in range(3)
        ]
        flat = at @ self.to_template[:3, :3].T + self.to_template[:3, 3]
        return np.asarray(flat + np.column_stack(moved), np.float64)


@njit(cache=True, nogil=True)
def _sample(
    start: int,
    stop: int,
    maps: np.ndarray,
    first: np.ndarray,
    to_map: np.ndarray,
    displacement: np.ndarray,
    out: np.ndarray,
) -> None:
    _, ny, nz, _ = out.shape
    row = np.empty((displacement.shape[2], 3))
    for i in range(start, stop):
        x = first[0] + i * first[3]
        for j in range(ny):
            y = first[1] + j * first[4]
            displaced_row(displacement, x, y, row)
            for k in range(nz):
                px, py, pz = moved_point(to_map, row, x, y, first[2] + k * first[5])
                read_maps(maps, px, py, pz, out[i, j, k])
