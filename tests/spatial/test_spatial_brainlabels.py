"""From a joint fit to labels: every voxel of a known brain, or one clear sentence."""

import numpy as np
import pytest
from simulated import SHAPE, small_fit, small_lattice

from gmmseg import InputError
from gmmseg.spatial.brainlabels import label_brain
from gmmseg.spatial.coupling import automatic_strength, mislabelled
from gmmseg.spatial.temperature import field_temperature

MM = np.full(3, 4.0)


@pytest.fixture(scope="module")
def fitted():
    """A fit, an image of tissues in patches, and a mask of 5000 voxels of it."""
    rng = np.random.default_rng(8)
    fit, lattice, atlas = small_fit(rng, fit_bias=False)
    patches = small_lattice(rng, atlas, patch=1.5).values
    mask = np.zeros(SHAPE, bool)
    mask[5:25, 5:30, 9:19] = True
    return patches.astype(np.float32), mask, (lattice, fit, atlas)


def test_all_of_a_known_brain_is_labelled_and_nothing_else(fitted):
    values, mask, rest = fitted
    found = label_brain(values, mask, MM, *rest, None)
    np.testing.assert_array_equal(found.labels > 0, mask)
    np.testing.assert_allclose(found.posteriors.sum(-1), mask, atol=1e-5)
    assert found.posteriors.argmax(-1)[mask].tolist() == (found.labels[mask] - 1).tolist()
    assert not found.entropy[~mask].any()
    assert np.diff(found.bound).min() > -1e-6


def test_the_coupling_that_is_asked_for_is_used_or_else_that_of_the_noise(fitted):
    values, mask, rest = fitted
    alone, chosen = (label_brain(values, mask, MM, *rest, beta) for beta in (0.0, None))
    model = rest[1].model
    share = mislabelled(chosen.noise, model.means, np.sqrt(model.variances))
    assert share > 0.01
    assert chosen.mislabelled == alone.mislabelled == share
    assert (alone.strength, chosen.strength) == (0.0, automatic_strength(share))
    assert (alone.posteriors != chosen.posteriors)[mask].any()
    assert alone.noise == chosen.noise


def test_the_temperature_softens_posteriors_and_leaves_contacts_to_the_field(fitted):
    values, mask, rest = fitted
    found = label_brain(values, mask, MM, *rest, 0.5)
    assert found.temperature == field_temperature(0.5)
    soft = found.posteriors[mask].astype(np.float64)
    field = soft**found.temperature
    field /= field.sum(axis=-1, keepdims=True)
    pair = [float((q[:, 0] * q[:, 1]).sum()) for q in (field, soft)]
    assert found.contacts[0, 1] == pytest.approx(pair[0], rel=1e-3)
    assert pair[1] > 1.1 * pair[0]


def test_neighbours_that_know_nothing_are_not_listened_to(fitted):
    """Tissue drawn from the prior for each voxel by itself: no field of neighbours is in it."""
    patches, mask, rest = fitted
    alone = rest[0].values.astype(np.float32)
    found = label_brain(alone, mask, MM, *rest, None)
    assert found.gain < 0
    assert found.strength == 0
    assert label_brain(patches, mask, MM, *rest, None).gain > 0
    assert label_brain(alone, mask, MM, *rest, 0.5).strength == 0.5  # asked for, so used


def test_next_to_no_brain_is_refused(fitted):
    values, mask, rest = fitted
    few = mask.copy()
    few[6:] = False
    with pytest.raises(InputError, match=r"^Only 250 brain voxels were found .* 3000 are needed"):
        label_brain(values, few, MM, *rest, None)


def test_missing_voxels_of_a_known_brain_get_a_label_too(fitted):
    values, mask, rest = fitted
    holed = values.copy()
    holed[10, 10, 10] = np.nan
    found = label_brain(holed, mask, MM, *rest, None)
    assert found.labels[10, 10, 10] > 0
    assert np.isfinite(found.posteriors).all()
