"""Colours of classes of intensity that people with any colour vision can tell apart."""

from __future__ import annotations

BACKGROUND, FOREGROUND = "#56b4e9", "#d55e00"
"""Okabe and Ito's sky blue and vermilion."""


def shades(n_classes: int) -> list[str]:
    """Colours of the classes: of two, background and foreground; of more, rising in brightness.

    >>> shades(2)
    ['#56b4e9', '#d55e00']
    """
    if n_classes <= 2:
        return [BACKGROUND, FOREGROUND][:n_classes]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    steps = [0.12 + 0.84 * k / (n_classes - 1) for k in range(n_classes)]
    return [to_hex(colormaps["plasma"](step)) for step in steps]
