"""Pictures of mixtures. matplotlib is imported when one is drawn, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmseg.bins import bin_edges
from gmmseg.checks import InputError
from gmmseg.mixture.goodness import quantile_pairs
from gmmseg.mixture.histogram import cuts
from gmmseg.mixture.model import Mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure


def plot_mixture(
    values: np.ndarray,
    mixture: Mixture,
    *,
    sample_weight: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    n_bins: int = 100,
    unit: str = "intensity",
) -> Figure:
    """Histogram with components, their sum and decision boundaries; and a QQ plot.

    Parameters
    ----------
    values : array-like of any shape
        Image units; NaN is left out. For a histogram, the bin centres.
    mixture : Mixture
        Of one channel.
    sample_weight : array-like of the shape of ``values``, optional
        How many voxels each value stands for; for a histogram, its counts.
    names : sequence of K str, optional
        Of the components.
    n_bins : int
    unit : str
        Label of the horizontal axis.

    Returns
    -------
    matplotlib.figure.Figure
        With two axes; ``figure.savefig(path)`` writes it.

    Raises
    ------
    InputError
        If the mixture has more than one channel, or no value is left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mixture = Mixture([0.5, 0.5], [[0.0], [6.0]], [[[1.0]], [[1.0]]])
    >>> figure = plot_mixture(mixture.sample(1000, rng)[0], mixture)
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure

    if mixture.n_channels != 1:
        raise InputError(
            f"plot_mixture draws one channel; got {mixture.n_channels}. "
            f"Take one with mixture.marginal(channel)."
        )
    names = [f"component {k}" for k in range(mixture.n_components)] if names is None else names
    if len(names) != mixture.n_components:
        raise InputError(f"names must be {mixture.n_components}, one a component.")
    x = np.asarray(values, dtype=np.float64).ravel()
    weight = np.ones(x.shape) if sample_weight is None else np.asarray(sample_weight, float).ravel()
    there = np.isfinite(x)
    x, weight = x[there], weight[there]
    if not x.size:
        raise InputError("there are no values to draw.")

    figure = Figure(figsize=(10, 4), layout="constrained")
    density, agreement = figure.subplots(1, 2, width_ratios=(3, 2))
    edges = bin_edges(x, n_bins)
    density.hist(x, bins=edges, weights=weight, density=True, color="0.85")
    grid = np.linspace(edges[0], edges[-1], 1000)
    parts = np.exp(mixture.log_density(grid[:, None])) * mixture.weights
    for k, name in enumerate(names):
        density.plot(grid, parts[:, k], label=f"{name} ({mixture.weights[k]:.0%})")
    density.plot(grid, parts.sum(axis=1), color="black", linewidth=1, label="sum")
    for number, cut in enumerate(cuts(mixture)):
        density.axvline(
            cut, color="0.4", linestyle=":", label="decision boundary" if number == 0 else None
        )
    density.set(xlabel=unit, ylabel="density", xlim=(edges[0], edges[-1]))
    density.legend(fontsize="small", frameon=False)

    of_mixture, of_data = quantile_pairs(x, mixture, sample_weight=weight)
    ends = [min(of_mixture[0], of_data[0]), max(of_mixture[-1], of_data[-1])]
    agreement.plot(ends, ends, color="0.7")
    agreement.plot(of_mixture, of_data, ".", color="black", markersize=4)
    agreement.set(xlabel=f"quantile of mixture ({unit})", ylabel=f"quantile of data ({unit})")
    return figure
