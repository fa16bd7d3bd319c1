r"""Mixtures of several families on a histogram: magnitude MRI, photon counts, outliers.

The objective is :math:`\frac{1}{W} \sum_b w_b \log \sum_k \pi_k p_k(x_b)` over bin centres, in nats
per voxel, and never falls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import em
from gmmseg.mixture.densities import Bins, Family, Parameters
from gmmseg.mixture.familyfit import FAMILIES, FamilyFit, families_of, responsibilities
from gmmseg.mixture.histogram import fit_histogram
from gmmseg.mixture.model import Mixture
from gmmseg.mixture.noiselaw import PoissonGaussian

_LAW = PoissonGaussian()
_TRIAL = 30  # iterations after which the better start goes on
_VERY_STRONG = 10.0  # twice a log Bayes factor
_OUTLIERS = 0.01  # weight of a uniform class to begin with


@dataclass(frozen=True, slots=True, eq=False)
class FamilySelection:
    """Fits of several combinations of families, in the order of the candidates.

    Attributes
    ----------
    fits : tuple of FamilyFit
    criterion : str
    """

    fits: tuple[FamilyFit, ...]
    criterion: str

    @property
    def winner(self) -> FamilyFit:
        """The first that is within 10 of the best: below that, evidence is not very strong.

        Kass & Raftery (1995), *J. Am. Stat. Assoc.* 90, 773-795, section 3.2. Ricians of
        strong signal are Gaussians, and toss a coin without this.
        """
        values = [float(getattr(one, self.criterion)) for one in self.fits]
        return next(
            one for one, value in zip(self.fits, values, strict=True)
            if value <= min(values) + _VERY_STRONG
        )  # fmt: skip


def fit_families(
    counts: np.ndarray,
    centres: np.ndarray,
    families: Iterable[str] = ("rayleigh", "gaussian"),
    *,
    start: Mixture | None = None,
    max_iter: int = 1000,
    tol: float = 1e-7,
) -> FamilyFit:
    """Fit a mixture whose components are of the families named.

    Parameters
    ----------
    counts : (B,) array-like, voxels in each bin
    centres : (B,) or (B, 1) array-like, rising, image units
        As :func:`gmmseg.mixture.histogram.weighted_bins` makes them. Densities are taken at
        centres: bins should be narrow beside every class.
    families : iterable of str
        ``gaussian``; ``rayleigh`` and ``rician`` (magnitude MRI without and with signal);
        ``poisson`` (counts); ``poisson_gaussian`` (a normal whose variance is one linear
        function of the mean for all components, two at least); ``uniform`` (outliers, one
        at most). In order of rising mean, save the uniform one.
    start : Mixture, optional
        Gaussians to begin with, one for each component that is not uniform, in their order;
        by default the better of two, :func:`gmmseg.mixture.histogram.fit_histogram` and equal
        parts of the range, after some iterations.
    max_iter : int
    tol : float
        Stop where an iteration gains less, nats per voxel.

    Returns
    -------
    FamilyFit

    Raises
    ------
    InputError
        If shapes do not fit, a family is unknown, or a value can come from no component.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> air, tissue = rng.rayleigh(10, 40_000), rng.normal(100, 12, 20_000)
    >>> from gmmseg.mixture.histogram import weighted_bins
    >>> centres, counts = weighted_bins(np.concatenate([air, tissue]))
    >>> fit = fit_families(counts, centres, ("rayleigh", "gaussian"))
    >>> round(fit.parameters[0]["scale"]), round(fit.parameters[1]["mean"])
    (10, 100)
    """
    kinds = families_of(families)
    names = tuple(kind.name for kind in kinds)
    bins, weight = _bins(counts, centres)
    linked = [k for k, name in enumerate(names) if name == "poisson_gaussian"]
    solid = [k for k, name in enumerate(names) if name != "uniform"]
    if len(names) - len(solid) > 1 or not solid:
        raise InputError("families may name uniform once, beside at least one other.")
    if len(linked) == 1:
        raise InputError(
            "poisson_gaussian links the variances of two components at least; "
            "for a single one take gaussian."
        )
    if all(kind.nonnegative for kind in kinds) and bins.x[0] < 0:
        raise InputError(
            f"values go down to {bins.x[0]:g}, and {', '.join(dict.fromkeys(names))} allow none "
            "below zero; add a gaussian component or take away the offset."
        )
    if "poisson" in names and not (np.equal(np.mod(bins.x, 1), 0).all() and bins.spacing == 1):
        raise InputError("poisson needs counts of photons: bins at whole numbers, one apart.")
    problem = _Problem(kinds, bins, weight, tuple(linked))
    starts = [
        problem.run(problem.begin(each), min(_TRIAL, max_iter), tol)
        for each in _starts(bins, weight, names, solid, start)
    ]
    usable = [one for one in starts if np.isfinite(one.objective[-1])]
    if not usable:
        raise InputError(
            f"some values can come from none of {', '.join(names)}; add a uniform class."
        )
    last = problem.run(max(usable, key=lambda one: one.objective[-1]), max_iter, tol)
    own = sum(kind.n_parameters for kind in kinds)
    fit = FamilyFit(
        names, last.shares, tuple(last.parameters), np.array(last.objective), last.converged,
        float(weight.sum()), own + (_LAW.n_shared if linked else 0) + len(names) - 1,
        0.0, bins.low, bins.high, bins.spacing,
    )  # fmt: skip
    positive = np.where(last.posterior > 0, last.posterior, 1.0)
    entropy = -(positive * np.log(positive)).sum(axis=0)
    return replace(fit, icl=fit.bic + 2 * float(weight @ entropy))


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """Where EM stands: shares (K,), parameters, posteriors (K, B), objective so far."""

    shares: np.ndarray
    parameters: list[Parameters]
    posterior: np.ndarray
    objective: list[float]
    converged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Families and bins; EM from one state to the next."""

    kinds: tuple[Family, ...]
    bins: Bins
    weight: np.ndarray
    linked: tuple[int, ...]  # components that share a noise law

    def begin(self, posterior: np.ndarray) -> _State:
        """Parameters from responsibilities (K, B) alone."""
        rows = posterior * self.weight
        parameters = [
            kind.start(self.bins, row) for kind, row in zip(self.kinds, rows, strict=True)
        ]
        if self.linked:
            together = _LAW.start_all(self.bins, self._rows(posterior))
            for k, one in zip(self.linked, together, strict=True):
                parameters[k] = one
        return self._state(rows.sum(axis=1) / rows.sum(), parameters, [])

    def run(self, state: _State, max_iter: int, tol: float) -> _State:
        """EM until it gains less than ``tol`` or has taken ``max_iter`` iterations in all."""
        while not state.converged and len(state.objective) <= max_iter:
            before = state.objective[-1]
            shares = state.posterior @ self.weight / self.weight.sum()
            state = self._state(shares, self._update(state), state.objective)
            state = replace(state, converged=state.objective[-1] - before < tol)
        return state

    def _update(self, state: _State) -> list[Parameters]:
        new = list(state.parameters)
        for k, kind in enumerate(self.kinds):
            row = state.posterior[k] * self.weight
            if k not in self.linked and row.sum() > 1e-12 * self.weight.sum():
                new[k] = kind.update(self.bins, row, new[k])
        if self.linked:
            together = _LAW.update_all(
                self.bins, self._rows(state.posterior), [new[k] for k in self.linked]
            )
            for k, one in zip(self.linked, together, strict=True):
                new[k] = one
        return new

    def _rows(self, posterior: np.ndarray) -> list[np.ndarray]:
        return [np.maximum(posterior[k] * self.weight, 1e-300) for k in self.linked]

    def _state(
        self, shares: np.ndarray, parameters: list[Parameters], objective: list[float]
    ) -> _State:
        rows = [k.log_density(self.bins, p) for k, p in zip(self.kinds, parameters, strict=True)]
        with np.errstate(divide="ignore"):
            joint = np.stack(rows) + np.log(shares)[:, None]
        posterior, evidence = responsibilities(joint)
        value = float(self.weight @ evidence / self.weight.sum())
        return _State(shares, parameters, posterior, [*objective, value])


def select_family(
    counts: np.ndarray,
    centres: np.ndarray,
    n_components: int = 2,
    *,
    candidates: Iterable[Iterable[str]] | None = None,
    criterion: str = "bic",
    max_iter: int = 1000,
    tol: float = 1e-7,
) -> FamilySelection:
    """Fit several combinations of families and choose by a criterion.

    Parameters
    ----------
    counts, centres, max_iter, tol
        As for :func:`fit_families`.
    n_components : int
    candidates : iterable of iterables of str, optional
        Simplest first: an earlier one wins unless a later one is better by 10. By default all
        Gaussian; where no value is negative, Rayleigh below Gaussians,
        Rayleigh below Ricians, and all Rician; for three classes and more, the noise law of
        photons; for counts one apart, all Poisson.
    criterion : {"bic", "icl"}

    Returns
    -------
    FamilySelection

    Raises
    ------
    InputError
        If no candidate can be fitted.
    """
    if criterion not in ("bic", "icl"):
        raise InputError(f"criterion must be bic or icl; got {criterion!r}.")
    if n_components < 1:
        raise InputError(f"n_components must be at least 1; got {n_components}.")
    if candidates is None:
        bins, _ = _bins(counts, centres)
        candidates = _candidates(bins, n_components)
    fits = [fit_families(counts, centres, c, max_iter=max_iter, tol=tol) for c in candidates]
    if not fits:
        raise InputError("select_family needs at least one candidate.")
    return FamilySelection(tuple(fits), criterion)


def _candidates(bins: Bins, k: int) -> list[tuple[str, ...]]:
    found = [("gaussian",) * k]
    if bins.x[0] >= 0:
        found.append(("rayleigh", *("gaussian",) * (k - 1)))
        if k > 1:
            found.append(("rayleigh", *("rician",) * (k - 1)))
        found.append(("rician",) * k)
    if k > 2:  # two variances are as many as the law has numbers
        found.append(("poisson_gaussian",) * k)
    if bins.x[0] >= 0 and bins.spacing == 1 and np.equal(np.mod(bins.x, 1), 0).all():
        found.append(("poisson",) * k)
    return found


def _starts(
    bins: Bins, weight: np.ndarray, names: tuple[str, ...], solid: list[int], start: Mixture | None
) -> list[np.ndarray]:
    """Responsibilities (K, B) to begin with: of the start, or of two in its place.

    Those of fitted Gaussians, and equal parts of the range of the values: where most of an
    image is air, Gaussians may share the air among them.
    """
    if start is None:
        fitted = fit_histogram(weight, bins.x, len(solid), width=0.0, tol=1e-5).mixture
        low, high = np.interp([0.001, 0.999], np.cumsum(weight) / weight.sum(), bins.x)
        part = len(solid) * (bins.x - low) / max(high - low, bins.spacing)
        part = np.clip(part.astype(np.intp), 0, len(solid) - 1)
        within = [em.posteriors(bins.x[:, None], fitted)[0].T, np.eye(len(solid))[part].T]
    else:
        if start.n_components != len(solid) or start.n_channels != 1:
            raise InputError(
                f"start must have one channel and {len(solid)} components, one for each that is "
                f"not uniform; got {start.n_channels} and {start.n_components}."
            )
        within = [em.posteriors(bins.x[:, None], start)[0].T]
    outliers = _OUTLIERS if len(solid) < len(names) else 0.0
    out = []
    for some in within:
        posterior = np.full((len(names), len(bins.x)), outliers)
        posterior[solid] = (1 - outliers) * some
        for k in solid:
            if FAMILIES[names[k]].nonnegative:
                posterior[k, bins.x < 0] = 0.0
        # A component that has nothing to begin with begins everywhere.
        posterior[posterior @ weight <= 1e-9 * weight.sum()] = 1.0 / len(names)
        out.append(posterior)
    return out


def _bins(counts: np.ndarray, centres: np.ndarray) -> tuple[Bins, np.ndarray]:
    """Bins that hold something, and their counts."""
    weight = np.asarray(counts, np.float64).ravel()
    x = np.asarray(centres, np.float64).ravel()
    if weight.shape != x.shape:
        raise InputError(
            f"counts and centres must be equally long; got {len(weight)} and {len(x)}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.sum() > 0:
        raise InputError("counts must be finite, not negative, and not all zero.")
    if not np.isfinite(x).all() or not (np.diff(x) > 0).all():
        raise InputError("centres must be finite and rise.")
    spacing = float(np.diff(x).min()) if len(x) > 1 else 1.0
    used = weight > 0
    x = x[used]
    return Bins(x, spacing, float(x[0] - spacing / 2), float(x[-1] + spacing / 2)), weight[used]
