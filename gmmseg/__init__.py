"""Images into labels with Gaussian mixture models."""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> module that defines it. Resolved on first use, so that importing
# gmmseg (and `gmmseg --help`) does not load numba, nibabel or matplotlib.
_PUBLIC = {
    "BayesianGaussianMixture": "gmmseg.mixture.estimator",
    "BrainSegmentation": "gmmseg.tissues",
    "BrainSettings": "gmmseg.settings",
    "GaussianMixture": "gmmseg.mixture.estimator",
    "InputError": "gmmseg.checks",
    "IntensitySegmentation": "gmmseg.intensities",
    "Mixture": "gmmseg.mixture.model",
    "Segmentation": "gmmseg.segmentation",
    "VariancePrior": "gmmseg.mixture.em",
    "brain_regions": "gmmseg.regions",
    "cuts": "gmmseg.mixture.histogram",
    "fit_histogram": "gmmseg.mixture.histogram",
    "plot_mixture": "gmmseg.plots",
    "predict_channels": "gmmseg.mixture.regression",
    "segment_brain": "gmmseg.workflows.brain",
    "segment_intensities": "gmmseg.workflows.threshold",
    "select_mixture": "gmmseg.mixture.select",
    "threshold_gmm": "gmmseg.workflows.threshold",
    "threshold_minimum_error": "gmmseg.workflows.threshold",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gmmseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
