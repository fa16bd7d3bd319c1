"""Freedoms are given to the joint fit where the scan shows that it needs them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from simulated import MEANS, SHAPE, blurred, small_atlas, small_lattice

from gmmseg.checks import InputError
from gmmseg.settings import BrainSettings
from gmmseg.spatial import gaussians, intensity
from gmmseg.spatial.atlas import PARTS, TissueAtlas
from gmmseg.spatial.jointfit import STIFFNESS_BRAIN, decided_fit, start
from gmmseg.spatial.unified import UnifiedFit, UnifiedSettings, fit_unified


def scan(amplitude):
    """Lattice over an atlas that was bent by ``amplitude`` mm, and the atlas; no shading."""
    rng = np.random.default_rng(4)
    atlas = small_atlas(rng)
    true = amplitude * np.stack([blurred(rng, SHAPE, 6.0) for _ in range(3)], axis=-1)
    return small_lattice(rng, atlas, displacement=true), atlas


@pytest.fixture(scope="module")
def bent():
    return scan(4.0)


@pytest.fixture(scope="module")
def in_place():
    return scan(0.0)


def test_a_bent_atlas_is_deformed(bent):
    found = decided_fit(*bent, BrainSettings())
    assert found.deformation
    assert found.gain > found.freedom > 0
    assert found.fit.displacement.any()


def test_an_atlas_in_its_place_is_left_there(in_place):
    """Negative control: chance gains .8 of what the freedom costs; 1 mm would gain more than it."""
    found = decided_fit(*in_place, BrainSettings())
    assert not found.deformation
    assert 0 < found.gain < found.freedom
    assert not found.fit.displacement.any()


def test_the_user_has_the_last_word_on_the_deformation(bent, in_place):
    off = decided_fit(*bent, BrainSettings(deformation="off"))
    on = decided_fit(*in_place, BrainSettings(deformation="on"))
    assert not off.deformation
    assert not off.fit.displacement.any()
    assert on.deformation
    assert on.fit.displacement.any()
    assert np.isnan(off.gain)
    assert np.isnan(on.gain)


def test_a_pause_to_look_at_the_shading_changes_nothing(bent):
    """The fit goes on from where it was: the same as in one go, to the last bit but one."""
    lattice, atlas = bent
    settings = BrainSettings(bias="on", deformation="on")
    found = decided_fit(lattice, atlas, settings)
    model, prior = start(lattice, atlas, {"GM": 1, "WM": 1, "CSF": 1, "outside": 0})
    membrane, bending = STIFFNESS_BRAIN
    options = UnifiedSettings(membrane=membrane, bending=bending)
    whole = fit_unified(lattice, atlas, model, prior, options)
    assert np.diff(found.fit.objective).min() >= -1e-12
    assert found.fit.objective[-1] == pytest.approx(whole.objective[-1], abs=1e-9)
    np.testing.assert_allclose(found.fit.displacement, whole.displacement, atol=1e-4)


def two_contrasts(amplitude):
    """A scan half of which has less contrast, as the cerebellum may, shading of ``amplitude``, and
    white matter that varies besides; the atlas whose classes differ between the halves, and the
    one whose classes do not."""
    rng = np.random.default_rng(8)
    plain = small_atlas(rng)
    lattice = small_lattice(rng, plain)
    behind = np.indices(SHAPE)[0] >= SHAPE[0] // 2
    field, of_white = (blurred(rng, SHAPE, 7.0) for _ in range(2))
    white = lattice.values > 0.5 * (MEANS[0] + MEANS[1])
    values = np.where(behind, 33.4 + 0.543 * lattice.values, lattice.values)  # 130: 104, 95: 85
    values *= np.exp(np.where(white, 0.03 * of_white, 0))
    lattice = replace(lattice, values=values * np.exp(amplitude * field))
    return lattice, with_parts(plain, behind, ("cerebellar GM", "cerebellar WM")), plain


def with_parts(plain, where, parts):
    """An atlas whose grey or white matter belongs to parts of its own in some places."""
    names = (*plain.names[:3], *PARTS, "outside")
    maps = np.zeros((*SHAPE, len(names)), np.float32)
    maps[..., [0, 1, 2, -1]] = plain.maps
    for part in parts:
        whole = names.index(PARTS[part])
        maps[where, names.index(part)] = maps[where, whole]
        maps[where, whole] = 0
    labels = (0, 1, 2, *(int(whole == "WM") for whole in PARTS.values()), 3)
    return TissueAtlas(maps, plain.affine, names, labels, 3)


def test_a_part_with_a_contrast_of_its_own_is_no_shading():
    lattice, parts, plain = two_contrasts(0.0)
    found = decided_fit(lattice, parts, BrainSettings())
    assert not found.bias
    means = dict(zip(found.fit.model.owner.tolist(), found.fit.model.means, strict=True))
    for name, expected in {"WM": 130, "cerebellar WM": 104, "cerebellar GM": 85}.items():
        assert means[parts.names.index(name)] == pytest.approx(expected, rel=0.03)
    assert decided_fit(lattice, plain, BrainSettings()).bias  # negative control


def test_shading_is_seen_beside_a_part_with_a_contrast_of_its_own():
    lattice, parts, _ = two_contrasts(0.10)
    assert decided_fit(lattice, parts, BrainSettings()).bias


def test_shading_where_cortex_is_a_part_of_its_own_is_seen_as_without_the_part():
    """The part could take it for brightness of its own; white matter shows that it is none."""
    rng = np.random.default_rng(8)
    plain = small_atlas(rng)
    lattice = small_lattice(rng, plain)
    along = np.indices(SHAPE)[1] / (SHAPE[1] - 1)
    shaded = replace(lattice, values=lattice.values * np.exp(0.1 * expit(20 * (0.4 - along))))
    parted = with_parts(plain, along < 0.4, ["occipital GM"])
    settings = BrainSettings(deformation="off")
    seen, expected = (decided_fit(shaded, atlas, settings) for atlas in (parted, plain))
    assert seen.bias
    assert seen.shading.shared == pytest.approx(expected.shading.shared, rel=0.15)
    assert not decided_fit(lattice, parted, settings).bias  # negative control


def test_faint_shading_is_left_in_a_brain_alone_and_taken_off_a_head():
    """The same scan, shared over unshared variance 2.9, once with the atlas of a whole head."""
    lattice, alone, _ = two_contrasts(0.05)
    head = replace(alone, names=(*alone.names[:-1], "air"))
    settings = BrainSettings(deformation="off")
    brain, whole = (decided_fit(lattice, atlas, settings) for atlas in (alone, head))
    assert brain.shading.ratio == pytest.approx(whole.shading.ratio, rel=0.1)
    assert not brain.bias
    assert whole.bias


def held_at(lattice, atlas):
    """Where the mean of CSF is held from above, None where it is not, and where all start."""
    counts = {name: int(name != "outside") for name in atlas.names}
    model, prior = start(lattice, atlas, counts)
    csf = atlas.names.index("CSF")
    assert not np.delete(prior.caps, csf).any()
    return (prior.means[csf] if prior.caps[csf] else None), model.means


def test_csf_of_a_brain_alone_in_t1_is_held_to_be_darker_than_grey_matter(bent):
    lattice, atlas = bent
    assert atlas.names[:3] == ("GM", "WM", "CSF")
    held, (grey, white, _) = held_at(lattice, atlas)
    assert held == max(0.6 * grey, grey - 1.5 * (white - grey))
    offset, (grey, white, _) = held_at(replace(lattice, values=lattice.values + 1000), atlas)
    assert offset == grey - 1.5 * (white - grey)  # no share of what has no zero


def test_csf_of_heads_and_of_other_contrasts_is_held_by_nothing(bent):
    lattice, atlas = bent
    head = replace(atlas, names=(*atlas.names[:-1], "air"))
    inverted = replace(lattice, values=255 - lattice.values)
    assert held_at(lattice, head)[0] is None
    assert held_at(inverted, atlas)[0] is None


def test_a_class_has_as_many_gaussians_as_are_asked_for(bent):
    found = decided_fit(*bent, BrainSettings(gaussians={"WM": 3}))
    assert found.gaussians == {"GM": 1, "WM": 3, "CSF": 1, "outside": 0}
    assert np.bincount(found.fit.model.owner).tolist() == [1, 3, 1]
    assert np.diff(found.fit.objective).min() >= -1e-12


def test_gaussians_of_a_class_that_is_not_there_are_refused(bent):
    with pytest.raises(InputError, match=r"asked for of 'fat', and the classes .* GM, WM, CSF"):
        decided_fit(*bent, BrainSettings(gaussians={"fat": 2}))


def soft_tissue(weights, means, spreads):
    """Joint fit of one tissue and a class "soft" of three Gaussians, and samples of that class that
    follow the Gaussians given: 20000, without noise."""
    started = intensity.IntensityModel(
        owner=np.array([0, 1, 1, 1]),
        weights=np.array([1.0, 0.3, 0.4, 0.3]),
        means=np.array([300.0, 20.0, 60.0, 100.0]),
        group=np.arange(4),
        group_variances=np.array([100.0, 90.0, 90.0, 90.0]),
    )
    prior = intensity.IntensityPrior(
        started.means, np.zeros(4), np.zeros(4, bool), started.group_variances, 0.1, 1, 1.0
    )
    floor = np.full(2, 1e-7)
    table = intensity.tabulate(started, 0.0, 400.0, floor)
    y = table.grid
    truth = sum(
        w * np.exp(-0.5 * ((y - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        for w, m, s in zip(weights, means, spreads, strict=True)
    )
    counts = np.stack([20000 * table.width * table.density[:, 0], 20000 * table.width * truth])
    model = started
    for _ in range(400):  # all three at their best before any is taken away
        table = intensity.tabulate(model, 0.0, 400.0, floor)
        model = intensity.maximise(model, intensity.component_sums(model, table, counts), prior)
    table = intensity.tabulate(model, 0.0, 400.0, floor)
    unused = (None,) * 4  # field, displacement, labels
    return UnifiedFit(model, table, counts, *unused, np.zeros(1), 0.0, np.zeros(0), 1.0), prior


@pytest.mark.parametrize(
    ("weights", "means", "spreads"),
    [
        ([1.0], [60.0], [20.0]),
        ([0.5, 0.5], [40.0, 90.0], [8.0, 9.0]),
        ([0.3, 0.4, 0.3], [20.0, 60.0, 110.0], [5.0, 8.0, 6.0]),
    ],
)
def test_a_class_keeps_as_many_gaussians_as_its_samples_show(weights, means, spreads):
    fit, prior = soft_tissue(weights, means, spreads)
    leaner = gaussians.without_idle(fit, prior, [1])
    own = leaner.fit.model.owner == 1
    assert np.count_nonzero(own) == len(weights)
    np.testing.assert_allclose(np.sort(leaner.fit.model.means[own]), means, atol=0.5)
    np.testing.assert_allclose(leaner.fit.model.weights[own].sum(), 1)
    assert len(leaner.prior.means) == len(leaner.fit.model.means)
    assert leaner.lost < 1e-3


def test_classes_that_are_not_named_keep_their_gaussians():
    fit, prior = soft_tissue([1.0], [60.0], [20.0])
    assert gaussians.without_idle(fit, prior, []) == (fit, prior, 0.0)
