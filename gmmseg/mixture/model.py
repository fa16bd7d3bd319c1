"""The mixture itself: K Gaussians over C channels, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from gmmseg.checks import InputError
from gmmseg.mixture import kernels

Channels = int | Sequence[int] | np.ndarray
LOG_2PI = float(np.log(2 * np.pi))


def whitening(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Matrices that make each component's residuals white, and their log determinants.

    Parameters
    ----------
    covariances : (K, C, C) ndarray
        Image units squared.

    Returns
    -------
    roots : (K, C, C) ndarray
        Lower triangular :math:`W_k = L_k^{-1}` with :math:`\Sigma_k = L_k L_k^T`, so that
        :math:`|W_k (x - \mu_k)|^2` is the squared Mahalanobis distance.
    log_dets : (K,) ndarray
        :math:`\log |W_k| = -\tfrac12 \log |\Sigma_k|`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a covariance is not positive definite.
    """
    covariances = np.ascontiguousarray(covariances, dtype=np.float64)
    roots, log_dets = np.empty_like(covariances), np.empty(len(covariances))
    bad = kernels.whiten(covariances, roots, log_dets)
    if bad >= 0:
        raise np.linalg.LinAlgError(f"covariance {bad} is not positive definite")
    return roots, log_dets


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Parameters of K Gaussians over C channels; arrays are read-only copies.

    Attributes
    ----------
    weights : (K,) float64 ndarray
        Mixing proportions, which sum to one.
    means : (K, C) float64 ndarray
        Image units.
    covariances : (K, C, C) float64 ndarray
        Image units squared.

    Raises
    ------
    InputError
        If shapes do not fit each other, a number is not finite, or the weights are no
        proportions.

    Examples
    --------
    >>> tissue = Mixture([0.4, 0.6], [[30.0], [80.0]], [[[25.0]], [[36.0]]])
    >>> tissue.n_components, tissue.n_channels
    (2, 1)
    >>> tissue.log_density([[30.0]]).round(3)
    array([[ -2.528, -37.433]])
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def __post_init__(self) -> None:
        for name in ("weights", "means", "covariances"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(array).all():
                first = next(zip(*np.nonzero(~np.isfinite(array)), strict=True))
                raise InputError(
                    f"{name} of a mixture must be finite; component {first[0]} holds "
                    f"{array[first]}."
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.means.ndim != 2:
            raise InputError(
                f"means must have shape (K, C), one row a component; got {self.means.shape}."
            )
        k, c = self.means.shape
        if self.weights.shape != (k,) or self.covariances.shape != (k, c, c):
            raise InputError(
                f"means of shape {(k, c)} need weights {(k,)} and covariances "
                f"{(k, c, c)}; got {self.weights.shape} and {self.covariances.shape}."
            )
        if (self.weights < 0).any() or abs(self.weights.sum() - 1) > 1e-6:
            raise InputError(
                f"weights must be non-negative and sum to 1; got {self.weights}. "
                f"Divide them by their sum."
            )

    @property
    def n_components(self) -> int:
        """Number of Gaussians, K."""
        return self.means.shape[0]

    @property
    def n_channels(self) -> int:
        """Number of channels, C."""
        return self.means.shape[1]

    def log_density(self, samples: np.ndarray) -> np.ndarray:
        """Log density of each sample under each component, in nats.

        Parameters
        ----------
        samples : (N, C) array-like
            Intensities in image units, without missing values.

        Returns
        -------
        (N, K) float64 ndarray

        Raises
        ------
        numpy.linalg.LinAlgError
            If a covariance is not positive definite.

        References
        ----------
        .. [1] Bishop (2006), *Pattern Recognition and Machine Learning*, eq. 2.43.
        """
        samples = as_samples(samples, self.n_channels)
        roots, log_dets = whitening(self.covariances)
        out = np.empty((len(samples), self.n_components))
        for k, root in enumerate(roots):
            white = (samples - self.means[k]) @ root.T
            np.einsum("nc,nc->n", white, white, out=out[:, k])
        out *= -0.5
        out += log_dets - 0.5 * self.n_channels * LOG_2PI
        return out

    def score_samples(self, samples: np.ndarray) -> np.ndarray:
        """Log density of each sample under the whole mixture, (N,) in nats."""
        with np.errstate(divide="ignore"):  # a weight of zero is a component that is off
            return logsumexp(self.log_density(samples) + np.log(self.weights), axis=1)

    def marginal(self, channels: Channels) -> Mixture:
        """The mixture of some of the channels, the others integrated out.

        Parameters
        ----------
        channels : int or sequence of int

        Returns
        -------
        Mixture over ``len(channels)`` channels, in the order given
        """
        keep = channel_list(channels, self.n_channels)
        return Mixture(self.weights, self.means[:, keep], self.covariances[:, keep][:, :, keep])

    def condition(self, channels: Channels, values: float | np.ndarray) -> Mixture:
        """The mixture of the remaining channels once some have been seen.

        Parameters
        ----------
        channels : int or sequence of int
            Channels whose values are known.
        values : float or (len(channels),) array-like
            What was seen there, in image units.

        Returns
        -------
        Mixture over the other channels, in their order; its weights are the posteriors
        given the values

        References
        ----------
        .. [1] Bishop (2006), eq. 2.81 and 2.82.
        """
        given = channel_list(channels, self.n_channels)
        rest = np.setdiff1d(np.arange(self.n_channels), given)
        if not len(rest):
            raise InputError("condition() needs at least one channel that is not given.")
        seen = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if seen.shape != (len(given),):
            raise InputError(
                f"condition() needs one value for each of {len(given)} channels; "
                f"got an array of shape {seen.shape}."
            )
        cross = self.covariances[:, rest][:, :, given]  # (K, R, G)
        within = self.covariances[:, given][:, :, given]
        gain = np.linalg.solve(within, cross.transpose(0, 2, 1)).transpose(0, 2, 1)
        means = self.means[:, rest] + np.einsum("krg,kg->kr", gain, seen - self.means[:, given])
        covariances = self.covariances[:, rest][:, :, rest] - gain @ cross.transpose(0, 2, 1)
        log_joint = self.marginal(given).log_density(seen[None])[0]
        with np.errstate(divide="ignore"):
            log_joint += np.log(self.weights)
        weights = np.exp(log_joint - logsumexp(log_joint))
        return Mixture(weights / weights.sum(), means, _symmetric(covariances))

    def sample(self, n_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples.

        Parameters
        ----------
        n_samples : int
        rng : numpy.random.Generator

        Returns
        -------
        samples : (n_samples, C) float64 ndarray
        components : (n_samples,) intp ndarray
            The component each sample was drawn from.
        """
        components = rng.choice(
            self.n_components, size=n_samples, p=self.weights / self.weights.sum()
        )
        noise = rng.standard_normal((n_samples, self.n_channels))
        lower = np.linalg.cholesky(self.covariances)
        samples = self.means[components]
        for k in range(self.n_components):
            chosen = components == k
            samples[chosen] += noise[chosen] @ lower[k].T
        return samples, components

    def relabelled(self, order: Sequence[int] | None = None) -> Mixture:
        """The same mixture with its components in another order.

        Parameters
        ----------
        order : sequence of K int, optional
            Old index of each new component. By default components rise by the mean of the
            first channel, ties broken by the channels that follow.

        Returns
        -------
        Mixture
        """
        if order is None:
            order = np.lexsort(self.means.T[::-1]).tolist()
        index = np.asarray(order)
        if sorted(index.tolist()) != list(range(self.n_components)):
            raise InputError(
                f"order must hold each component 0..{self.n_components - 1} once; got {order}."
            )
        return Mixture(self.weights[index], self.means[index], self.covariances[index])


def as_samples(samples: np.ndarray, n_channels: int) -> np.ndarray:
    """Samples as an (N, C) float array; float32 stays float32, all else becomes float64."""
    array = np.asarray(samples)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if array.ndim != 2 or array.shape[1] != n_channels:
        raise InputError(
            f"samples must have shape (N, {n_channels}), one row a voxel and one column a "
            f"channel; got {array.shape}."
        )
    return array


def channel_list(channels: Channels, n_channels: int) -> np.ndarray:
    """Channel numbers as an array, or an InputError if some do not exist."""
    index = np.atleast_1d(np.asarray(channels))
    if (
        index.dtype.kind not in "iu"
        or not len(index)
        or len(np.unique(index)) != len(index)
        or index.min() < 0
        or index.max() >= n_channels
    ):
        raise InputError(
            f"channels must be different whole numbers from 0 to {n_channels - 1}; got {channels}."
        )
    return index


def _symmetric(matrices: np.ndarray) -> np.ndarray:
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))
