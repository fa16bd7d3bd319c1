"""What the E-step needs to know of a mixture, and the sums that it leaves for the M-step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gmmseg.mixture.model import LOG_2PI, Mixture, whitening


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What the E-step needs to know of each component.

    Attributes
    ----------
    means : (K, C) ndarray
    roots : (K, C, C) ndarray or, for diagonal covariances, (K, C)
        Lower triangular whitening matrices, or reciprocal standard deviations.
    constants : (K,) ndarray
        Log density at the mean.
    log_weights : (K,) ndarray
    blur : float
        Variance by which samples are spread out; see :func:`terms_of`.
    """

    means: np.ndarray
    roots: np.ndarray
    constants: np.ndarray
    log_weights: np.ndarray
    blur: float = 0.0

    @property
    def diagonal(self) -> bool:
        """Whether every covariance is diagonal, and roots are vectors."""
        return self.roots.ndim == 2

    def full_roots(self) -> np.ndarray:
        """Roots as (K, C, C) matrices."""
        if not self.diagonal:
            return self.roots
        out = np.zeros((*self.roots.shape, self.roots.shape[1]))
        index = np.arange(self.roots.shape[1])
        out[:, index, index] = self.roots
        return out


def terms_of(mixture: Mixture, *, blur: float = 0.0, diagonal: bool = False) -> Terms:
    r"""Prepare a mixture for the E-step.

    Parameters
    ----------
    mixture : Mixture
    blur : float
        Variance by which each sample is spread out, image units squared: log densities
        become their expectation under that noise,
        :math:`\log N(x; \mu, \Sigma) - \tfrac12 b\,\mathrm{tr}\,\Sigma^{-1}`.
    diagonal : bool
        All covariances are known to be diagonal.
    """
    if diagonal:
        variances = np.diagonal(mixture.covariances, axis1=1, axis2=2)
        if not (variances > 0).all():
            raise np.linalg.LinAlgError("a variance is not positive")
        roots = 1 / np.sqrt(variances)
        log_dets = np.log(roots).sum(axis=1)
        blurred = np.square(roots).sum(axis=1)
    else:
        roots, log_dets = whitening(mixture.covariances)
        blurred = np.square(roots).sum(axis=(1, 2))
    constants = log_dets - 0.5 * mixture.n_channels * LOG_2PI - 0.5 * blur * blurred
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    return Terms(mixture.means, roots, constants, log_weights, blur)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sums over samples; moments of different samples under the same terms add up.

    Attributes
    ----------
    log_likelihood : float
        Sum of log evidence times sample weight, nats.
    total : float
        Sum of sample weights.
    counts : (K,) ndarray
        Sums of responsibilities.
    sums : (K, C) ndarray
        Of residuals from ``reference``, weighted with responsibilities.
    scatter : (K, C, C) ndarray, or (K, C) for its diagonal alone
        Of the same residuals.
    reference : (K, C) ndarray
    """

    log_likelihood: float
    total: float
    counts: np.ndarray
    sums: np.ndarray
    scatter: np.ndarray
    reference: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.log_likelihood + other.log_likelihood,
            self.total + other.total,
            self.counts + other.counts,
            self.sums + other.sums,
            self.scatter + other.scatter,
            self.reference,
        )

    def scaled(self, factor: float) -> Moments:
        """The moments of samples that weigh ``factor`` times as much."""
        return Moments(
            self.log_likelihood * factor,
            self.total * factor,
            self.counts * factor,
            self.sums * factor,
            self.scatter * factor,
            self.reference,
        )

    def about(self, reference: np.ndarray) -> Moments:
        """The same moments with residuals taken from another (K, C) reference."""
        d = self.reference - reference
        sums = self.sums + self.counts[:, None] * d
        if self.scatter.ndim == 2:
            scatter = self.scatter + d * (self.sums + sums)
        else:
            scatter = self.scatter + d[:, :, None] * self.sums[:, None, :]
            scatter = scatter + sums[:, :, None] * d[:, None, :]
        return replace(self, sums=sums, scatter=scatter, reference=reference)

    def blurred(self, blur: float) -> Moments:
        """The moments of samples spread out by a variance ``blur``."""
        extra = blur * self.counts[:, None]
        if self.scatter.ndim == 3:
            extra = extra[:, :, None] * np.eye(self.scatter.shape[1])
        return replace(self, scatter=self.scatter + extra)

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (K, C), and scatter about them in the shape of ``scatter``.

        A component without responsibilities keeps its reference mean and has no scatter.
        """
        alive = self.counts > 0
        shift = np.divide(
            self.sums,
            self.counts[:, None],
            out=np.zeros_like(self.sums),
            where=alive[:, None],
        )
        if self.scatter.ndim == 2:
            scatter = np.maximum(self.scatter - shift * self.sums, 0.0)
        else:
            scatter = self.scatter - shift[:, :, None] * self.sums[:, None, :]
            scatter = 0.5 * (scatter + scatter.transpose(0, 2, 1))
        return self.reference + shift, scatter
