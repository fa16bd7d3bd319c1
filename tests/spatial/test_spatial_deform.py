"""The displacement: its energy and steps against dense matrices, and a known one recovered."""

import numpy as np
import pytest
from simulated import SHAPE, blurred, small_atlas, small_lattice, start

from gmmseg.spatial import deform
from gmmseg.spatial.unified import UnifiedSettings, fit_unified

TINY, MM = (5, 4, 3), (2.0, 3.0, 4.0)


@pytest.fixture
def elastic():
    """As many cosines as points, so that it can be held against dense matrices."""
    return deform.elasticity(TINY, MM, membrane=0.3, bending=2.0, cutoff_mm=1.0)


def some_field(rng):
    return rng.standard_normal((3, *TINY)).astype(np.float32)


def dense_energy():
    """membrane L + bending L^2 + 1e-4 with L the Laplacian with Neumann borders, one component."""
    total = np.zeros((60, 60))
    for axis, (n, mm) in enumerate(zip(TINY, MM, strict=True)):
        difference = np.diff(np.eye(n), axis=0) / mm
        parts = [np.eye(m) for m in TINY]
        parts[axis] = difference.T @ difference
        total += np.kron(np.kron(parts[0], parts[1]), parts[2])
    return 0.3 * total + 2.0 * total @ total + 1e-4 * np.eye(60)


def test_the_cosines_are_orthonormal_and_complete(elastic, rng):
    field = some_field(rng)
    coefficients = elastic.coefficients(field)
    np.testing.assert_allclose(elastic.field(coefficients), field, atol=1e-5)
    assert (coefficients**2).sum() == pytest.approx((field**2).sum(), rel=1e-5)


def test_a_cutoff_leaves_out_the_short_waves_alone(rng):
    """10 of 20 cosines of 3 mm points are 12 mm long or longer; the others are lost."""
    shape, mm = (20, 20, 20), (3.0, 3.0, 3.0)
    every = deform.elasticity(shape, mm, membrane=0.3, bending=2.0, cutoff_mm=6.0)
    long = deform.elasticity(shape, mm, membrane=0.3, bending=2.0, cutoff_mm=12.0)
    assert every.eigenvalues.shape == shape
    assert long.eigenvalues.shape == (10, 10, 10)
    np.testing.assert_array_equal(long.eigenvalues, every.eigenvalues[:10, :10, :10])
    field = rng.standard_normal((3, *shape)).astype(np.float32)
    kept = np.ascontiguousarray(every.coefficients(field)[:, :10, :10, :10])
    np.testing.assert_allclose(long.coefficients(field), kept, atol=1e-5)
    smooth = every.field(np.pad(kept, ((0, 0), (0, 10), (0, 10), (0, 10))))
    np.testing.assert_allclose(long.field(kept), smooth, atol=1e-5)


def test_the_energy_is_that_of_differences_between_neighbours(elastic, rng):
    field = some_field(rng)
    gradient = field.reshape(3, 60) @ dense_energy()
    coefficients = elastic.coefficients(field)
    slope = elastic.field(elastic.slope(coefficients))
    np.testing.assert_allclose(slope.reshape(3, 60), gradient, rtol=1e-4, atol=1e-4)
    energy = 0.5 * (field.reshape(3, 60) * gradient).sum()
    assert elastic.energy(coefficients) == pytest.approx(energy, rel=1e-5)


def test_a_constant_displacement_costs_next_to_nothing(elastic, rng):
    constant = elastic.coefficients(np.ones((3, *TINY), np.float32))
    assert elastic.energy(constant) <= 0.5e-4 * 180 * 1.001
    assert elastic.energy(elastic.coefficients(some_field(rng))) > 100 * elastic.energy(constant)


def normal_equations(displacement, score):
    """Matrix and right-hand side, a point's three components side by side."""
    matrix = np.kron(dense_energy(), np.eye(3))
    pull, bend = (np.moveaxis(f, 0, -1).reshape(60, 3) for f in (score, displacement))
    residual = pull.ravel() - matrix @ bend.ravel()
    for n, s in enumerate(pull):
        block = slice(3 * n, 3 * n + 3)
        matrix[block, block] += np.outer(s, s)
    return matrix, residual


def step_of(elastic, displacement, score, **options):
    """Step of the field, a point's three components side by side."""
    step = elastic.step(elastic.coefficients(displacement), score, **options)
    return np.moveaxis(elastic.field(step), 0, -1).ravel()


def test_many_iterations_solve_the_normal_equations(elastic, rng):
    displacement, score = some_field(rng), some_field(rng)
    step = step_of(elastic, displacement, score, n_iter=200, tol=1e-6)
    matrix, residual = normal_equations(displacement, score)
    expected = np.linalg.solve(matrix, residual)
    np.testing.assert_allclose(step, expected, atol=1e-4 * np.abs(expected).max())


def test_the_few_iterations_of_a_step_reach_most_of_the_gain(elastic, rng):
    """Three iterations gain .84 to .96 of what the exact solution gains, in the quadratic model,
    six .96 and more."""
    for _ in range(5):
        displacement, score = some_field(rng), some_field(rng)
        matrix, residual = normal_equations(displacement, score)
        best = 0.5 * residual @ np.linalg.solve(matrix, residual)
        for n_iter, share in ((3, 0.7), (6, 0.9)):
            step = step_of(elastic, displacement, score, n_iter=n_iter)
            gain = residual @ step - 0.5 * step @ matrix @ step
            assert share * best < gain <= best * (1 + 1e-6)


def test_without_a_pull_nothing_moves(elastic):
    nothing = np.zeros((3, *TINY), np.float32)
    np.testing.assert_array_equal(elastic.step(nothing, nothing), 0)


def test_freedom_costs_half_the_log_determinant_where_the_data_pull_alike_everywhere(elastic):
    """One direction, one strength: then the mean of the data Hessian is the Hessian."""
    score = np.zeros((3, *TINY), np.float32)
    score[1] = 0.7
    ratio = np.eye(60) + 0.49 * np.linalg.inv(dense_energy())
    expected = 0.5 * np.linalg.slogdet(ratio)[1]
    assert elastic.cost_of_freedom(score) == pytest.approx(expected, rel=1e-4)
    assert elastic.cost_of_freedom(0 * score) == 0


def test_freedom_costs_no_less_than_the_log_determinant_of_any_data(elastic, rng):
    for _ in range(5):
        score = some_field(rng) * rng.random(TINY).astype(np.float32) ** 4
        matrix, _ = normal_equations(np.zeros((3, *TINY), np.float32), score)
        energy = np.kron(dense_energy(), np.eye(3))
        exact = 0.5 * (np.linalg.slogdet(matrix)[1] - np.linalg.slogdet(energy)[1])
        assert exact <= elastic.cost_of_freedom(score) < 3 * exact


def test_samples_move_by_the_displacement_of_their_lattice_point(rng):
    field = rng.normal(0, 3, (3, 40)).astype(np.float32)
    where, to_voxel = rng.permutation(40)[:15], rng.normal(0, 1, (3, 3))
    base = rng.normal(0, 50, (15, 3))
    moved = deform.displaced(base, field, where, to_voxel)
    np.testing.assert_allclose(moved, base + field[:, where].T @ to_voxel.T, rtol=1e-6)


def test_slopes_come_back_by_the_transpose_of_the_way_that_displacements_go(rng):
    where, to_voxel = rng.permutation(40)[:15], rng.normal(0, 1, (3, 3))
    by_voxel, out = rng.normal(0, 2, (15, 3)), np.zeros((3, 40), np.float32)
    deform.pulled_back(by_voxel, where, to_voxel, out)
    np.testing.assert_allclose(out[:, where], (by_voxel @ to_voxel).T, rtol=1e-5, atol=1e-6)
    assert np.count_nonzero(out.any(axis=0)) == 15


def fitted(rng, amplitude):
    """Fit to tissue whose atlas was bent by ``amplitude`` mm (root mean square, each axis)."""
    atlas = small_atlas(rng)
    true = amplitude * np.stack([blurred(rng, SHAPE, 6.0) for _ in range(3)], axis=-1)
    lattice = small_lattice(rng, atlas, displacement=true)
    model, held = start(lattice, atlas)
    fit = fit_unified(lattice, atlas, model, held, UnifiedSettings(fit_bias=False))
    return fit, true


INNER = (slice(3, -3),) * 3  # at the border half of the neighbours are missing


@pytest.fixture(scope="module")
def moved():
    return fitted(np.random.default_rng(4), 4.0)


def test_a_known_displacement_is_recovered_in_part(moved):
    """Reached: correlation .76, and .59 of it left. Each point holds but one label drawn at random
    from a prior, so that much of the displacement cannot be seen, and the rest is held back by the
    prior."""
    fit, true = moved
    found, sought = fit.displacement[INNER].ravel(), true[INNER].ravel()
    assert np.corrcoef(found, sought)[0, 1] > 0.7
    assert np.std(found - sought) < 0.7 * np.std(sought)


def test_an_atlas_in_its_place_stays_there(moved):
    """Negative control: chance alone moves it by .4 of that, and in no direction."""
    fit, true = fitted(np.random.default_rng(4), 0.0)
    by_chance, found = fit.displacement[INNER], moved[0].displacement[INNER]
    assert not true.any()
    assert np.std(by_chance) < 0.5 * np.std(found)
    assert np.corrcoef(by_chance.ravel(), moved[1][INNER].ravel())[0, 1] < 0.3


def test_no_step_of_the_fit_with_displacement_lowers_the_objective(moved):
    assert np.diff(moved[0].objective).min() >= -1e-9
