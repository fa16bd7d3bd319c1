"""Families of one-dimensional components: their densities and their updates.

Each family takes bin centres and weights and raises the weighted log likelihood of its own
parameters: by its maximum where that has a closed form, else by a step that is kept only if it
gains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, i0e, i1e

Parameters = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Bin centres as all families need them.

    Attributes
    ----------
    x : (B,) float64 ndarray, image units
    spacing : float, least distance of two centres; components are no narrower than a bin
    low, high : float, extent of the values: the outer edges of the outer bins
    """

    x: np.ndarray
    spacing: float
    low: float
    high: float

    @property
    def least_variance(self) -> float:
        """Variance of a value anywhere within one bin."""
        return self.spacing**2 / 12

    def magnitude(self) -> np.ndarray:
        """Centres at which to take a density that rises from zero at zero.

        Of the bin at zero only the upper half can hold anything; its mass, spread over the
        whole bin, is the density at an eighth of the bin.
        """
        return np.where(self.x < 0, self.x, np.maximum(self.x, self.spacing / 8))


class Family:
    """What a family of components can do; the base is not a family itself.

    Attributes
    ----------
    name : str
    n_parameters : int, of each component by itself
    n_shared : int, of all components of the family together
    nonnegative : bool, whether values below zero are impossible
    """

    name = ""
    n_parameters = 0
    n_shared = 0
    nonnegative = False

    def log_density(self, bins: Bins, parameters: Parameters) -> np.ndarray:
        """Log density of each bin (B,), nats; minus infinity where there can be no value."""
        raise NotImplementedError

    def start(self, bins: Bins, weights: np.ndarray) -> Parameters:
        """Parameters from weights (B,) of the bins."""
        return self.update(bins, weights, None)

    def update(self, bins: Bins, weights: np.ndarray, parameters: Parameters | None) -> Parameters:
        """Parameters that are no less likely than ``parameters``."""
        raise NotImplementedError

    def mean(self, parameters: Parameters) -> float:
        """Mean of the component, image units."""
        raise NotImplementedError


class Gaussian(Family):
    """Normal distribution: ``mean`` and ``variance``."""

    name, n_parameters = "gaussian", 2

    def log_density(self, bins: Bins, parameters: Parameters) -> np.ndarray:
        """Log density of each bin."""
        variance = parameters["variance"]
        square = np.square(bins.x - parameters["mean"])
        return -0.5 * (square / variance + np.log(2 * np.pi * variance))

    def update(
        self,
        bins: Bins,
        weights: np.ndarray,
        parameters: Parameters | None,  # noqa: ARG002
    ) -> Parameters:
        """Weighted mean and variance."""
        mean, variance = moments(bins, weights)
        return {"mean": mean, "variance": max(variance, bins.least_variance)}

    def mean(self, parameters: Parameters) -> float:
        """Mean, image units."""
        return parameters["mean"]


class Rayleigh(Family):
    """Magnitude of complex noise without signal: ``scale``, the noise of either part [1]_.

    References
    ----------
    .. [1] Gudbjartsson & Patz (1995), *Magn. Reson. Med.* 34, 910-914, eq. 3,
       doi 10.1002/mrm.1910340618.
    """

    name, n_parameters, nonnegative = "rayleigh", 1, True

    def log_density(self, bins: Bins, parameters: Parameters) -> np.ndarray:
        """Log density of each bin."""
        return _log_rice(bins.magnitude(), 0.0, parameters["scale"])

    def update(
        self,
        bins: Bins,
        weights: np.ndarray,
        parameters: Parameters | None,  # noqa: ARG002
    ) -> Parameters:
        """Half of the weighted mean square is the square of the scale."""
        square = 0.5 * float(weights @ np.square(bins.magnitude()) / weights.sum())
        return {"scale": float(np.sqrt(max(square, bins.least_variance)))}

    def mean(self, parameters: Parameters) -> float:
        """Mean, image units."""
        return parameters["scale"] * float(np.sqrt(np.pi / 2))


class Rician(Family):
    """Magnitude of a signal with complex noise: ``signal`` and ``scale`` [1]_.

    The phase is taken as missing: its expected cosine, a ratio of Bessel functions, makes
    the update one of a complex Gaussian.

    References
    ----------
    .. [1] Gudbjartsson & Patz (1995), *Magn. Reson. Med.* 34, 910-914, eq. 1.
    """

    name, n_parameters, nonnegative = "rician", 2, True

    def log_density(self, bins: Bins, parameters: Parameters) -> np.ndarray:
        """Log density of each bin."""
        return _log_rice(bins.magnitude(), parameters["signal"], parameters["scale"])

    def start(self, bins: Bins, weights: np.ndarray) -> Parameters:
        """As if the noise were small, then a few updates."""
        mean, variance = moments(bins, weights)
        scale = float(np.sqrt(max(variance, bins.least_variance)))
        parameters = {"signal": max(mean, scale), "scale": scale}
        for _ in range(10):
            parameters = self.update(bins, weights, parameters)
        return parameters

    def update(self, bins: Bins, weights: np.ndarray, parameters: Parameters | None) -> Parameters:
        """One step of EM over the phase."""
        if parameters is None:
            return self.start(bins, weights)
        x, total = bins.magnitude(), weights.sum()
        # Below zero there is no weight; the Bessel functions are even and odd.
        z = x * parameters["signal"] / parameters["scale"] ** 2
        signal = float(weights @ (x * i1e(z) / i0e(z)) / total)
        square = 0.5 * (float(weights @ np.square(x) / total) - signal**2)
        return {"signal": signal, "scale": float(np.sqrt(max(square, bins.least_variance)))}

    def mean(self, parameters: Parameters) -> float:
        """Mean, image units."""
        half = 0.25 * (parameters["signal"] / parameters["scale"]) ** 2
        bessel = (1 + 2 * half) * i0e(half) + 2 * half * i1e(half)
        return parameters["scale"] * float(np.sqrt(np.pi / 2) * bessel)


class Poisson(Family):
    """Photon counts: ``rate``. Bins are whole numbers, one apart."""

    name, n_parameters, nonnegative = "poisson", 1, True

    def log_density(self, bins: Bins, parameters: Parameters) -> np.ndarray:
        """Log probability of each count."""
        with np.errstate(invalid="ignore"):
            value = bins.x * np.log(parameters["rate"]) - parameters["rate"] - gammaln(bins.x + 1)
        return np.where(bins.x < 0, -np.inf, value)

    def update(
        self,
        bins: Bins,
        weights: np.ndarray,
        parameters: Parameters | None,  # noqa: ARG002
    ) -> Parameters:
        """Weighted mean."""
        return {"rate": max(float(weights @ bins.x / weights.sum()), 1e-6)}

    def mean(self, parameters: Parameters) -> float:
        """Mean count."""
        return parameters["rate"]


class Uniform(Family):
    """Anything within the range of the values: a class for outliers. Nothing is fitted.

    Values beyond that range, in another image, are outliers all the more: the density goes on.
    """

    name = "uniform"

    def log_density(self, bins: Bins, parameters: Parameters) -> np.ndarray:
        """Log density of each bin."""
        return np.full(bins.x.shape, -np.log(parameters["high"] - parameters["low"]))

    def start(self, bins: Bins, weights: np.ndarray) -> Parameters:  # noqa: ARG002
        """The extent of the values."""
        return {"low": bins.low, "high": bins.high}

    def update(
        self,
        bins: Bins,
        weights: np.ndarray,  # noqa: ARG002
        parameters: Parameters | None,
    ) -> Parameters:
        """The extent stays."""
        return parameters or {"low": bins.low, "high": bins.high}

    def mean(self, parameters: Parameters) -> float:
        """Middle of the range."""
        return 0.5 * (parameters["low"] + parameters["high"])


def moments(bins: Bins, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and variance of the bins."""
    total = weights.sum()
    mean = float(weights @ bins.x / total)
    return mean, float(weights @ np.square(bins.x - mean) / total)


def _log_rice(x: np.ndarray, signal: float, scale: float) -> np.ndarray:
    """Log density of a magnitude; minus infinity below zero."""
    square = scale**2
    inside = x > 0
    at = np.where(inside, x, 1.0)
    value = np.log(at / square) - 0.5 * np.square(at - signal) / square
    if signal > 0:
        value += np.log(i0e(at * signal / square))
    return np.where(inside, value, -np.inf)
