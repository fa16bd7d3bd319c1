"""Mixture, shading and displacement estimated together: the objective, and what is recovered."""

from dataclasses import replace

import numpy as np
import pytest
from simulated import MEANS, NOISE, SHAPE, blurred, small_atlas, small_lattice, start

from gmmseg.spatial.intensity_pass import field_derivatives
from gmmseg.spatial.unified import UnifiedSettings, _Joint, fit_unified


@pytest.fixture(scope="module")
def everything():
    """A fit of all blocks to tissue that is both shaded and displaced, and its truth."""
    rng = np.random.default_rng(11)
    atlas = small_atlas(rng)
    shading = 0.1 * blurred(rng, SHAPE, 9.0)
    true = 3.0 * np.stack([blurred(rng, SHAPE, 6.0) for _ in range(3)], axis=-1)
    lattice = small_lattice(rng, atlas, shading, true)
    model, held = start(lattice, atlas)
    fit = fit_unified(lattice, atlas, model, held, UnifiedSettings())
    return fit, shading, lattice, (atlas, model, held)


def test_no_step_lowers_the_objective(everything):
    """Exact EM on rounded values, and other steps taken only uphill: what is left is the rounding
    of sums in double precision, some 1e-14 of the objective."""
    fit, *_ = everything
    assert len(fit.objective) > 20
    assert np.diff(fit.objective).min() >= -1e-12
    assert fit.objective[-1] > fit.objective[0] + 0.1


def test_no_step_lowers_the_objective_on_a_whole_head(sample_result):
    assert len(sample_result.objective) > 10
    assert np.diff(sample_result.objective).min() >= -1e-12


def test_the_slope_of_the_objective_along_the_field_is_the_one_that_steps_are_made_of(everything):
    """With samples in one half only, so that the Jacobian of the correction does not cancel.

    Values are rounded to a grid, which limits what finite differences can tell.
    """
    _, _, lattice, (atlas, model, held) = everything
    used = np.arange(SHAPE[0])[:, None, None] < SHAPE[0] // 2 + np.zeros(SHAPE)
    joint = _Joint(replace(lattice, used=used), atlas, model, held, UnifiedSettings())
    joint._expect()
    table, derivatives = joint.table, np.empty((2, joint.n))
    field_derivatives(
        joint.rows, joint.class_prior, table.density, table.slope, table.curvature, derivatives
    )
    slope = np.zeros(SHAPE)
    slope[used] = derivatives[0]
    expected = joint.basis.project(slope)[1, 0, 0]
    jacobian = joint.basis.project(used.astype(float))[1, 0, 0]

    def objective(coefficient):
        coefficients = np.zeros_like(joint.coefficients)
        coefficients[1, 0, 0] = coefficient  # the prior cancels in the difference
        joint._correct_by(coefficients)
        return joint._expect() * joint.n

    numeric = (objective(0.002) - objective(-0.002)) / 0.004
    assert abs(jacobian) > 0.8 * joint.n
    assert abs(numeric - expected) < 0.05 * abs(jacobian)


def test_class_means_and_noise_are_recovered_through_shading_and_displacement(everything):
    """Means up to a common factor, which shading and means share; noise relative to them."""
    fit, *_ = everything
    unit = fit.model.means.mean() / MEANS.mean()
    np.testing.assert_allclose(fit.model.means / unit, MEANS, atol=1.0)
    np.testing.assert_allclose(np.sqrt(fit.model.variances) / unit, NOISE, rtol=0.2)


def test_the_shading_is_recovered_beside_the_displacement(everything):
    fit, shading, *_ = everything
    field = fit.basis.field(fit.coefficients)
    left = field + shading
    assert np.std(left) < 0.03 * np.ptp(shading)


def test_each_block_adds_to_the_objective(everything):
    fit, _, lattice, (atlas, model, held) = everything
    for off in ("fit_bias", "fit_displacement"):
        without = fit_unified(lattice, atlas, model, held, UnifiedSettings(**{off: False}))
        assert fit.objective[-1] > without.objective[-1] + 0.003
    assert not without.displacement.any()


def test_the_same_input_gives_the_same_fit_to_the_last_bit(everything):
    fit, _, lattice, (atlas, model, held) = everything
    again = fit_unified(lattice, atlas, model, held, UnifiedSettings())
    np.testing.assert_array_equal(again.objective, fit.objective)
    np.testing.assert_array_equal(again.displacement, fit.displacement)
