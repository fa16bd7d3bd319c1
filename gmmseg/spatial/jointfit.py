"""The joint fit with those of its parts that the scan has use for.

Bias field, deformation and more than one Gaussian for a class are freedoms. Each is given where the
scan shows that it is needed, or where the user says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gmmseg.checks import InputError
from gmmseg.settings import BrainSettings
from gmmseg.spatial import gaussians, unified
from gmmseg.spatial.atlas import PARTS, TissueAtlas
from gmmseg.spatial.customatlas import FLUID
from gmmseg.spatial.intensity import IntensityModel, IntensityPrior, starting_model
from gmmseg.spatial.lattice import Lattice, prior_at
from gmmseg.spatial.shading import Shading, shading

QUANTILES: dict[str, tuple[float, ...]] = {
    "bone": (0.3,), "soft": (0.15, 0.5, 0.85), "air": (0.1,), "outside": (),
}  # fmt: skip
"""At which quantiles of its voxels the Gaussians of a class start; all others have one, in the
middle. Much of what lies where air may be is scalp, and air that starts there may stay."""
VARIANCE_SAMPLES = 20.0
MEAN_SHARE, TIE_SHARE = 0.3, 0.15
"""What the priors on a mean (bone's, CSF's) and on the variances of tissues are worth, as shares
of the brain's lattice points."""
CSF_OVER_GREY, CSF_BELOW_GREY = 0.6, 1.5
"""How bright CSF may be in a brain alone: that share of grey matter, or grey matter less so many
steps from there to white matter, whichever is brighter. Thirteen whole heads have it at .36 to .58,
and .5 to 1.9 steps below; the second keeps images with an offset from losing their CSF."""
STIFFNESS_HEAD, STIFFNESS_BRAIN = (0.5, 3.0), (0.05, 1.0)
"""Membrane and bending energy of the displacement. A known brain mask anchors it; without one, a
loose atlas finds different optima from nearly equal starts."""
RATIO, RATIO_OF_HEAD, RATIO_OF_BRAIN = 0.85, 0.5, 3.7
"""Variance that GM and WM share over that they do not, from which a bias field is kept: where
brainstem and cerebellum count as unshared variation; where they are classes of their own, in a
whole head and in a brain without one. A brain alone has often been corrected before, and a field
that is not needed costs it a hundredth of Dice; it costs a head next to nothing."""
LOOK = 8  # rounds of the joint fit after which that is looked at first


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """A joint fit, and what was decided on the way to it.

    Attributes
    ----------
    fit : UnifiedFit
    bias, deformation : bool, whether there is a bias field, a displacement
    shading : Shading, that the decision on the bias field goes by
    gain : float
        By how much the penalised log-likelihood is larger with a displacement, nats per sample;
        NaN where nobody asked.
    freedom : float
        What the freedom of the displacement costs, nats per sample; it is kept where it gains more.
    gaussians : mapping of class to how many it has
    held : bool, whether CSF would be brighter if its mean were not held
    """

    fit: unified.UnifiedFit
    bias: bool
    deformation: bool
    shading: Shading
    gain: float
    freedom: float
    gaussians: Mapping[str, int]
    held: bool

    def summary(self) -> dict[str, object]:
        """What was decided, and by what figures, for the record."""
        lengths = np.linalg.norm(self.fit.displacement, axis=-1)
        return {
            "bias field": self.bias,
            "shading shared by GM and WM": round(float(np.sqrt(max(self.shading.shared, 0.0))), 4),
            "variation not shared": round(float(np.sqrt(self.shading.apart)), 4),
            "deformation": self.deformation,
            "deformation gains nats": round(self.gain, 4) if np.isfinite(self.gain) else None,
            "deformation costs nats": round(self.freedom, 4),
            "largest displacement mm": round(float(lengths.max()), 2),
            "Gaussians": {name: n for name, n in self.gaussians.items() if n},
            "CSF held dark": self.held,
        }


def decided_fit(lattice: Lattice, atlas: TissueAtlas, settings: BrainSettings) -> Decided:
    """Fit mixture, bias field and displacement, without what is not worth its freedom.

    A bias field is kept where grey and white matter share the shading, a Gaussian where the
    objective gains more by it than half the log of its class's samples for each parameter
    (Schwarz 1978, doi 10.1214/aos/1176344136), a displacement where the objective gains more than
    the Occam factor (MacKay 1992, doi 10.1162/neco.1992.4.3.415).

    Parameters
    ----------
    lattice : Lattice
    atlas : TissueAtlas, without the head where the brain is known
    settings : BrainSettings

    Returns
    -------
    Decided

    Raises
    ------
    InputError
        If Gaussians are asked for of a class that the atlas has not.
    """
    asked = _asked(atlas, settings.gaussians)
    counts = {name: len(QUANTILES.get(name, (0.5,))) for name in atlas.names} | asked
    free = [k for k, name in enumerate(atlas.names) if counts[name] > 1 and name not in asked]
    model, prior = start(lattice, atlas, counts)
    membrane, bending = STIFFNESS_HEAD if "outside" not in atlas.names else STIFFNESS_BRAIN
    options = unified.UnifiedSettings(
        bias_cutoff_mm=settings.bias_fwhm,
        fit_bias=settings.bias != "off",
        fit_displacement=settings.deformation != "off",
        membrane=membrane,
        bending=bending,
    )
    fit = unified.fit_unified(lattice, atlas, model, prior, replace(options, max_rounds=LOOK))
    shade, least = _shading(lattice, fit, atlas), _least_ratio(atlas)
    if settings.bias != "auto" or shade.ratio >= 0.5 * least:  # else it is clear already
        rest = replace(options, max_rounds=options.max_rounds - LOOK)
        further = unified.fit_unified(lattice, atlas, fit.model, prior, rest, fit)
        fit = replace(further, objective=np.concatenate([fit.objective, further.objective]))
        shade = _shading(lattice, fit, atlas)
    bias = settings.bias == "on" or (settings.bias == "auto" and shade.ratio >= least)
    leaner = gaussians.without_idle(fit, prior, free)
    if bias != options.fit_bias or leaner.lost > options.tol:
        options = replace(options, fit_bias=bias)
        fit = unified.fit_unified(
            lattice, atlas, leaner.fit.model, leaner.prior, options, leaner.fit
        )
    else:
        fit = leaner.fit
    gain, freedom, deformation = np.nan, fit.freedom, options.fit_displacement
    if settings.deformation == "auto":
        still = replace(options, fit_displacement=False)
        rigid = unified.fit_unified(lattice, atlas, fit.model, leaner.prior, still, fit)
        gain = float(fit.objective[-1] - rigid.objective[-1])
        deformation = gain > freedom
        fit = fit if deformation else rigid
    numbers = np.bincount(fit.model.owner, minlength=len(atlas.names)).tolist()
    kept = dict(zip(atlas.names, numbers, strict=True))
    above = fit.model.means > leaner.prior.means
    held = bool((leaner.prior.caps & above).any())
    return Decided(fit, bias, deformation, shade, gain, freedom, kept, held)


def start(
    lattice: Lattice, atlas: TissueAtlas, counts: Mapping[str, int]
) -> tuple[IntensityModel, IntensityPrior]:
    """Where the mixture starts, and what holds its parameters.

    Bone is darker than any tissue in any contrast; without that it may turn into scalp and leave
    its place to CSF. CSF that was stripped off with the skull leaves its place to the rim of the
    cortex; in a brain alone the class is held to be as dark as CSF is. Tissues share much of their
    variance: see :mod:`gmmseg.spatial.intensity`.
    """
    prior = prior_at(lattice, atlas)
    values, outside = lattice.values[lattice.used], lattice.outside[lattice.used]
    levels = [_levels(name, counts[name]) for name in atlas.names]
    model = starting_model(values, prior, outside, levels, atlas.n_inside)
    n_brain = float(prior[~outside, : atlas.n_inside].sum(dtype=np.float64))
    means, samples = model.means.copy(), np.zeros(len(model.means))
    caps = np.zeros(len(means), bool)
    inside = model.owner < atlas.n_inside
    if "bone" in atlas.names:
        bone = model.owner == atlas.names.index("bone")
        air = means[model.owner == atlas.names.index("air")].min()
        tissue = inside | np.isin(model.owner, [k for k, n in enumerate(atlas.names) if n == FLUID])
        # What lies where air may be is mostly scalp: no reason to lift bone above its own start.
        means[bone] = np.minimum(means[bone], 0.5 * (air + means[tissue].min()))
        samples[bone] = MEAN_SHARE * n_brain
    if "outside" in atlas.names and {"CSF", "GM", "WM"} <= set(atlas.names):
        csf, grey, white = (atlas.names.index(name) for name in ("CSF", "GM", "WM"))
        g, w = model.class_means(len(atlas.names))[[grey, white]]
        if w > g:  # as in T1
            caps = model.owner == csf
            means[caps] = max(CSF_OVER_GREY * g, g - CSF_BELOW_GREY * (w - g))
            samples[caps] = MEAN_SHARE * n_brain
    return model, IntensityPrior(
        means=means,
        mean_samples=samples,
        caps=caps,
        variances=model.group_variances,
        variance_samples=VARIANCE_SAMPLES,
        n_tied=int(np.count_nonzero(inside)),
        tie_samples=TIE_SHARE * n_brain,
    )


def _asked(atlas: TissueAtlas, gaussians: Mapping[str, int]) -> dict[str, int]:
    """How many Gaussians the user wants, by the name of the class; spaces in it do not count."""
    having = [name for name in atlas.names if QUANTILES.get(name, (0.5,))]
    spelled = {name.replace(" ", ""): name for name in having}
    asked = {}
    for word, number in gaussians.items():
        name = spelled.get(word.replace(" ", ""))
        if name is None:
            raise InputError(
                f"Gaussians were asked for of {word!r}, and the classes of this scan's model are "
                f"{', '.join(spelled)}."
            )
        asked[name] = number
    return asked


def _levels(name: str, count: int) -> tuple[float, ...]:
    """Quantiles of a class at which its Gaussians start."""
    usual = QUANTILES.get(name, (0.5,))
    return usual if len(usual) == count else tuple((np.arange(count) + 0.5) / count)


def _shading(lattice: Lattice, fit: unified.UnifiedFit, atlas: TissueAtlas) -> Shading:
    """What cortical grey and white matter tell about shading, on the lattice.

    Parts with an intensity of their own are first brought to that of their class. An atlas without
    these two classes cannot tell; all that there is then counts as shading.
    """
    cortex = "CGM" if "CGM" in atlas.names else "GM"
    if cortex not in atlas.names or "WM" not in atlas.names:
        return Shading(np.inf, 1.0)
    grey, white = (fit.labels == atlas.names.index(name) for name in (cortex, "WM"))
    values, means = lattice.values, fit.model.class_means(len(atlas.names))
    for part, whole in PARTS.items():
        if part in atlas.names and whole in (cortex, "WM"):
            here = fit.labels == atlas.names.index(part)
            ours, theirs = (means[atlas.names.index(name)] for name in (part, whole))
            values = np.where(here, values * (theirs / ours), values)
            (grey if whole == cortex else white)[here] = True
    return shading(values, grey, white, lattice.spacing)


def _least_ratio(atlas: TissueAtlas) -> float:
    """From which ratio of the two variances a bias field is kept."""
    if not set(PARTS) <= set(atlas.names):
        return RATIO
    return RATIO_OF_BRAIN if "outside" in atlas.names else RATIO_OF_HEAD
