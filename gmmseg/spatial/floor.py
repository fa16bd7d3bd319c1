"""Where the intensities of a scan begin, and what they are counted in."""

import numpy as np

N_LOOKED_AT = 1_000_000  # values or somewhat more, for their quantiles
USUAL = 2.0**-10, 2.0**20  # brightest values whose squares and densities float32 holds with ease
FAR_ABOVE = 2.0  # times the range of a scan: so far above 0, all of it is raised by a constant


def fitting_unit(values: np.ndarray) -> float:
    """What to divide intensities by, so that neither they nor their squares leave float32.

    A power of two, which changes no digit of them; 1 for all scanners.

    Parameters
    ----------
    values : float ndarray, image units; NaN where missing

    Returns
    -------
    float, image units

    >>> [fitting_unit(np.linspace(0, top, 100)) for top in (1.0, 4095.0, 1e6)]
    [1.0, 1.0, 1.0]
    >>> fitting_unit(np.linspace(0, 1e30, 100)) == 2.0**93
    True
    """
    few = np.abs(values.ravel()[:: max(1, values.size // N_LOOKED_AT)])
    known = few[np.isfinite(few) & (few > 0)]
    if not known.size:
        return 1.0
    bright = float(np.quantile(known, 0.99))
    if USUAL[0] <= bright <= USUAL[1]:
        return 1.0
    return float(2.0 ** np.round(np.log2(bright / 128.0)))


def negative_floor(values: np.ndarray) -> float:
    """Lowest intensity of a scan that has negative ones, stray values and padding left out.

    These lie further below all the others than the others are apart.

    Parameters
    ----------
    values : float ndarray, image units; NaN where missing

    Returns
    -------
    float, 0 or less

    >>> negative_floor(np.linspace(-1.0, 5.0, 1000)), negative_floor(np.linspace(1.0, 5.0, 1000))
    (-1.0, 0.0)
    >>> negative_floor(np.append(np.linspace(0.0, 5.0, 1000), [-1000.0] * 500))
    0.0
    """
    known = values[np.isfinite(values)]
    lowest = float(known.min()) if known.size else 0.0
    if lowest >= 0:
        return 0.0
    rest = known[known > lowest]
    if not rest.size:
        return lowest
    low, high = np.quantile(rest[:: max(1, rest.size // N_LOOKED_AT)], [0.001, 0.99])
    return min(float(low), 0.0) if low - lowest > high - low else lowest


def raised_floor(values: np.ndarray) -> float:
    """Lowest intensity of a scan that lies far above 0 throughout; 0 of any other.

    Shading multiplies what a scanner measures, not a constant that was added since. Zeros that were
    filled in afterwards, where nothing was measured, do not count.

    Parameters
    ----------
    values : float ndarray, image units, none below 0; NaN where missing

    Returns
    -------
    float, 0 or more

    >>> raised_floor(np.linspace(1e5, 1e5 + 300, 100)), raised_floor(np.linspace(20, 120, 100))
    (100000.0, 0.0)
    >>> raised_floor(np.append(np.linspace(1e5, 1e5 + 300, 100), np.zeros(20)))
    100000.0
    >>> raised_floor(np.repeat([0.0, 1.0], 50))
    0.0
    """
    few = values.ravel()[:: max(1, values.size // N_LOOKED_AT)]
    few = few[few > 0]
    if not few.size:
        return 0.0
    high = float(np.quantile(few, 0.99))
    if high == few.min() or few.min() <= FAR_ABOVE * (high - few.min()):  # of nearly all scans
        return 0.0
    lowest = float(values[values > 0].min())
    return lowest if lowest > FAR_ABOVE * (high - lowest) else 0.0
