"""Compiled pass of the local mixture: posteriors of all voxels and their moments by block."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _place(position: int, block: int, n_blocks: int) -> tuple[int, int, float]:
    """Blocks whose centres lie around a voxel, and the share of the upper one."""
    where = min(max((position + 0.5) / block - 0.5, 0.0), n_blocks - 1.0)
    low = min(int(where), max(n_blocks - 2, 0))
    return low, min(low + 1, n_blocks - 1), where - low


@njit(nogil=True, cache=True)
def local_pass(
    image: np.ndarray,
    inside: np.ndarray,
    blocks: np.ndarray,
    surfaces: np.ndarray,
    limit: float,
    odds: np.ndarray,
    moments: np.ndarray,
) -> float:
    """Log odds of the foreground and the moments of both classes.

    ``image`` (Z, Y, X) has a dark foreground; ``surfaces`` (6, z, y, x) hold, for each block,
    both means (foreground first), half the inverse variances, the log odds and the threshold,
    which is not used here. Fills ``odds`` (Z, Y, X) float32 with the log odds and ``moments``
    (6, z, y, x) with count, sum and sum of squares of the foreground, then of the background.
    Returns the log-likelihood of all voxels inside, in nats, up to a constant.
    """
    _, nz, ny, nx = surfaces.shape
    row = np.empty((5, nx))
    likelihood = 0.0
    for z in range(image.shape[0]):
        z0, z1, fz = _place(z, blocks[0], nz)
        bz = min(z // blocks[0], nz - 1)
        for y in range(image.shape[1]):
            y0, y1, fy = _place(y, blocks[1], ny)
            by = min(y // blocks[1], ny - 1)
            for s in range(5):
                for x in range(nx):
                    near = surfaces[s, z0, y0, x] * (1 - fy) + surfaces[s, z0, y1, x] * fy
                    far = surfaces[s, z1, y0, x] * (1 - fy) + surfaces[s, z1, y1, x] * fy
                    row[s, x] = near * (1 - fz) + far * fz
            for x in range(image.shape[2]):
                if not inside[z, y, x]:
                    odds[z, y, x] = -limit
                    continue
                x0, x1, fx = _place(x, blocks[2], nx)
                value = image[z, y, x]
                front = row[0, x0] * (1 - fx) + row[0, x1] * fx
                back = row[1, x0] * (1 - fx) + row[1, x1] * fx
                narrow = row[2, x0] * (1 - fx) + row[2, x1] * fx
                wide = row[3, x0] * (1 - fx) + row[3, x1] * fx
                prior = row[4, x0] * (1 - fx) + row[4, x1] * fx
                a, b = value - front, value - back
                log_odds = prior - narrow * a * a + wide * b * b
                # Shares of both classes, from the odds less what the variances add to them.
                part = 1.0 / (1.0 + np.exp(-prior) * np.sqrt(narrow / wide))
                density = part * np.sqrt(narrow) * np.exp(-narrow * a * a)
                density += (1 - part) * np.sqrt(wide) * np.exp(-wide * b * b)
                likelihood += np.log(density + 1e-12)  # an outlier counts no more than that
                # Beyond its mean a class keeps its side, however wide the other is.
                if b > 0:
                    log_odds = min(log_odds, -5.0)
                elif a < 0:
                    log_odds = max(log_odds, 5.0)
                log_odds = min(max(log_odds, -limit), limit)
                odds[z, y, x] = log_odds
                r = 1.0 / (1.0 + np.exp(-log_odds))
                bx = min(x // blocks[2], nx - 1)
                moments[0, bz, by, bx] += r
                moments[1, bz, by, bx] += r * value
                moments[2, bz, by, bx] += r * value * value
                moments[3, bz, by, bx] += 1.0 - r
                moments[4, bz, by, bx] += (1.0 - r) * value
                moments[5, bz, by, bx] += (1.0 - r) * value * value
    return likelihood
