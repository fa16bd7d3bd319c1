"""Potts field over the voxel grid by mean field, updated in two colours.

Voxels of one colour of the checkerboard have no neighbours among themselves (6 neighbours), so an
update of a whole colour is exact coordinate ascent and never lowers the bound.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from gmmseg.threads import spread


def neighbour_weights(spacing: Sequence[float] | np.ndarray) -> np.ndarray:
    """Coupling along each axis, inverse to distance, so that the six neighbours sum to six.

    ``spacing`` (3,) is the voxel size in mm; returns (3,) float64, no unit.
    """
    inverse = 1.0 / np.asarray(spacing, np.float64)
    return 3.0 * inverse / inverse.sum()


SETTLED, WAITING, DUE = 0, 1, 2
"""State of a voxel: whatever its neighbours become, it stays; none of them has changed since its
last update; one has."""
STILL = 1e-3
"""A change of probability that neighbours need not hear of, a tenth of what ends the sweeps."""


@njit(cache=True, nogil=True)
def _unary(first: int, stop: int, log_joint: np.ndarray, q: np.ndarray) -> None:
    """Posterior of each voxel by itself; what is sure to lie outside is alike from end to end."""
    _, ny, nz, n_classes = q.shape
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                alike = k > 0
                for c in range(n_classes):
                    alike = alike and log_joint[i, j, k, c] == log_joint[i, j, k - 1, c]
                if alike:
                    for c in range(n_classes):
                        q[i, j, k, c] = q[i, j, k - 1, c]
                    continue
                top = log_joint[i, j, k, 0]
                for c in range(1, n_classes):
                    top = max(top, log_joint[i, j, k, c])
                total = np.float32(0.0)
                for c in range(n_classes):
                    q[i, j, k, c] = np.exp(log_joint[i, j, k, c] - top)
                    total += q[i, j, k, c]
                for c in range(n_classes):
                    q[i, j, k, c] /= total


@njit(cache=True, nogil=True)
def _unsettled(
    first: int, stop: int, q: np.ndarray, active: np.ndarray, sure: float, state: np.ndarray
) -> None:
    """Active voxels are due unless all classes but one have below ``sure`` together."""
    _, ny, nz, n_classes = q.shape
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                best = 0
                for c in range(1, n_classes):
                    if q[i, j, k, c] > q[i, j, k, best]:
                        best = c
                rest = 0.0  # one less the largest would be 0 from 6e-8 on
                for c in range(n_classes):
                    if c != best:
                        rest += q[i, j, k, c]
                state[i, j, k] = DUE if active[i, j, k] and rest >= sure else SETTLED


@njit(cache=True, nogil=True)
def _pull(
    q: np.ndarray,
    i: int,
    j: int,
    k: int,
    wx: np.float32,
    wy: np.float32,
    wz: np.float32,
    field: np.ndarray,
) -> None:
    """Add what its neighbours say of a voxel to the log probabilities ``field`` (K,) of it."""
    nx, ny, nz, n_classes = q.shape
    none = np.float32(0.0)  # of a neighbour beyond the border, in whose place the voxel itself is
    left, right = (wx if i > 0 else none), (wx if i < nx - 1 else none)
    back, front = (wy if j > 0 else none), (wy if j < ny - 1 else none)
    down, up = (wz if k > 0 else none), (wz if k < nz - 1 else none)
    i0, j0, k0 = max(i - 1, 0), max(j - 1, 0), max(k - 1, 0)
    i1, j1, k1 = min(i + 1, nx - 1), min(j + 1, ny - 1), min(k + 1, nz - 1)
    for c in range(n_classes):  # at once: no class waits for the one before
        field[c] = (
            field[c]
            + left * q[i0, j, k, c]
            + right * q[i1, j, k, c]
            + back * q[i, j0, k, c]
            + front * q[i, j1, k, c]
            + down * q[i, j, k0, c]
            + up * q[i, j, k1, c]
        )


@njit(cache=True, nogil=True)
def _tell(state: np.ndarray, i: int, j: int, k: int) -> None:
    """The neighbours of a voxel are due. Several threads may say so of one of them."""
    nx, ny, nz = state.shape
    for step in (-1, 1):
        if 0 <= i + step < nx and state[i + step, j, k] == WAITING:
            state[i + step, j, k] = DUE
        if 0 <= j + step < ny and state[i, j + step, k] == WAITING:
            state[i, j + step, k] = DUE
        if 0 <= k + step < nz and state[i, j, k + step] == WAITING:
            state[i, j, k + step] = DUE


@njit(cache=True, nogil=True)
def _sweep(
    first: int,
    stop: int,
    log_joint: np.ndarray,
    q: np.ndarray,
    state: np.ndarray,
    wx: np.float32,
    wy: np.float32,
    wz: np.float32,
    colour: int,
    still: float,
    planes: np.ndarray,
) -> None:
    """Update the voxels of one colour that are due.

    ``planes`` (nx, 2) of zeros becomes, of each plane, the largest change of any probability, and
    the gain of the bound, which is the divergence of the old probabilities from the new, summed
    over voxels, nats.
    """
    _, ny, nz, n_classes = q.shape
    field = np.empty(n_classes, np.float32)
    for i in range(first, stop):
        for j in range(ny):
            for k in range((i + j + colour) % 2, nz, 2):
                if state[i, j, k] != DUE:
                    continue
                state[i, j, k] = WAITING
                for c in range(n_classes):
                    field[c] = log_joint[i, j, k, c]
                _pull(q, i, j, k, wx, wy, wz, field)
                top = field[0]
                for c in range(1, n_classes):
                    top = max(top, field[c])
                total, gain = np.float32(0.0), 0.0
                for c in range(n_classes):
                    old = np.float64(q[i, j, k, c])
                    if old > 1e-12:
                        gain += old * (np.log(old) - (field[c] - top))
                    field[c] = np.exp(field[c] - top)
                    total += field[c]
                change = 0.0
                for c in range(n_classes):
                    new = field[c] / total
                    change = max(change, abs(new - q[i, j, k, c]))
                    q[i, j, k, c] = new
                planes[i, 0] = max(planes[i, 0], change)
                planes[i, 1] += gain + np.log(np.float64(total))
                if change > still:
                    _tell(state, i, j, k)


@njit(cache=True, nogil=True)
def _bound(
    first: int,
    stop: int,
    log_joint: np.ndarray,
    q: np.ndarray,
    active: np.ndarray,
    wx: np.float32,
    wy: np.float32,
    wz: np.float32,
    planes: np.ndarray,
) -> None:
    """Add the evidence lower bound of the active voxels of each plane to ``planes`` (nx,), nats."""
    nx, ny, nz, n_classes = q.shape
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                if not active[i, j, k]:
                    continue
                for c in range(n_classes):
                    p = q[i, j, k, c]
                    if p < 1e-12:
                        continue
                    pair = np.float32(0.0)
                    # Each pair of neighbours counts once; fixed neighbours behind count in full.
                    if i < nx - 1:
                        pair += wx * q[i + 1, j, k, c]
                    if j < ny - 1:
                        pair += wy * q[i, j + 1, k, c]
                    if k < nz - 1:
                        pair += wz * q[i, j, k + 1, c]
                    if i > 0 and not active[i - 1, j, k]:
                        pair += wx * q[i - 1, j, k, c]
                    if j > 0 and not active[i, j - 1, k]:
                        pair += wy * q[i, j - 1, k, c]
                    if k > 0 and not active[i, j, k - 1]:
                        pair += wz * q[i, j, k - 1, c]
                    planes[i] += p * (log_joint[i, j, k, c] + pair - np.log(p))


def mean_field(
    log_joint: np.ndarray,
    active: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    beta: float,
    *,
    n_sweeps: int = 10,
    tol: float = 0.01,
    still: float = STILL,
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior marginals of a Potts field with unary terms ``log_joint``.

    Parameters
    ----------
    log_joint : (X, Y, Z, K) float32 ndarray, nats; rows need not be normalised
    active : (X, Y, Z) bool ndarray; other voxels keep their unary posterior
    spacing : (3,) voxel size, mm
    beta : float, coupling in nats per neighbour; 0 gives the unary posterior
    n_sweeps : int, at most so many updates of the whole field
    tol : float, stop where no probability changes by more
    still : float
        A voxel is left as it is where none of its neighbours has changed by more since it was
        updated, or where none could change it by more.

    Returns
    -------
    q : (X, Y, Z, K) float32 ndarray, rows sum to one
    bound : (S,) float64 ndarray, evidence lower bound after each sweep, nats per active voxel

    References
    ----------
    Zhang, Brady & Smith (2001), doi 10.1109/42.906424; mean field as in Bishop (2006), 10.1.
    """
    q, n = np.empty_like(log_joint), len(log_joint)
    spread(_unary, n, log_joint, q)
    # All neighbours together move the log odds of two classes by six couplings at most.
    state = np.empty(active.shape, np.uint8)
    spread(_unsettled, n, q, active, still * np.exp(-6 * beta), state)
    weights = [np.float32(beta * w) for w in neighbour_weights(spacing)]
    count = max(int(np.count_nonzero(active)), 1)
    planes = np.zeros(n)
    spread(_bound, n, log_joint, q, active, *weights, planes)
    bound = [planes.sum() / count]
    for _ in range(n_sweeps if beta > 0 else 0):
        moved = np.zeros((2, n, 2))
        for colour in (0, 1):
            spread(_sweep, n, log_joint, q, state, *weights, colour, still, moved[colour])
        bound.append(bound[-1] + moved[..., 1].sum() / count)
        if moved[..., 0].max() < tol:
            break
    return q, np.array(bound)


@njit(cache=True, nogil=True)
def _log_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Log of the sum of ``exp(a + b)``."""
    top = a[0] + b[0]
    for c in range(1, len(a)):
        top = max(top, a[c] + b[c])
    total = 0.0
    for c in range(len(a)):
        total += np.exp(a[c] + b[c] - top)
    return top + np.log(total)


@njit(cache=True, nogil=True)
def _gains(
    first: int,
    stop: int,
    log_joint: np.ndarray,
    log_prior: np.ndarray,
    q: np.ndarray,
    active: np.ndarray,
    wx: np.float32,
    wy: np.float32,
    wz: np.float32,
    planes: np.ndarray,
) -> None:
    """Add what the active voxels of each plane gain in log likelihood by their neighbours, nats."""
    _, ny, nz, n_classes = q.shape
    nothing = np.zeros(n_classes, np.float32)
    field = np.empty(n_classes, np.float32)
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                if not active[i, j, k]:
                    continue
                for c in range(n_classes):
                    field[c] = 0.0
                _pull(q, i, j, k, wx, wy, wz, field)
                joint, prior = log_joint[i, j, k], log_prior[i, j, k]
                planes[i] += _log_sum(joint, field) - _log_sum(prior, field)
                planes[i] -= _log_sum(joint, nothing) - _log_sum(prior, nothing)


def held_out_gain(
    log_joint: np.ndarray,
    log_prior: np.ndarray,
    active: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    beta: float,
) -> float:
    r"""How much better neighbours foretell the value of a voxel that they have not seen.

    Each neighbour has the posterior of its own value alone, so that none knows of the voxel's
    value: the gain is that of held-out likelihood, and negative where neighbours mislead.

    Parameters
    ----------
    log_joint : (X, Y, Z, K) float32 ndarray, nats
        Log of prior times likelihood of each class.
    log_prior : (X, Y, Z, K) float32 ndarray, nats
    active : (X, Y, Z) bool ndarray, the voxels that count
    spacing : (3,) voxel size, mm
    beta : float, coupling in nats per neighbour

    Returns
    -------
    float, mean over active voxels of :math:`\log p(y_i | y_{\partial i}) - \log p(y_i)`, nats; 0
    where there are none

    References
    ----------
    The pseudo-likelihood of Besag (1975), doi 10.2307/2987782, with observed neighbours.
    """
    if not active.any():
        return 0.0
    q, n = np.empty_like(log_joint), len(log_joint)
    spread(_unary, n, log_joint, q)
    weights = [np.float32(beta * w) for w in neighbour_weights(spacing)]
    planes = np.zeros(n)
    spread(_gains, n, log_joint, log_prior, q, active, *weights, planes)
    return float(planes.sum() / active.sum())
