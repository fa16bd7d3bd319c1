"""A mixture of several channels or features, fitted to a sample and applied to every site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gmmseg.checks import InputError
from gmmseg.mixture import em, start
from gmmseg.mixture.model import Mixture
from gmmseg.spatial.features import feature_stack, superpixels

SAMPLES = 100_000  # sites that the mixture is fitted to, at regular distances
MOST_CLASSES = 6
FLOOR = 1e-4  # least variance of a class, as a share of that of the feature
BLOCK = 1 << 18  # sites at a time


@dataclass(frozen=True, slots=True, eq=False)
class ChannelFit:
    """Classes of several features.

    Attributes
    ----------
    posteriors : (..., K) float32 ndarray on the grid; zero outside of the mask
    mixture : Mixture of the features
        Classes rise by the mean of the first feature.
    names : tuple of C str, the features
    objective : (T,) float64 ndarray, nats per site
    n_sites : int, pixels or superpixels
    """

    posteriors: np.ndarray
    mixture: Mixture
    names: tuple[str, ...]
    objective: np.ndarray
    n_sites: int


def fit_channels(
    image: np.ndarray,
    classes: int | str,
    features: Sequence[str] = ("intensity",),
    *,
    channels: bool,
    mask: np.ndarray | None = None,
    n_superpixels: int | None = None,
) -> ChannelFit:
    """Fit a mixture of full covariances to the features of an image.

    Parameters
    ----------
    image : (Y, X), (Z, Y, X) or, with ``channels``, (..., C) ndarray
    classes : int or "auto", which takes the number of least ICL, two to six
    features : sequence of str, of :data:`gmmseg.spatial.features.FEATURES`
    channels : bool, whether the last axis is one of channels
    mask : bool ndarray of the grid, optional
    n_superpixels : int, optional
        Label patches in place of pixels.

    Returns
    -------
    ChannelFit

    Raises
    ------
    InputError
        If there are fewer distinct sites than classes.
    """
    stack = feature_stack(image, features, channels=channels)
    grid, n_features = stack.values.shape[:-1], stack.values.shape[-1]
    if n_superpixels is None:
        sites, weights, where = stack.values.reshape(-1, n_features), None, None
        if mask is not None:
            sites = sites[mask.ravel()]
    else:
        where, sites, weights = superpixels(stack.values, n_superpixels, mask)
    step = max(1, len(sites) // SAMPLES) if weights is None else 1
    sample = sites[::step].astype(np.float64)
    spread = np.average((sample - np.average(sample, 0, weights)) ** 2, 0, weights)
    if not (spread > 0).all():
        flat = ", ".join(n for n, s in zip(stack.names, spread, strict=True) if not s > 0)
        raise InputError(f"The image is the same everywhere in {flat}; leave that feature out.")
    prior = em.VariancePrior(floor=FLOOR * spread)
    counts = range(2, MOST_CLASSES + 1) if classes == "auto" else (int(classes),)
    fits = [_fit(sample, weights, k, prior) for k in counts]
    fit = min(fits, key=lambda one: _icl(sample, weights, one))
    order = np.argsort(fit.mixture.means[:, 0], kind="stable")
    mixture = Mixture(
        fit.mixture.weights[order], fit.mixture.means[order], fit.mixture.covariances[order]
    )
    q = np.empty((len(sites), len(order)), np.float32)
    for a in range(0, len(sites), BLOCK):
        q[a : a + BLOCK] = em.posteriors(sites[a : a + BLOCK], mixture)[0]
    out = np.zeros((*grid, len(order)), np.float32)
    if where is not None:
        out[where >= 0] = q[where[where >= 0]]
    elif mask is not None:
        out[mask] = q
    else:
        out[...] = q.reshape(out.shape)
    return ChannelFit(out, mixture, stack.names, fit.objective, len(sites))


def _fit(sample: np.ndarray, weights: np.ndarray | None, k: int, prior: em.VariancePrior) -> em.Fit:
    """The likeliest end of several starts; the same sample gives the same fit."""
    rng = np.random.default_rng(0)
    starts = [start.quantile(sample, k, sample_weight=weights)]
    starts += [start.kmeans(sample, k, rng, sample_weight=weights) for _ in range(2)]
    fits = [
        em.fit(sample, one, sample_weight=weights, variance_prior=prior, max_iter=300, tol=1e-6)
        for one in starts
    ]
    return max(fits, key=lambda one: float(one.objective[-1]))


def _icl(sample: np.ndarray, weights: np.ndarray | None, fit: em.Fit) -> float:
    """Integrated completed likelihood: BIC and twice the entropy of the classes."""
    posterior, evidence = em.posteriors(sample, fit.mixture)
    w = np.ones(len(sample)) if weights is None else weights / weights.mean()
    k, c = fit.mixture.means.shape
    free = k - 1 + k * c + k * c * (c + 1) / 2
    undecided = -(w @ (posterior * np.log(np.maximum(posterior, 1e-300))).sum(axis=1))
    return float(-2 * (w @ evidence) + free * np.log(len(sample)) + 2 * undecided)
