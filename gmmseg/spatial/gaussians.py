"""Which Gaussians a class can do without, judged by the samples that the joint fit gives the class.

With the responsibilities of the classes held, the mixture of each is a fit to a histogram of its
own, so that one Gaussian less costs milliseconds to try. What raises this expected objective raises
the objective itself (structural EM, Friedman 1997).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gmmseg.spatial import intensity
from gmmseg.spatial.intensity import IntensityModel, IntensityPrior
from gmmseg.spatial.unified import UnifiedFit

EM_STEPS = 60
PARAMETERS = 3  # of a Gaussian: weight, mean, variance; the weights of a class sum to one


class Leaner(NamedTuple):
    """A joint fit without its idle Gaussians."""

    fit: UnifiedFit  # its counts and objective are those of before
    prior: IntensityPrior
    lost: float  # log-likelihood that went with them, nats per sample


def without_idle(fit: UnifiedFit, prior: IntensityPrior, owners: Iterable[int]) -> Leaner:
    """Fit without the Gaussians that are not worth their parameters.

    Each costs half the log of the number of samples of its class for each of its parameters
    (Schwarz 1978, doi 10.1214/aos/1176344136). The one that is missed least goes first, and the
    others of its class move up before it is decided.

    Parameters
    ----------
    fit : UnifiedFit
    prior : IntensityPrior of its model
    owners : iterable of int
        Classes that may lose Gaussians, all but one; the variances of these are tied to no other.

    Returns
    -------
    Leaner
    """
    own = np.bincount(fit.model.owner, fit.table.component[0], len(fit.class_counts))
    floor = fit.table.density[0] - own
    model, lost = fit.model, 0.0
    for owner in owners:
        expected = _expected(fit, model, owner, floor)
        worth = expected - _cost(fit, model, owner)
        while np.count_nonzero(model.owner == owner) > 1:
            trials = []
            for gone in np.flatnonzero(model.owner == owner):
                fewer, held = _without(model, prior, int(gone))
                fewer = _moved_up(fit, fewer, held, floor)
                value = _expected(fit, fewer, owner, floor)
                trials.append((value - _cost(fit, fewer, owner), fewer, held))
            best = max(trials, key=lambda trial: trial[0])
            if best[0] <= worth:
                break
            worth, model, prior = best
        lost += expected - _expected(fit, model, owner, floor)
    if model is fit.model:
        return Leaner(fit, prior, 0.0)
    table = _tabulated(fit, model, floor)
    return Leaner(replace(fit, model=model, table=table), prior, lost / fit.class_counts.sum())


def _expected(fit: UnifiedFit, model: IntensityModel, owner: int, floor: np.ndarray) -> float:
    """Expected log-likelihood of a class's samples, nats."""
    density = _tabulated(fit, model, floor).density[:, owner]
    return float(fit.class_counts[owner] @ np.log(density))


def _cost(fit: UnifiedFit, model: IntensityModel, owner: int) -> float:
    """What the parameters of a class cost, nats."""
    n_parameters = PARAMETERS * np.count_nonzero(model.owner == owner) - 1
    return 0.5 * n_parameters * float(np.log(max(fit.class_counts[owner].sum(), 2.0)))


def _without(
    model: IntensityModel, prior: IntensityPrior, gone: int
) -> tuple[IntensityModel, IntensityPrior]:
    """Model and prior without one Gaussian, which has a variance of its own."""
    rest = np.arange(len(model.owner)) != gone
    groups = np.arange(len(model.group_variances)) != model.group[gone]
    weights = np.where(rest, model.weights, 0.0)
    weights /= np.maximum(np.bincount(model.owner, weights)[model.owner], 1e-300)
    fewer = replace(
        model,
        owner=model.owner[rest],
        weights=weights[rest],
        means=model.means[rest],
        group=np.cumsum(groups)[model.group[rest]] - 1,
        group_variances=model.group_variances[groups],
    )
    held = replace(
        prior,
        means=prior.means[rest],
        mean_samples=prior.mean_samples[rest],
        caps=prior.caps[rest],
        variances=prior.variances[groups],
    )
    return fewer, held


def _moved_up(
    fit: UnifiedFit, model: IntensityModel, prior: IntensityPrior, floor: np.ndarray
) -> IntensityModel:
    """The model after some steps of EM under the responsibilities of the classes in ``fit``."""
    for _ in range(EM_STEPS):
        table = _tabulated(fit, model, floor)
        sums = intensity.component_sums(model, table, fit.class_counts)
        model = intensity.maximise(model, sums, prior)
    return model


def _tabulated(
    fit: UnifiedFit, model: IntensityModel, floor: np.ndarray
) -> intensity.IntensityTable:
    low, high = fit.table.grid[[0, -1]]
    return intensity.tabulate(model, low, high, floor, len(fit.table.density))
