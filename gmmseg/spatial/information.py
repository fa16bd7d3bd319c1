"""How much the place of a voxel says about its intensity: whether an atlas lies on its brain."""

from __future__ import annotations

import numpy as np

TINY = 1e-30


def place_information(
    prior: np.ndarray, density: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """What the place of a sample tells about its intensity, nats per sample.

    The mean log ratio of its density under the spatial prior and under the same mixture with the
    prior's average everywhere: the information between place and intensity (cf. D'Agostino et al.
    2006, doi 10.1016/j.media.2005.11.001). The unit of intensity cancels. Classes of an aligned
    brain that differ in intensity give a clear gain; noise, or an atlas laid over something else,
    gives none.

    Parameters
    ----------
    prior : (N, K) ndarray, probability of the classes; rows are normalised here
    density : (N, K) ndarray, density of each sample under each class, per image unit
    sample_weight : (N,) ndarray, optional
        How many samples each row stands for; one, if not given.

    Returns
    -------
    float, NaN without samples
    """
    weight = np.ones(len(prior)) if sample_weight is None else sample_weight
    if not weight.any():
        return float("nan")
    share = prior / np.maximum(prior.sum(1, keepdims=True), TINY)
    placed = (share * density).sum(1)
    anywhere = density @ np.average(share, axis=0, weights=weight)
    told = np.log(np.maximum(placed, TINY) / np.maximum(anywhere, TINY))
    return float(np.average(told, weights=weight))
