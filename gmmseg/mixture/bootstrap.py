"""The bootstrap: tests of the number of components, and how sure parameters are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gmmseg.mixture import em
from gmmseg.mixture.estimator import GaussianMixture
from gmmseg.mixture.model import Mixture


@dataclass(frozen=True, slots=True, eq=False)
class LikelihoodRatio:
    """A bootstrap likelihood-ratio test of K against K + 1 components.

    Attributes
    ----------
    statistic : float
        Twice the gain in log likelihood, nats.
    bootstrap : (B,) ndarray
        The same on data simulated from K components.
    p_value : float
    """

    statistic: float
    bootstrap: np.ndarray
    p_value: float


def likelihood_ratio_test(
    X: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    *,
    covariance_type: str = "full",
    n_bootstrap: int = 99,
    **settings: Any,
) -> LikelihoodRatio:
    """Test K components against K + 1 by simulation from the K.

    Parameters
    ----------
    X : (n_samples, n_features) array-like, nothing missing
    n_components : int
        K, under the null hypothesis.
    rng : numpy.random.Generator
    covariance_type : str
    n_bootstrap : int
    **settings
        Settings of :class:`GaussianMixture`.

    Returns
    -------
    LikelihoodRatio

    References
    ----------
    .. [1] McLachlan (1987), *Applied Statistics* 36, 318-324, doi 10.2307/2347790.
    """
    X = np.asarray(X)
    options = {
        "tol": 1e-5, "max_iter": 500, "init_params": "hierarchical",
        "covariance_type": covariance_type, **settings,
    }  # fmt: skip

    def gain(samples: np.ndarray) -> tuple[float, Mixture]:
        small = GaussianMixture(n_components, random_state=0, **options)
        large = GaussianMixture(n_components + 1, random_state=0, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            small.fit(samples)
            large.fit(samples)
        ratio = 2 * len(samples) * (large.score(samples) - small.score(samples))
        return max(ratio, 0.0), small.mixture_

    statistic, null = gain(X)
    simulated = np.array([gain(null.sample(len(X), rng)[0])[0] for _ in range(n_bootstrap)])
    p_value = (1 + np.count_nonzero(simulated >= statistic)) / (n_bootstrap + 1)
    return LikelihoodRatio(statistic, simulated, float(p_value))


@dataclass(frozen=True, slots=True, eq=False)
class Bootstrap:
    """Parameters refitted to reweighted data; the first axis runs over replicates.

    Attributes
    ----------
    weights : (B, K) ndarray
    means : (B, K, C) ndarray
    covariances : (B, K, C, C) ndarray
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard error of each parameter, by name."""
        return {name: getattr(self, name).std(axis=0, ddof=1) for name in self.__slots__}

    def interval(self, level: float = 0.95) -> dict[str, np.ndarray]:
        """Percentile intervals, lower and upper along the first axis, by name."""
        tails = [0.5 - level / 2, 0.5 + level / 2]
        return {name: np.quantile(getattr(self, name), tails, axis=0) for name in self.__slots__}


def bootstrap_parameters(
    X: np.ndarray,
    mixture: Mixture,
    rng: np.random.Generator,
    *,
    n_bootstrap: int = 200,
    sample_weight: np.ndarray | None = None,
    **options: Any,
) -> Bootstrap:
    """Uncertainty of a mixture's parameters by the weighted-likelihood bootstrap.

    Each replicate gives samples exponential weights, which never empties a component as
    drawing samples anew may; EM starts at ``mixture``, so labels stay in place.

    Parameters
    ----------
    X : (N, C) array-like
    mixture : Mixture
        The fit.
    rng : numpy.random.Generator
    n_bootstrap : int
    sample_weight : (N,) array-like, optional
        Whole numbers count voxels: such a row gets a gamma weight of that shape.
    **options
        Of :func:`gmmseg.mixture.em.fit`.

    Returns
    -------
    Bootstrap

    References
    ----------
    .. [1] Newton & Raftery (1994), *J. R. Stat. Soc. B* 56, 3-48.
    """
    shape = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    fits = [
        em.fit(X, mixture, sample_weight=rng.gamma(shape), **options).mixture
        for _ in range(n_bootstrap)
    ]
    return Bootstrap(
        np.stack([one.weights for one in fits]),
        np.stack([one.means for one in fits]),
        np.stack([one.covariances for one in fits]),
    )
