"""What can be set for a segmentation, checked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np

from gmmseg import contrast
from gmmseg.checks import InputError

N_SWEEPS = 8
"""Sweeps of mean field over an image; each carries what a pixel knows two pixels further."""


@dataclass(frozen=True, slots=True)
class BrainSettings:
    """What can be set for :func:`gmmseg.segment_brain`.

    Attributes
    ----------
    mrf : float or "auto"
        Potts coupling, nats per neighbour; 0 turns the neighbourhood off, ``auto`` goes by the
        noise (:mod:`gmmseg.spatial.coupling`), and is 0 where held-out likelihood does not gain.
    bias_fwhm : float
        Shortest wavelength of the bias field, mm.
    bias : {"auto", "on", "off"}
        Estimate a bias field; ``auto`` keeps it where grey and white matter share the shading.
    deformation : {"auto", "on", "off"}
        Let the atlas deform; ``auto`` keeps that where the evidence is larger with it.
    gaussians : mapping of str to int
        How many Gaussians a class has, 1 to 6; those not named have one, and soft tissue (of a
        whole head) up to three, as the objective says.
    parts : bool
        Give parts of the packaged atlas an intensity of their own: thalamus, putamen, pallidum,
        brainstem, grey and white matter of the cerebellum, occipital cortex.
    contrast : str
        "t1", "t2", "pd", or "auto" to tell by the class means; only doubts depend on it.
    stripped : bool, optional
        The scan shows the brain alone; None recognises it.
    pve : bool
        Also estimate how much of each voxel is which tissue.
    threads : int, optional
        Of the compiled kernels; None takes all there are.
    atlas, atlas_names : tuple of str
        Tissue maps to use in place of the packaged ones, and their names; see
        :func:`gmmseg.atlasfiles.find_maps`.

    Raises
    ------
    InputError
        If a setting is of the wrong kind or out of range.
    """

    mrf: float | str = "auto"
    bias_fwhm: float = 60.0
    bias: str = "auto"
    deformation: str = "auto"
    gaussians: Mapping[str, int] = field(default_factory=dict)
    parts: bool = True
    contrast: str = "t1"
    stripped: bool | None = None
    pve: bool = False
    threads: int | None = None
    atlas: tuple[str, ...] = ()
    atlas_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        contrast.check(self.contrast)
        if not (_is_word(self.mrf, "auto") or (_is_real(self.mrf) and 0 <= self.mrf <= 10)):
            raise InputError(f"mrf must be auto or lie between 0 and 10; got {self.mrf!r}.")
        for name, value in (("bias", self.bias), ("deformation", self.deformation)):
            if not _is_word(value, "auto", "on", "off"):
                raise InputError(f"{name} must be auto, on or off; got {value!r}.")
        for name in ("parts", "pve"):
            if not _is_flag(getattr(self, name)):
                raise InputError(f"{name} must be True or False; got {getattr(self, name)!r}.")
        if not (self.stripped is None or _is_flag(self.stripped)):
            raise InputError(f"stripped must be True, False or None; got {self.stripped!r}.")
        if not isinstance(self.gaussians, Mapping):
            raise InputError(
                f"gaussians must be a mapping of classes to numbers, such as {{'GM': 2}}; "
                f"got {self.gaussians!r}."
            )
        for name, number in self.gaussians.items():
            if not isinstance(name, str):
                raise InputError(f"gaussians must name classes, such as 'GM'; got {name!r}.")
            if not (_is_whole(number) and 1 <= number <= 6):
                raise InputError(f"gaussians must be 1 to 6 for each class; got {name}={number!r}.")
        object.__setattr__(self, "gaussians", dict(self.gaussians))
        if self.threads is not None and not (_is_whole(self.threads) and self.threads >= 1):
            raise InputError(f"threads must be 1 or more; got {self.threads!r}.")
        if not (_is_real(self.bias_fwhm) and 30 <= self.bias_fwhm <= 300):
            raise InputError(f"bias_fwhm must lie between 30 and 300 mm; got {self.bias_fwhm!r}.")
        for name in ("atlas", "atlas_names"):
            object.__setattr__(self, name, _words(name, getattr(self, name)))


def _is_word(value: Any, *words: str) -> bool:
    return isinstance(value, str) and value in words


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_real(value: Any) -> TypeGuard[float]:
    """Whether it is a number, NumPy's included; a bool is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _words(name: str, value: Any) -> tuple[str, ...]:
    """Paths or names as str; a single one is not taken for a sequence of letters."""
    many = [value] if isinstance(value, str | os.PathLike) else value
    if isinstance(many, Sequence) and all(isinstance(one, str | os.PathLike) for one in many):
        return tuple(map(os.fspath, many))
    raise InputError(f"{name} must be a sequence of str, one for each map; got {value!r}.")


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """What can be set for :func:`gmmseg.segment_intensities`, which explains each.

    Raises
    ------
    InputError
        If a setting is out of range, or does not go with another.
    """

    classes: int | str = "auto"
    dark: bool = False
    smooth: float = 0.0
    neighbours: int | None = None
    edges: bool = False
    method: str = "mean_field"
    illumination: str | None = None  # "auto" with `local`, else "off"
    local: bool = False
    families: Sequence[str] | str | None = None
    features: tuple[str, ...] = ("intensity",)
    superpixels: int | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.classes, int) and not isinstance(self.classes, bool)
        if self.classes != "auto" and not (whole and 2 <= int(self.classes) <= 50):
            raise InputError(f"classes must be auto or 2 to 50; got {self.classes!r}.")
        if not 0 <= self.smooth <= 10:
            raise InputError(f"smooth must lie between 0 and 10; got {self.smooth:g}.")
        if self.illumination is None:
            object.__setattr__(self, "illumination", "auto" if self.local else "off")
        if self.illumination not in ("auto", "off"):
            raise InputError(f"illumination must be auto or off; got {self.illumination!r}.")
        if self.method not in ("mean_field", "icm", "graph_cut"):
            raise InputError(f"method must be mean_field, icm or graph_cut; got {self.method!r}.")
        if self.superpixels is not None and not self.superpixels >= 2:
            raise InputError(f"superpixels must be 2 or more; got {self.superpixels}.")
        if self.local and self.classes not in (2, "auto"):
            raise InputError(
                f"local thresholds part two classes; got classes={self.classes}. Leave out local, "
                f"or ask for two."
            )
        if self.local and self.families is not None:
            raise InputError("local and families cannot be combined; leave one of them out.")
