"""Where the intensities of a scan begin, if some of them are negative."""

import numpy as np

N_LOOKED_AT = 1_000_000  # values at most, for their quantiles


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
