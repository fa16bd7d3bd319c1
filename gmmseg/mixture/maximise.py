"""The M-step: from responsibilities or moments to the mixture that fits them best."""

from __future__ import annotations

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import covariance as models
from gmmseg.mixture.libraries import one_blas_thread
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.moments import Moments, Terms
from gmmseg.mixture.prior import VariancePrior

_SINGULAR = (
    "the covariance of component {k} is singular (smallest variance {smallest:.3g}): it has "
    "collapsed onto too few distinct samples. Use fewer components, or give a variance_prior."
)


def m_step(
    samples: np.ndarray,
    posterior: np.ndarray,
    *,
    sample_weight: np.ndarray | None = None,
    variance_prior: VariancePrior | None = None,
    covariance_type: str = "full",
) -> Mixture:
    """Mixture of highest penalised likelihood given responsibilities (the M-step).

    Parameters
    ----------
    samples : (N, C) array-like
        Image units, nothing missing.
    posterior : (N, K) array-like
    sample_weight : (N,) array-like, optional
        How many voxels each row stands for.
    variance_prior : VariancePrior, optional
    covariance_type : str
        See :func:`gmmseg.mixture.covariance.model_name`.

    Returns
    -------
    Mixture

    Raises
    ------
    InputError
        If a component has no samples, or a covariance is singular.

    References
    ----------
    .. [1] Bishop (2006), eq. 9.24 to 9.26.
    """
    x = np.asarray(samples, dtype=np.float64)
    r = np.asarray(posterior, dtype=np.float64)
    if sample_weight is not None:
        r = r * np.asarray(sample_weight, dtype=np.float64)[:, None]
    counts = r.sum(axis=0)
    if not (counts > 0).all():
        raise InputError(
            f"component {int(np.argmin(counts))} has no samples; start from fewer components."
        )
    with one_blas_thread():
        means = (r.T @ x) / counts[:, None]
        scatter = np.stack([(r[:, k, None] * (x - m)).T @ (x - m) for k, m in enumerate(means)])
    moments = Moments(0.0, counts.sum(), counts, np.zeros_like(means), scatter, means)
    return update(moments, None, variance_prior=variance_prior, covariance_type=covariance_type)


def update(
    moments: Moments,
    previous: Mixture | None,
    *,
    variance_prior: VariancePrior | None = None,
    covariance_type: str = "full",
) -> Mixture:
    """The M-step from moments; a component without samples keeps its place, at weight zero."""
    means, scatter = moments.centred()
    c = means.shape[1]
    counts = moments.counts
    alive = counts > 1e-12 * moments.total
    if scatter.ndim == 2:
        scatter = scatter[:, :, None] * np.eye(c)
    weight = counts
    if variance_prior is not None:
        scatter = scatter + variance_prior.scale(c)
        weight = counts + variance_prior.strength
    if alive.all() or variance_prior is not None:
        old = None if previous is None else previous.covariances
        covariances = models.maximise(scatter, weight, covariance_type, old)
    else:
        if not alive.any() or previous is None:
            raise InputError("no component has any samples; check the start and the weights.")
        old = previous.covariances
        covariances = old.copy()
        covariances[alive] = models.maximise(
            scatter[alive], weight[alive], covariance_type, old[alive]
        )
    if not np.isfinite(covariances).all():
        k = int(np.flatnonzero(~np.isfinite(covariances).all(axis=(1, 2)))[0])
        raise InputError(_SINGULAR.format(k=k, smallest=0.0))
    return Mixture(counts / counts.sum(), means, covariances)


def collapsed(mixture: Mixture, terms: Terms) -> bool:
    """Whether a component is 1e12 times narrower than the data: a point, up to rounding."""
    centre = mixture.weights @ mixture.means
    spread = np.diagonal(mixture.covariances, axis1=1, axis2=2) + (mixture.means - centre) ** 2
    return bool((np.abs(terms.roots) * np.sqrt(mixture.weights @ spread)).max() > 1e12)


def singular_message(mixture: Mixture) -> str:
    """Which component collapsed, and what to do."""
    smallest = np.linalg.eigvalsh(mixture.covariances)[:, 0]
    k = int(np.argmin(smallest))
    return _SINGULAR.format(k=k, smallest=smallest[k])
