"""Images into labels with Gaussian mixture models."""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> module that defines it. Resolved on first use, so that importing
# gmmseg (and `gmmseg --help`) does not load numba, nibabel or matplotlib.
_PUBLIC = {
    "BrainSettings": "gmmseg.workflows.brain",
    "InputError": "gmmseg.checks",
    "Mixture": "gmmseg.mixture.model",
    "Segmentation": "gmmseg.segmentation",
    "segment_brain": "gmmseg.workflows.brain",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gmmseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
