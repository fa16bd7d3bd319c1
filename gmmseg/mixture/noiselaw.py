"""The noise of photons: one law for the variances of all components of a mixture."""

from __future__ import annotations

import numpy as np

from gmmseg.mixture.densities import Bins, Gaussian, Parameters, moments


class PoissonGaussian(Gaussian):
    r"""Normal with a variance that rises with the mean, as photons make it: ``mean``.

    All components of the family share the noise law :math:`\sigma^2 = a \mu + b` [1]_, in
    ``slope`` and ``intercept``; ``variance`` is what it gives.

    References
    ----------
    .. [1] Foi, Trimeche, Katkovnik & Egiazarian (2008), *IEEE Trans. Image Process.* 17,
       1737-1754, eq. 4, doi 10.1109/TIP.2008.2001399.
    """

    name, n_parameters, n_shared = "poisson_gaussian", 1, 2

    def start_all(self, bins: Bins, weights: list[np.ndarray]) -> list[Parameters]:
        """Means of their own; a law through the variances, or a common one if it fell."""
        count, mean, variance = self._sums(bins, weights)
        centred = mean - np.average(mean, weights=count)
        spread = float(count @ centred**2)
        slope = max(float(count @ (centred * variance)) / spread, 0.0) if spread > 0 else 0.0
        level = float(np.average(variance, weights=count))
        floor = bins.least_variance
        lowest = centred.min()
        if level + slope * lowest < max(floor, 0.1 * level):
            slope = 0.9 * level / -lowest if lowest < 0 else 0.0
        intercept = level - slope * float(np.average(mean, weights=count))
        return self._write(
            np.concatenate([mean, [slope, max(intercept, floor - slope * mean.min())]])
        )

    def update_all(
        self, bins: Bins, weights: list[np.ndarray], parameters: list[Parameters]
    ) -> list[Parameters]:
        """A step of Fisher scoring for all means and the law, halved until it loses nothing."""
        sums = self._sums(bins, weights)
        theta = np.array(
            [one["mean"] for one in parameters]
            + [parameters[0]["slope"], parameters[0]["intercept"]]
        )
        floor = bins.least_variance
        for _ in range(3):
            value = _law_value(theta, sums, floor)
            step = _law_step(theta, sums)
            for _ in range(20):
                new = theta + step
                new[-2] = max(new[-2], 0.0)
                if _law_value(new, sums, floor) >= value:
                    theta = new
                    break
                step = 0.5 * step
            else:
                break
        return self._write(theta)

    def _sums(self, bins: Bins, weights: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Count, mean and variance of the weights of each component: all that matters."""
        each = np.array([moments(bins, w) for w in weights])
        return np.array([w.sum() for w in weights]), each[:, 0], each[:, 1]

    def _write(self, theta: np.ndarray) -> list[Parameters]:
        slope, intercept = float(theta[-2]), float(theta[-1])
        return [
            {"mean": float(m), "variance": float(slope * m + intercept),
             "slope": slope, "intercept": intercept}
            for m in theta[:-2]
        ]  # fmt: skip


def _law_value(theta: np.ndarray, sums: tuple[np.ndarray, ...], floor: float) -> float:
    """Weighted log likelihood of means and noise law, up to a constant."""
    count, mean, variance = sums
    v = theta[-2] * theta[:-2] + theta[-1]
    if not (v >= floor).all():
        return -np.inf
    square = variance + np.square(mean - theta[:-2])
    return float(-0.5 * (count * (np.log(v) + square / v)).sum())


def _law_step(theta: np.ndarray, sums: tuple[np.ndarray, ...]) -> np.ndarray:
    """Fisher information of (means, slope, intercept), inverted, times the gradient."""
    count, mean, variance = sums
    m, slope = theta[:-2], theta[-2]
    v = slope * m + theta[-1]
    k = len(m)
    by_variance = 0.5 * count * ((variance + np.square(mean - m)) / v**2 - 1 / v)
    gradient = np.concatenate(
        [count * (mean - m) / v + slope * by_variance,
         [float(by_variance @ m), float(by_variance.sum())]]
    )  # fmt: skip
    jacobian = np.column_stack([slope * np.eye(k), m, np.ones(k)])  # of the variances
    information = jacobian.T @ ((0.5 * count / v**2)[:, None] * jacobian)
    information[np.arange(k), np.arange(k)] += count / v
    scale = 1 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    unit = information * scale[:, None] * scale
    return scale * np.linalg.lstsq(unit, scale * gradient, rcond=1e-12)[0]
