"""The cosine field: its algebra against dense matrices, and shading found in simulated tissue."""

import numpy as np
import pytest
from simulated import SHAPE, small_atlas, small_lattice, start

from gmmseg.spatial import bias
from gmmseg.spatial.unified import UnifiedSettings, fit_unified


@pytest.fixture
def basis():
    return bias.cosine_basis((6, 7, 5), (4.0, 3.0, 5.0), cutoff_mm=20.0, stiffness=5.0)


def dense(basis):
    """(points, coefficients) matrix of the basis."""
    x, y, z = basis.axes
    full = np.einsum("ip,jq,kr->ijkpqr", x, y, z)
    return full.reshape(len(x) * len(y) * len(z), -1)


def test_field_and_projection_are_products_with_the_dense_basis(basis, rng):
    matrix = dense(basis)
    coefficients = rng.standard_normal(basis.precision.shape)
    weights = rng.standard_normal((6, 7, 5))
    field = basis.field(coefficients)
    np.testing.assert_allclose(field.ravel(), matrix @ coefficients.ravel(), atol=1e-12)
    projected = basis.project(weights)
    np.testing.assert_allclose(projected.ravel(), matrix.T @ weights.ravel(), atol=1e-12)


def test_the_normal_matrix_is_the_weighted_product_of_the_dense_basis(basis, rng):
    weights = rng.random((6, 7, 5))
    matrix = dense(basis)
    expected = matrix.T @ (weights.ravel()[:, None] * matrix)
    np.testing.assert_allclose(basis.normal_matrix(weights), expected, atol=1e-12)


def test_the_cosines_are_orthogonal_and_none_is_shorter_than_the_cut_off(basis):
    gram = basis.normal_matrix(np.ones((6, 7, 5)))
    np.testing.assert_allclose(gram, 210 * np.eye(len(gram)), atol=1e-10)
    for axis, mm in zip(basis.axes, (4.0, 3.0, 5.0), strict=True):
        n, q = axis.shape
        shortest = 2 * n * mm / (q - 1) if q > 1 else np.inf
        assert shortest > 20.0 - 1e-9


def test_a_newton_step_finds_the_field_of_a_quadratic_likelihood_at_once(basis, rng):
    """Ridge regression of a target on the basis, in closed form."""
    target, weights = rng.standard_normal((6, 7, 5)), rng.random((6, 7, 5))
    first = rng.standard_normal(basis.precision.shape)
    first[0, 0, 0] = 0.0
    slope = weights * (target - basis.field(first))
    found = first + bias.newton_step(basis, first, slope, weights)
    matrix = dense(basis)
    normal = matrix.T @ (weights.ravel()[:, None] * matrix) + np.diag(basis.precision.ravel())
    expected = np.linalg.solve(normal, matrix.T @ (weights * target).ravel())
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)


def test_a_field_between_the_lattice_points_goes_through_them(basis, rng):
    coefficients = rng.standard_normal(basis.precision.shape)
    halves = [np.arange(2 * n - 1) / 2 for n in (6, 7, 5)]
    fine = basis.resampled(halves).field(coefficients)
    np.testing.assert_allclose(fine[::2, ::2, ::2], basis.field(coefficients), atol=1e-12)


def test_rough_fields_and_offsets_are_held_back(basis):
    """The constant belongs to the class means, and the energy grows with frequency."""
    assert basis.precision[0, 0, 0] > 1e9
    energy = [basis.precision[k, 0, 0] for k in range(1, basis.precision.shape[0])]
    assert np.all(np.diff(energy) > 0)
    unit = np.zeros_like(basis.precision)
    unit[1, 0, 0] = 2.0
    assert bias.log_penalty(basis, unit) == pytest.approx(-2 * basis.precision[1, 0, 0])


def fitted_field(lattice, atlas):
    model, held = start(lattice, atlas)
    fit = fit_unified(lattice, atlas, model, held, UnifiedSettings(fit_displacement=False))
    field = fit.basis.field(fit.coefficients)
    return field - field.mean(), fit


def test_a_known_shading_of_simulated_tissue_is_recovered(rng):
    """Root mean square 1.25 % of the range, within 2 %; at the worst inner point 3 %, within 6 %.

    The shading is no combination of cosines, which are level at the border where it is not: the
    two outermost layers differ by more.
    """
    atlas = small_atlas(rng)
    x, y, z = (np.linspace(-1, 1, n) for n in SHAPE)
    shading = 0.15 * x[:, None, None] - 0.1 * (y**2)[:, None] + 0.1 * np.sin(2 * z)
    shading = shading + 0.05 * x[:, None, None] * z
    shading -= shading.mean()
    field, fit = fitted_field(small_lattice(rng, atlas, shading), atlas)
    span = np.ptp(shading)
    assert np.sqrt(np.mean((field + shading) ** 2)) < 0.02 * span
    inner = (slice(2, -2),) * 3
    assert np.abs(field + shading)[inner].max() < 0.06 * span
    assert np.diff(fit.objective).min() >= -1e-9


def test_where_there_is_no_shading_the_field_stays_flat(rng):
    """Its spread is .2 to .3 % of intensity, the noise of a voxel 5 %."""
    atlas = small_atlas(rng)
    field, _ = fitted_field(small_lattice(rng, atlas), atlas)
    assert np.std(field) < 0.005
