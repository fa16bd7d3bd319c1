r"""Potts field over the pixels of an image or the voxels of a volume.

Labels :math:`l` have the log probability, up to a constant,

.. math:: \sum_n u_n(l_n) + \beta \sum_{(n, m)} w_{nm} [l_n = l_m]

with unary terms :math:`u`, in nats, and a sum over pairs of neighbours. Mean field gives
posteriors, iterated conditional modes labels at two thirds of the work, and a graph cut the best
labels (exactly for two classes). The field of the brain, :mod:`gmmseg.spatial.mrf`, has the same
couplings; there, voxels out of play still sway their neighbours, and here they do not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.spatial import graphcut, potts_kernels
from gmmseg.spatial.potts_field import Field, ascend, field_of
from gmmseg.threads import spread

METHODS = ("mean_field", "icm", "graph_cut")
OUTSIDE = potts_kernels.OUTSIDE
MOST_CLASSES = 254


@dataclass(frozen=True, slots=True, eq=False)
class PottsResult:
    """Labels of a Potts field and how they came about.

    Attributes
    ----------
    labels : uint8 ndarray of the shape of the image
        Class of each pixel, from 0; 255 outside of the mask.
    posterior : (..., K) float32 ndarray or None
        Rows sum to one, and to zero outside of the mask; None unless by mean field and
        asked for.
    objective : (S,) float64 ndarray
        After each sweep, nats per pixel; never falls. By mean field a lower bound of the log
        of the partition sum, else the log probability of the labels less that sum.
    n_sweeps : int
    converged : bool
        Whether the last sweep gained less than ``tol``.
    method : str
    """

    labels: np.ndarray
    posterior: np.ndarray | None
    objective: np.ndarray
    n_sweeps: int
    converged: bool
    method: str


def smooth(
    log_joint: np.ndarray,
    beta: float,
    *,
    spacing: Sequence[float] | np.ndarray | None = None,
    neighbours: int | None = None,
    mask: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    method: str = "mean_field",
    max_sweeps: int = 20,
    tol: float = 1e-4,
) -> PottsResult:
    r"""Labels and posteriors of an image whose neighbours tend to be alike.

    Parameters
    ----------
    log_joint : (Y, X, K) or (Z, Y, X, K) ndarray
        Log of class weight times density, nats; rows need not be normalised. Minus infinity
        forbids a class.
    beta : float
        Coupling in nats per neighbour; 0 leaves each pixel to itself.
    spacing : (2,) or (3,) array-like, optional
        Pixel size along each axis; couplings go with the inverse distance.
    neighbours : {4, 8} or {6, 26}, optional
        By default 4 and 6: exact updates in two turns, at half the time of the others.
    mask : bool ndarray of the shape of the image, optional
        Pixels that take part.
    contrast : ndarray of the shape of the image, optional
        Couplings are multiplied by :math:`\exp(-(x_n - x_m)^2 / 2 \sigma^2)`, with
        :math:`\sigma^2` the mean squared difference of neighbours: labels change where this
        image does [1]_.
    method : {"mean_field", "icm", "graph_cut"}
        ``mean_field`` [2]_ gives posteriors. ``icm`` [3]_ gives labels. ``graph_cut`` gives
        the most probable labels exactly for two classes [4]_ and by expansion moves for more
        [5]_; meant for a few megapixels.
    max_sweeps : int
    tol : float
        Stop where a sweep gains less, nats per pixel.

    Returns
    -------
    PottsResult

    Raises
    ------
    InputError
        If shapes do not fit, a setting is out of range, or a pixel within the mask has no
        finite joint.

    References
    ----------
    .. [1] Boykov & Jolly (2001), ICCV, doi 10.1109/ICCV.2001.937505.
    .. [2] Zhang (1992), *IEEE Trans. Signal Process.* 40, 2570-2583, doi 10.1109/78.157297.
    .. [3] Besag (1986), *J. R. Stat. Soc. B* 48, 259-302.
    .. [4] Greig, Porteous & Seheult (1989), *J. R. Stat. Soc. B* 51, 271-279.
    .. [5] Boykov, Veksler & Zabih (2001), doi 10.1109/34.969114.

    Examples
    --------
    >>> speck = np.zeros((5, 5, 2), np.float32)
    >>> speck[..., 0] = 1.0
    >>> speck[2, 2] = 0.0, 1.0
    >>> smooth(speck, 0.0).labels.sum(), smooth(speck, 0.5).labels.sum()
    (np.uint64(1), np.uint64(0))
    """
    log_joint = np.asarray(log_joint)
    if log_joint.ndim < 3 or log_joint.dtype.kind not in "fiu":
        raise InputError(
            "log_joint must be numbers of shape (Y, X, K) or (Z, Y, X, K); "
            f"got {log_joint.shape} of {log_joint.dtype}."
        )
    shape = log_joint.shape[:-1]
    if not 1 <= log_joint.shape[-1] <= MOST_CLASSES:
        raise InputError(
            f"log_joint may have 1 to {MOST_CLASSES} classes, not {log_joint.shape[-1]}."
        )
    log_joint = np.ascontiguousarray(log_joint, np.float32)
    active = _checked_mask(mask, shape)
    best = log_joint.max(axis=-1)
    wrong = ~np.isfinite(best) if active is None else active & ~np.isfinite(best)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"log_joint must have a finite number for one class at least in each pixel, and no "
            f"NaN; pixel {where} has {log_joint[where].tolist()}. Leave such pixels out by mask."
        )
    rows = (int(np.prod(shape[:-1])), *log_joint.shape[-2:])
    field = field_of(
        shape, active, spacing, neighbours, contrast, beta,
        joint=log_joint.reshape(rows),
        index=np.empty((0, 0), np.uint16), table=np.empty((0, 0), np.float32),
    )  # fmt: skip
    return _run(field, method, max_sweeps, tol, posterior=True)


def smooth_levels(
    index: np.ndarray,
    table: np.ndarray,
    beta: float,
    *,
    spacing: Sequence[float] | np.ndarray | None = None,
    neighbours: int | None = None,
    mask: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    method: str = "mean_field",
    max_sweeps: int = 20,
    tol: float = 1e-4,
    posterior: bool = False,
) -> PottsResult:
    """:func:`smooth` where the unary terms are a function of one number: no array of them.

    Parameters
    ----------
    index : (Y, X) or (Z, Y, X) ndarray of uint8 or uint16
        The image, or the bin of each pixel.
    table : (L, K) ndarray
        Log joint of each level, nats.
    beta, spacing, neighbours, mask, contrast, method, max_sweeps, tol
        As for :func:`smooth`.
    posterior : bool
        Whether to return posteriors too.

    Returns
    -------
    PottsResult

    Raises
    ------
    InputError
        Also if a level is not in the table.

    Examples
    --------
    >>> image = np.array([[9, 9, 9], [9, 2, 9], [9, 9, 9]], np.uint8)
    >>> dark = np.linspace(1, -1, 10)[:, None] * (1.0, 0.0)
    >>> smooth_levels(image, dark, 0.5).labels
    array([[1, 1, 1], [1, 1, 1], [1, 1, 1]], dtype=uint8)
    """
    index, table = np.asarray(index), np.ascontiguousarray(table, np.float32)
    if index.dtype not in (np.uint8, np.uint16):
        raise InputError(f"index must be uint8 or uint16; got {index.dtype}.")
    if table.ndim != 2 or not 1 <= table.shape[1] <= MOST_CLASSES or not len(table):
        raise InputError(
            f"table must be of shape (levels, classes), with 1 to {MOST_CLASSES} classes; "
            f"got {table.shape}."
        )
    if not np.isfinite(table.max(axis=1)).all():
        level = int(np.flatnonzero(~np.isfinite(table.max(axis=1)))[0])
        raise InputError(
            f"each row of table needs a finite number for one class at least, and no NaN; "
            f"level {level} has {table[level].tolist()}."
        )
    if index.size and int(index.max()) >= len(table):
        raise InputError(
            f"index holds level {index.max()}, and table ends at level {len(table) - 1}."
        )
    field = field_of(
        index.shape, _checked_mask(mask, index.shape), spacing, neighbours, contrast, beta,
        joint=np.empty((0, 0, 0), np.float32),
        # One dtype, one compilation.
        index=np.ascontiguousarray(index, np.uint16).reshape(-1, index.shape[-1]),
        table=table,
    )  # fmt: skip
    return _run(field, method, max_sweeps, tol, posterior)


def _run(field: Field, method: str, max_sweeps: int, tol: float, posterior: bool) -> PottsResult:
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if max_sweeps < 1:
        raise InputError(f"max_sweeps must be at least 1; got {max_sweeps}.")
    if method == "graph_cut":
        return _cut(field, max_sweeps, tol)
    state, objective, converged = ascend(field, method == "icm", max_sweeps, tol)
    n_rows, width = state.shape[0], field.shape[-1]
    labels = np.empty((n_rows, width), np.uint8)
    full = posterior and method == "mean_field"
    q = np.zeros((n_rows, width, state.shape[2]) if full else (0, 0, 0), np.float32)
    spread(potts_kernels.read_out, len(labels), state, field.active, labels, q)
    return PottsResult(
        labels.reshape(field.shape),
        q.reshape(*field.shape, -1) if full else None,
        objective,
        len(objective),
        converged,
        method,
    )


def _cut(field: Field, max_sweeps: int, tol: float) -> PottsResult:
    """Cuts from the better of the labels of the other two methods."""
    states = (ascend(field, hard, max_sweeps, tol)[0] for hard in (False, True))
    labels = np.empty((field.hood.shape[0] * field.hood.shape[1], field.shape[-1]), np.uint8)
    nothing = np.empty((0, 0, 0), np.float32)
    starts = []
    for state in states:
        spread(potts_kernels.read_out, len(labels), state, field.active, labels, nothing)
        starts.append(labels.ravel().copy())
    used = starts[0] != OUTSIDE
    if field.table.size:
        unary = field.table[field.index.ravel()[used]]
    else:
        unary = field.joint.reshape(len(used), -1)[used]
    pairs = graphcut.pairs_of(
        field.hood, field.strengths, used, field.image.ravel(), field.sharpness
    )
    best, objective, converged = graphcut.most_probable(
        unary, pairs, [start[used] for start in starts], max_rounds=max_sweeps
    )
    out = np.full(len(used), OUTSIDE, np.uint8)
    out[used] = best
    return PottsResult(
        out.reshape(field.shape), None, objective, len(objective) - 1, converged, "graph_cut"
    )


def _checked_mask(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise InputError(f"mask must have the shape of the image, {shape}; got {mask.shape}.")
    return np.ascontiguousarray(mask, bool)
