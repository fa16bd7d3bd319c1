"""How many components and which covariances: criteria, tests and uncertainty."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.estimator import BayesianGaussianMixture, GaussianMixture
from gmmseg.mixture.model import Mixture

CRITERIA = ("bic", "aic", "icl", "evidence")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One line of a selection table; for every criterion the lower the better.

    Attributes
    ----------
    n_components : int
    covariance_type : str
    log_likelihood : float
        Of all samples, nats.
    n_parameters : int
    bic, aic, icl : float
    evidence : float
        Minus twice the variational bound of all samples; NaN where it was not asked for.
    converged : bool
    problem : str
        Why there is no fit; empty if there is.
    """

    n_components: int
    covariance_type: str
    log_likelihood: float
    n_parameters: int
    bic: float
    aic: float
    icl: float
    evidence: float
    converged: bool
    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """All candidates and the best of them.

    Attributes
    ----------
    table : tuple of Candidate
    criterion : str
    winner : GaussianMixture or BayesianGaussianMixture
        Fitted.
    """

    table: tuple[Candidate, ...]
    criterion: str
    winner: Any

    @property
    def best(self) -> Candidate:
        """The candidate that won."""
        return min(self.ranked(), key=lambda one: getattr(one, self.criterion))

    def ranked(self) -> list[Candidate]:
        """Candidates that could be fitted, best first."""
        usable = [one for one in self.table if np.isfinite(getattr(one, self.criterion))]
        return sorted(usable, key=lambda one: getattr(one, self.criterion))

    def rows(self) -> list[dict[str, Any]]:
        """The table as dictionaries, as a data frame takes them."""
        return [asdict(one) for one in self.table]


def select_mixture(
    X: np.ndarray,
    n_components: Iterable[int] = range(1, 10),
    covariance_types: Iterable[str] = ("full",),
    *,
    criterion: str = "bic",
    sample_weight: np.ndarray | None = None,
    init_params: str = "hierarchical",
    random_state: Any = 0,
    **settings: Any,
) -> Selection:
    """Fit every combination and pick the best.

    Parameters
    ----------
    X : (n_samples, n_features) array-like
    n_components : iterable of int
    covariance_types : iterable of str
    criterion : {"bic", "aic", "icl", "evidence"}
        ``evidence`` fits :class:`BayesianGaussianMixture` with a flat Dirichlet prior.
    sample_weight : (n_samples,) array-like, optional
    init_params : str
        mclust's hierarchical start by default, which depends on no draw for up to 1000
        samples.
    random_state : int, RandomState or Generator
    **settings
        Further settings of the estimators; ``tol`` is 1e-5 and ``max_iter`` 1000 unless
        given.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If nothing can be fitted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 1, (200, 1)) for m in (0, 8, 16)])
    >>> select_mixture(X, range(1, 6)).best.n_components
    3
    """
    if criterion not in CRITERIA:
        raise InputError(f"criterion must be one of {', '.join(CRITERIA)}; got {criterion!r}.")
    options = {
        "tol": 1e-5, "max_iter": 1000, "reg_covar": 0.0, "init_params": init_params,
        "random_state": random_state, **settings,
    }  # fmt: skip
    table, winner, least = [], None, np.inf
    for covariance_type in covariance_types:
        for k in n_components:
            candidate, model = _candidate(X, k, covariance_type, criterion, sample_weight, options)
            table.append(candidate)
            value = getattr(candidate, criterion)
            if value < least:
                winner, least = model, value
    if winner is None:
        why = table[0].problem if table else "no combination was given"
        raise InputError(f"no mixture could be fitted: {why}")
    return Selection(tuple(table), criterion, winner)


def _candidate(
    X: np.ndarray,
    k: int,
    covariance_type: str,
    criterion: str,
    sample_weight: np.ndarray | None,
    options: dict[str, Any],
) -> tuple[Candidate, Any]:
    model: Any = GaussianMixture(k, covariance_type=covariance_type, **options)
    nothing = (np.nan, 0, np.nan, np.nan, np.nan, np.nan, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(X, sample_weight=sample_weight)
            bound = np.nan
            total = float(len(X) if sample_weight is None else np.sum(sample_weight))
            if criterion == "evidence":
                bayes = BayesianGaussianMixture(
                    n_components=k, covariance_type=covariance_type,
                    weight_concentration_prior_type="dirichlet_distribution",
                    weight_concentration_prior=1.0, **options,
                ).fit(X, sample_weight=sample_weight)  # fmt: skip
                bound = -2 * bayes.lower_bound_ * total
        except InputError as error:
            return Candidate(k, covariance_type, *nothing, str(error)), None
    candidate = Candidate(
        k, covariance_type,
        0.5 * (2 * model.n_parameters_ - model.aic(X, sample_weight)),
        model.n_parameters_,
        model.bic(X, sample_weight), model.aic(X, sample_weight), model.icl(X, sample_weight),
        bound, model.converged_, "",
    )  # fmt: skip
    return candidate, (bayes if criterion == "evidence" else model)


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


def best_of(
    samples: np.ndarray,
    starts: Iterable[Mixture],
    *,
    n_iter: int = 10,
    **options: Any,
) -> Mixture:
    """The start that a short run of EM carries furthest, after that run.

    Parameters
    ----------
    samples : (N, C) array-like
    starts : iterable of Mixture
    n_iter : int
    **options
        Of :func:`gmmseg.mixture.em.fit`.

    Returns
    -------
    Mixture

    References
    ----------
    .. [1] Biernacki, Celeux & Govaert (2003), *Comput. Stat. Data Anal.* 41, 561-575,
       doi 10.1016/S0167-9473(02)00163-9.
    """
    fits = [em.fit(samples, one, max_iter=n_iter, tol=0.0, **options) for one in starts]
    if not fits:
        raise InputError("best_of needs at least one start.")
    return max(fits, key=lambda one: float(one.objective[-1])).mixture
