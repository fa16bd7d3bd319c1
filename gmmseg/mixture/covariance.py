r"""Covariance models: what the components may share, and the M-step under each.

Every model is a name of three letters, mclust's: volume, shape and orientation, each Equal
or Variable over components (shape and orientation also I, the identity), in the
decomposition :math:`\Sigma_k = \lambda_k D_k A_k D_k^T` with :math:`|A_k| = 1` [1]_.
``full`` is VVV, ``tied`` EEE, ``diag`` VVI and ``spherical`` VII.

One M-step serves all: rotate the scatter matrices to the orientation :math:`D`, share out
volumes and shapes over the variances along its axes, and where the orientation is itself
shared but cannot be had in closed form, take turns.

References
----------
.. [1] Celeux & Govaert (1995), Gaussian parsimonious clustering models, *Pattern
   Recognition* 28, 781-793, doi 10.1016/0031-3203(94)00125-6.
.. [2] Flury & Gautschi (1986), *SIAM J. Sci. Stat. Comput.* 7, 169-184: the pairwise
   rotations that find a common orientation.
"""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture.kernels import rotate_pairs

MODELS = (
    "EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE",
    "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV",
)  # fmt: skip
ALIASES = {
    "full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII", "E": "EII", "V": "VII",
}  # fmt: skip

_ROUNDS = 200  # of the turns for volumes; each contracts quickly, so this is never the limit
_SWEEPS = 20  # of the turns for a common orientation; the next M-step takes them up again
_ENOUGH = 1e-13

# Axes are found with an error of 2e-16 of the largest variance. Up to these ratios of variances
# the smallest keeps enough digits for the objective to rise: eigenvectors of each component
# (letter V) are worse off than pairwise rotations of axes that all share (letter E).
_RESOLVED = {"V": 1e10, "E": 1e20}


def model_name(covariance_type: str) -> str:
    """The three letters of a covariance type, by either name.

    Parameters
    ----------
    covariance_type : str
        One of mclust's 14 models, ``E`` or ``V`` (one channel), or ``full``, ``tied``,
        ``diag``, ``spherical``.

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> model_name("tied")
    'EEE'
    """
    name = ALIASES.get(covariance_type, covariance_type)
    if name not in MODELS:
        raise InputError(
            f"covariance_type {covariance_type!r} is unknown. Use one of "
            f"{', '.join(ALIASES)} or {', '.join(MODELS)}."
        )
    return name


def is_axis_aligned(covariance_type: str) -> bool:
    """Whether covariances of this model are diagonal matrices."""
    return model_name(covariance_type)[2] == "I"


def n_covariance_parameters(covariance_type: str, n_components: int, n_channels: int) -> int:
    """Free numbers in the covariances of a model.

    Examples
    --------
    >>> [n_covariance_parameters(name, 3, 2) for name in ("EII", "VEI", "EEV", "VVV")]
    [1, 4, 5, 9]
    """
    volume, shape, orientation = tuple(model_name(covariance_type))
    many = {"I": 0, "E": 1, "V": n_components}
    return (
        many[volume]
        + many[shape] * (n_channels - 1)
        + many[orientation] * (n_channels * (n_channels - 1) // 2)
    )


def maximise(
    scatter: np.ndarray,
    counts: np.ndarray,
    covariance_type: str,
    previous: np.ndarray | None = None,
) -> np.ndarray:
    r"""Covariances of highest likelihood under a model (the M-step).

    Maximises :math:`-\tfrac12 \sum_k [n_k \log|\Sigma_k| + \mathrm{tr}(S_k \Sigma_k^{-1})]`.

    Parameters
    ----------
    scatter : (K, C, C) ndarray
        :math:`S_k`, the weighted sums of outer products of residuals.
    counts : (K,) ndarray
        :math:`n_k > 0`, how many samples each component stands for.
    covariance_type : str
    previous : (K, C, C) ndarray, optional
        Covariances of the iteration before. The turns start there, so that the likelihood
        never falls; used where the orientation is shared and the shape is not.

    Returns
    -------
    (K, C, C) float64 ndarray

    Raises
    ------
    InputError
        If the model turns its axes and the scales of channels lie too far apart for that.
    """
    volume, shape, orientation = tuple(model_name(covariance_type))
    if (volume, shape, orientation) == ("V", "V", "V"):
        return scatter / counts[:, None, None]
    if (volume, shape, orientation) == ("E", "E", "E"):
        return np.broadcast_to(scatter.sum(axis=0) / counts.sum(), scatter.shape).copy()
    _check_scales(scatter, volume + shape + orientation)
    if orientation == "I":
        axes = np.broadcast_to(np.eye(scatter.shape[-1]), scatter.shape)
        variances = axis_variances(np.diagonal(scatter, axis1=1, axis2=2), counts, volume, shape)
    elif orientation == "V":
        spread, axes = np.linalg.eigh(scatter)
        variances = axis_variances(np.maximum(spread, 0.0), counts, volume, shape)
    else:
        variances, shared = _common_orientation(scatter, counts, volume, shape, previous)
        axes = np.broadcast_to(shared, scatter.shape)
    return (axes * variances[:, None, :]) @ axes.transpose(0, 2, 1)


def _check_scales(scatter: np.ndarray, name: str) -> None:
    """Raise InputError if axes cannot be turned without losing the smallest variance."""
    variances = np.diagonal(scatter, axis1=1, axis2=2)
    least = variances.min(axis=1)
    ratios = np.divide(variances.max(axis=1), least, out=np.zeros_like(least), where=least > 0)
    limit, k = _RESOLVED.get(name[2], np.inf), int(ratios.argmax())
    if ratios[k] > limit:
        raise InputError(
            f"covariance_type {name} turns the axes of its components, which double precision "
            f"resolves while the scales of columns differ by less than {limit**0.5:.0e}; in "
            f"component {k} they differ by {ratios[k] ** 0.5:.0e}. Rescale the columns of X, or "
            f"use full, tied or diag."
        )


def axis_variances(spread: np.ndarray, counts: np.ndarray, volume: str, shape: str) -> np.ndarray:
    """Variances along the axes when the orientation is known.

    Parameters
    ----------
    spread : (K, C) ndarray
        Scatter along each axis of each component.
    counts : (K,) ndarray
    volume : {"E", "V"}
    shape : {"I", "E", "V"}

    Returns
    -------
    (K, C) ndarray
    """
    n_channels = spread.shape[1]
    if shape == "I":
        round_variance = spread.mean(axis=1)
        if volume == "E":
            each = np.full(len(counts), round_variance.sum() / counts.sum())
        else:
            each = round_variance / counts
        return np.repeat(each[:, None], n_channels, axis=1)
    if shape == "V" and volume == "V":
        return spread / counts[:, None]
    if shape == "E" and volume == "E":
        return np.broadcast_to(spread.sum(axis=0) / counts.sum(), spread.shape).copy()
    if shape == "V":  # equal volumes: each shape by itself, the volume from all
        size = _geometric_mean(spread)
        with np.errstate(divide="ignore", invalid="ignore"):
            shapes = np.where(size[:, None] > 0, spread / size[:, None], 0.0)
        return shapes * (size.sum() / counts.sum())
    volumes = spread.mean(axis=1) / counts
    if not (volumes > 0).all():
        return np.zeros_like(spread)  # a singular component: the caller reports it
    for _ in range(_ROUNDS):
        common = (spread / volumes[:, None]).sum(axis=0)
        size = _geometric_mean(common[None])[0]
        if not size > 0:
            return np.zeros_like(spread)
        common /= size
        update = (spread / common).mean(axis=1) / counts
        settled = np.abs(update / volumes - 1).max() < _ENOUGH
        volumes = update
        if settled:
            break
    return volumes[:, None] * common


def _common_orientation(
    scatter: np.ndarray,
    counts: np.ndarray,
    volume: str,
    shape: str,
    previous: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Variances (K, C) and one rotation (C, C) for VEE, EVE and VVE, by taking turns."""
    if previous is None:
        _, axes = np.linalg.eigh(scatter.sum(axis=0))
    else:
        # All share their eigenvectors; an uneven sum separates equal eigenvalues.
        uneven = np.sqrt(2.0 + np.arange(len(previous)))
        uneven /= np.trace(previous, axis1=1, axis2=2)
        _, axes = np.linalg.eigh(np.einsum("k,kab->ab", uneven, previous))
    value = np.inf
    for _ in range(_SWEEPS):
        spread = np.einsum("ca,kca->ka", axes, scatter @ axes)
        variances = axis_variances(np.maximum(spread, 0.0), counts, volume, shape)
        if not (variances > 0).all():
            break
        update = (counts @ np.log(variances)).sum() + (spread / variances).sum()
        if value - update < _ENOUGH * counts.sum():
            break
        value = update
        if shape == "E":
            volumes = _geometric_mean(variances)
            _, axes = np.linalg.eigh(np.einsum("kab,k->ab", scatter, 1 / volumes))
        else:
            axes = rotate_pairs(np.ascontiguousarray(scatter), 1 / variances, axes)
    return variances, axes


def _geometric_mean(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.exp(np.log(values).mean(axis=1))
