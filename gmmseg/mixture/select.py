"""How many components and which covariances: criteria, and the best of many starts."""

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
