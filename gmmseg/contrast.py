"""Which tissue is bright: the order of the class means that a scan's contrast asks for.

The model takes its start from where tissues lie, so that no contrast is built into it. What differs
is what a plausible result looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gmmseg.checks import InputError

ORDERS = {
    "t1": "rise from CSF over GM to WM",
    "t2": "fall from CSF over GM to WM",
    "pd": "have their lowest in WM, with CSF near GM",
}
"""How the mean intensities run in each contrast."""
AUTO = "auto"
LEAST_STEP, SAFE_STEP = 1.0, 2.25
"""Between the means of neighbouring tissues, in standard deviations. By intensity alone 31 and 13
voxels in a hundred are taken for the other tissue there: the tail of the normal distribution beyond
half of the step."""


def check(contrast: str) -> None:
    """Raise InputError unless ``contrast`` is a name that can be asked for."""
    if not isinstance(contrast, str) or (contrast != AUTO and contrast not in ORDERS):
        names = ", ".join((*ORDERS, AUTO))
        raise InputError(f"contrast must be one of {names}; got {contrast!r}.")


def recognised(means: Mapping[str, float]) -> str | None:
    """Contrast in which class means run in this order; None where there is none.

    Parameters
    ----------
    means : mapping of CSF, GM and WM to float, image units; None if one is missing

    Examples
    --------
    >>> recognised({"CSF": 40, "GM": 95, "WM": 130})
    't1'
    >>> recognised({"CSF": 200, "GM": 110, "WM": 80})
    't2'
    >>> recognised({"CSF": 105, "GM": 110, "WM": 80})
    'pd'
    >>> recognised({"CSF": 20, "GM": 110, "WM": 80})  # FLAIR
    """
    if len(means) < 3:
        return None
    csf, grey, white = (means[name] for name in ("CSF", "GM", "WM"))
    if csf < grey < white:
        return "t1"
    half = 0.5 * (grey - white)
    if not half > 0:
        return None
    if csf > grey + half:
        return "t2"
    return "pd" if csf > grey - half else None


def decide(asked: str, means: Mapping[str, float]) -> str | None:
    """Contrast of a scan: what was asked for, or with ``auto`` what its class means show."""
    return recognised(means) if asked == AUTO else asked


class Step(NamedTuple):
    """What class means show, and what they should at least."""

    name: str
    measured: float
    least: float
    unit: str
    message: str  # of a figure that is too small

    @property
    def passed(self) -> bool:
        """Whether the figure is large enough."""
        return self.measured >= self.least


def steps(
    contrast: str | None, means: Mapping[str, float], spreads: Mapping[str, float]
) -> tuple[Step, ...]:
    """The order of the class means, and if that is right the steps between them.

    Parameters
    ----------
    contrast : str, optional
        One of :data:`ORDERS`; None where it could not be told.
    means, spreads : mappings of CSF, GM and WM to mean and standard deviation, image units
        With one missing, as in an atlas of one's own, only T1 can be looked at; with two, nothing.

    Returns
    -------
    tuple of Step

    Examples
    --------
    >>> spreads = dict.fromkeys(("CSF", "GM", "WM"), 10.0)
    >>> for one in steps("t1", {"CSF": 40, "GM": 95, "WM": 130}, spreads):
    ...     print(one.name, one.measured, one.passed)
    order of class means 1.0 True
    contrast of GM and WM 3.5 True
    contrast of CSF and GM 5.5 True
    """
    known = [name for name in ("CSF", "GM", "WM") if name in means]
    shown = ", ".join(f"{name} {means[name]:.4g}" for name in known)
    if len(known) < 2 or (len(known) < 3 and contrast != "t1"):
        return ()
    if contrast is None:
        order, name = "run in the order of T1, T2 or PD weighting", "T1, T2 or PD"
    else:
        order, name = ORDERS[contrast], contrast.upper()
    if len(known) < 3:
        order = f"rise from {' over '.join(known)}"
        agrees = all(means[a] < means[b] for a, b in pairwise(known))
    else:
        agrees = contrast is not None and recognised(means) == contrast
    doubt = (
        f"The mean intensities ({shown}) do not {order}; the scan may not be "
        f"{name}-weighted, or not of a brain."
    )
    found = [Step("order of class means", float(agrees), 1.0, "1 if as it should be", doubt)]
    for one, other in (("GM", "WM"), ("CSF", "GM")):
        if not (agrees and {one, other} <= means.keys()):
            continue
        spread = max(spreads[one], spreads[other])
        step = abs(means[one] - means[other]) / spread if spread > 0 else np.inf
        if step < LEAST_STEP:
            doubt = (
                f"{one} and {other} hardly differ (means {means[one]:.4g} and {means[other]:.4g}, "
                f"standard deviation {spread:.3g}); what is called {one} and what {other} follows "
                f"the atlas more than the scan."
            )
        else:
            doubt = (
                f"Contrast is weak: {one} and {other} lie {step:.3g} standard deviations "
                f"apart ({SAFE_STEP:g} or more are wanted), and many voxels will be taken for "
                f"the other."
            )
        found.append(
            Step(
                f"contrast of {one} and {other}",
                float(step),
                SAFE_STEP,
                "standard deviations",
                doubt,
            )
        )
    return tuple(found)
