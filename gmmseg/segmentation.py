"""What every segmentation gives back: labels, how sure they are, and the mixture behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from gmmseg.mixture.pooled import class_averages, class_spreads

if TYPE_CHECKING:
    from gmmseg.mixture.model import Mixture


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Segmentation:
    """Labels of an image; arrays are read-only.

    ``posteriors`` sum to one where there is a label to give and to zero elsewhere.
    """

    labels: np.ndarray  # grid of the image, uint8
    posteriors: np.ndarray  # the grid, then K classes; float32
    names: tuple[str, ...]  # of the K classes
    mixture: Mixture  # Gaussians of the intensities
    component_names: tuple[str, ...]  # class of each component of `mixture`
    objective: np.ndarray  # (T,) float64, of the fit, nats per voxel or pixel that it saw
    decisions: Mapping[str, object]  # what automatic settings came to
    settings: Any  # what the workflow was told; a frozen dataclass
    warnings: tuple[str, ...] = ()
    uncertainty: np.ndarray | None = None  # the grid, float32, entropy in nats

    def __post_init__(self) -> None:
        freeze(self, "objective", np.asarray(self.objective, dtype=np.float64))
        for field in ("labels", "posteriors", "uncertainty"):
            if getattr(self, field) is not None:
                freeze(self, field, getattr(self, field))

    def __repr__(self) -> str:
        """Size and classes; the arrays would fill pages."""
        size, names = "x".join(map(str, self.labels.shape)), ", ".join(self.names)
        return f"<{type(self).__name__} of {size}: {names}; warnings: {len(self.warnings)}>"

    def entropy(self) -> np.ndarray:
        """Entropy of each posterior on the grid, float32 in nats, 0 where there is no label.

        "Outside" is a class beside the others where the segmentation kept its probability;
        otherwise the named classes alone count.
        """
        if self.uncertainty is not None:
            return self.uncertainty
        return np.asarray(special.entr(self.posteriors).sum(axis=-1), dtype=np.float32)

    def class_mean(self, name: str) -> float:
        """Mean intensity of a class, over its Gaussians; NaN if it has none."""
        mixture, others = self.mixture, self._others(name)
        return float(class_averages(mixture.means[:, 0], mixture.weights, others, 2)[0])

    def class_spread(self, name: str) -> float:
        """Standard deviation of the intensities of a class, its Gaussians together; NaN if none."""
        mixture, others = self.mixture, self._others(name)
        means, variances = mixture.means[:, 0], mixture.covariances[:, 0, 0]
        return float(class_spreads(means, variances, mixture.weights, others, 2)[0])

    def _others(self, name: str) -> np.ndarray:
        """0 for each Gaussian of a class, 1 for all others."""
        return np.array([owner != name for owner in self.component_names], dtype=np.int64)


def freeze(owner: object, field: str, array: np.ndarray) -> None:
    """Give a frozen dataclass a read-only view of an array."""
    view = array.view()
    view.flags.writeable = False
    object.__setattr__(owner, field, view)
