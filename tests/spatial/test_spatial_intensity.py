"""Intensities of the classes: compiled E-step, tables and M-step against plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmseg.spatial.intensity import (
    STRAY,
    IntensityModel,
    IntensityPrior,
    component_sums,
    maximise,
    tabulate,
)
from gmmseg.spatial.intensity_pass import (
    expectation,
    field_derivatives,
    likeliest,
    rows_of,
)

FLOOR = np.array([1e-7, 1e-7, 1e-5])
LOW, HIGH = -10.0, 210.0


@pytest.fixture
def model():
    """Three classes; the last has two Gaussians of their own variances."""
    return IntensityModel(
        owner=np.array([0, 1, 2, 2]),
        weights=np.array([1.0, 1.0, 0.3, 0.7]),
        means=np.array([95.0, 130.0, 40.0, 10.0]),
        group=np.array([0, 0, 1, 2]),
        group_variances=np.array([60.0, 90.0, 20.0]),
    )


def test_the_mean_of_a_class_is_that_of_what_its_gaussians_give(model, rng):
    """And not that of any one of them, nor that of all with the same weight."""
    own = rng.choice(4, 200_000, p=[0.0, 0.0, 0.3, 0.7])
    values = rng.normal(model.means[own], np.sqrt(model.variances[own]))
    found = model.class_means(4)
    assert found[:2].tolist() == [95.0, 130.0]
    assert found[2] == pytest.approx(values.mean(), abs=5 * values.std() / np.sqrt(len(values)))
    assert np.isnan(found[3])  # no Gaussian


def test_the_variance_within_a_class_does_not_grow_with_the_distance_of_its_gaussians(model):
    apart = replace(model, means=model.means * np.array([1, 1, 1, 100]))
    for one in (model, apart):
        np.testing.assert_allclose(one.class_variances(3), [60.0, 60.0, 0.3 * 90 + 0.7 * 20])


def test_the_spread_of_a_class_is_that_of_what_its_gaussians_give(model, rng):
    """And neither that of the widest one (9.5) nor that within them (6.4)."""
    own = rng.choice(4, 200_000, p=[0.0, 0.0, 0.3, 0.7])
    values = rng.normal(model.means[own], np.sqrt(model.variances[own]))
    found = model.class_spreads(4)
    assert found[:2].tolist() == [np.sqrt(60.0)] * 2  # of one Gaussian its own, to the last bit
    assert found[2] == pytest.approx(values.std(), rel=0.01)  # six deviations of it, and more
    assert np.isnan(found[3])  # no Gaussian


def component_densities(y, model):
    """(N, M) weighted densities, written out."""
    y, m, v = np.asarray(y)[:, None], model.means, model.variances
    return model.weights * np.exp(-((y - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)


def class_densities(y, model):
    components = component_densities(y, model)
    return FLOOR + np.stack(
        [components[:, model.owner == k].sum(1) for k in range(len(FLOOR))], axis=1
    )


def samples(rng, n=500):
    prior = rng.dirichlet(np.ones(3), n).astype(np.float32)
    return rng.uniform(0, 200, n), rng.random(n) < 0.1, prior


def rows_in(table, values, outside, log_field=0.0):
    rows = np.empty(len(values), np.int32)
    field = np.broadcast_to(np.asarray(log_field), values.shape).copy()
    rows_of(values, field, outside, table.low, table.width, len(table.density), rows)
    return rows


def run(values, outside, prior, table):
    rows, out = rows_in(table, values, outside), np.empty((2, len(values)))
    counts, total = expectation(rows, prior, table.rows)
    field_derivatives(rows, prior, table.density, table.slope, table.curvature, out)
    return counts, total, table.rows[rows], out


def test_the_likeliest_class_has_the_largest_share_of_the_evidence(model, rng):
    values, outside, prior = samples(rng, 500)
    table = tabulate(model, LOW, HIGH, FLOOR)
    rows = rows_in(table, values, outside)
    found = likeliest(rows, prior, table.rows)
    np.testing.assert_array_equal(found, (prior * table.rows[rows]).argmax(1))
    assert len(np.unique(found)) == prior.shape[1]


def test_samples_are_rounded_to_the_grid_once_their_bias_is_corrected(model, rng):
    """The ends of the grid hold what lies beyond them; samples outside have a row of their own."""
    table = tabulate(model, LOW, HIGH, FLOOR, n_grid=64)
    values, outside = rng.uniform(-20, 250, 400), rng.random(400) < 0.1
    field = rng.normal(0, 0.3, 400)
    at = np.rint((values * np.exp(field) - LOW) / table.width)
    expected = np.where(outside, 64, np.clip(at, 0, 63))
    np.testing.assert_array_equal(rows_in(table, values, outside, field), expected)


def test_the_compiled_e_step_is_the_plain_one_on_rounded_values(model, rng):
    values, outside, prior = samples(rng)
    table = tabulate(model, LOW, HIGH, FLOOR)
    counts, total, likelihood, out = run(values, outside, prior, table)

    at = np.rint((values - LOW) / table.width).astype(int)
    expected = class_densities(LOW + table.width * at, model)
    expected[outside] = [STRAY, STRAY, 1.0]
    np.testing.assert_allclose(likelihood, expected, rtol=1e-6)
    joint = prior * expected
    assert total == pytest.approx(np.log(joint.sum(1)).sum(), rel=1e-9)

    joint[outside] = 0  # their value is not looked at
    responsibility = joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)
    histogram = np.zeros((3, len(table.density)))
    for k in range(3):
        np.add.at(histogram[k], at, responsibility[:, k])
    np.testing.assert_allclose(counts, histogram, atol=1e-9)
    np.testing.assert_array_equal(out[:, outside], 0)


def test_sums_of_components_are_those_of_the_samples(model, rng):
    values, _, prior = samples(rng)
    table = tabulate(model, LOW, HIGH, FLOOR)
    counts, _, _, _ = run(values, np.zeros(len(values), bool), prior, table)
    y = LOW + table.width * np.rint((values - LOW) / table.width)
    evidence = (prior * class_densities(y, model)).sum(1)
    r = prior[:, model.owner] * component_densities(y, model) / evidence[:, None]
    expected = np.stack([r.sum(0), (r * y[:, None]).sum(0), (r * y[:, None] ** 2).sum(0)], axis=1)
    np.testing.assert_allclose(component_sums(model, table, counts), expected, rtol=1e-6, atol=1e-6)


def test_slopes_in_the_table_are_those_of_finite_differences(model):
    """By the log of the intensity: d log p / d log y = y d log p / d y."""
    table = tabulate(model, LOW, HIGH, FLOOR, n_grid=100_001)
    y, log_density = table.grid, np.log(table.density)
    numeric = y[:, None] * np.gradient(log_density, table.width, axis=0)
    np.testing.assert_allclose((table.slope / table.density)[1:-1], numeric[1:-1], atol=2e-3)


def test_the_curvature_is_exact_at_the_mean_of_a_gaussian_and_never_negative(model):
    """y^2 / v is the expected value of -d2 log p / d(log y)2, and its value where y = m."""
    table = tabulate(model, LOW, HIGH, FLOOR, n_grid=22_001)
    assert table.curvature.min() >= 0
    for k, mean in enumerate((95.0, 130.0)):
        at = int(np.rint((mean - LOW) / table.width))
        log_y = np.log(mean) + np.array([-1e-4, 0, 1e-4])
        log_p = np.log(class_densities(np.exp(log_y), model)[:, k])
        numeric = -np.diff(log_p, 2)[0] / 1e-8
        assert table.curvature[at, k] / table.density[at, k] == pytest.approx(numeric, rel=1e-3)


def test_the_derivative_of_the_evidence_is_that_of_finite_differences(model, rng):
    """Of log p(y exp(b)) + b by the log field b, whose second term is the Jacobian."""
    values, _, prior = samples(rng, 50)
    table = tabulate(model, LOW, HIGH, FLOOR, n_grid=2_000_001)
    _, _, _, out = run(values, np.zeros(50, bool), prior, table)

    def objective(b):
        return np.log((prior * class_densities(values * np.exp(b), model)).sum(1)) + b

    numeric = (objective(1e-5) - objective(-1e-5)) / 2e-5
    np.testing.assert_allclose(out[0], numeric, rtol=1e-3, atol=2e-3)


def expected_likelihood(model, sums, prior):
    """Expected complete-data log-likelihood and log prior, the function an M-step climbs."""
    n, s1, s2 = sums.T
    m, v = model.means, model.variances
    spread = s2 - 2 * m * s1 + m**2 * n
    terms = n * np.log(model.weights) - 0.5 * (n * np.log(2 * np.pi * v) + spread / v)
    return terms.sum() + prior.log_density(model)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    mean_samples=st.sampled_from([0.0, 10.0, 2000.0]),
    variance_samples=st.sampled_from([0.5, 20.0]),
    tie_samples=st.sampled_from([0.0, 50.0, 5000.0]),
    n=st.sampled_from([5, 300]),
    unit=st.sampled_from([1e-8, 1.0, 1e9]),
)
def test_no_m_step_lowers_the_penalised_likelihood(
    seed, mean_samples, variance_samples, tie_samples, n, unit
):
    """Whatever the unit of intensity; within what sums of n squares lose by rounding."""
    rng = np.random.default_rng(seed)
    k = 5
    model = IntensityModel(
        owner=np.array([0, 1, 2, 3, 3]),
        weights=np.array([1.0, 1.0, 1.0, 0.4, 0.6]),
        means=unit * rng.uniform(0, 150, k),
        group=np.arange(k),
        group_variances=unit**2 * rng.uniform(10, 300, k),
    )
    prior = IntensityPrior(
        unit * rng.uniform(0, 150, k), mean_samples * (rng.random(k) < 0.5), rng.random(k) < 0.5,
        unit**2 * rng.uniform(10, 300, k), variance_samples, 3, tie_samples,
    )  # fmt: skip
    y = unit * rng.uniform(0, 150, n)
    r = rng.dirichlet(np.ones(k), n).T
    sums = np.stack([r.sum(1), r @ y, r @ y**2], axis=1)
    trace = [expected_likelihood(model, sums, prior)]
    for _ in range(6):
        model = maximise(model, sums, prior)
        trace.append(expected_likelihood(model, sums, prior))
    assert np.diff(trace).min() >= -1e-9
    assert trace[-1] > trace[0]


def test_without_priors_the_m_step_gives_weighted_moments(rng):
    y, r = rng.uniform(0, 150, 400), rng.random((2, 400))
    model = IntensityModel(
        np.array([0, 1]), np.ones(2), np.array([10.0, 90.0]), np.arange(2), np.full(2, 50.0)
    )
    free = IntensityPrior(
        model.means, np.zeros(2), np.zeros(2, bool), np.full(2, 50.0), 0.0, 1, 0.0
    )
    found = maximise(model, np.stack([r.sum(1), r @ y, r @ y**2], axis=1), free)
    means = [np.average(y, weights=w) for w in r]
    np.testing.assert_allclose(found.means, means, rtol=1e-9)
    spread = [np.average((y - m) ** 2, weights=w) for m, w in zip(means, r, strict=True)]
    np.testing.assert_allclose(found.variances, spread, rtol=1e-6)


@pytest.mark.parametrize(("cap", "expected"), [(50.0, 40.0), (30.0, 35.0)])
def test_a_capped_mean_is_pulled_down_and_never_up(cap, expected):
    """Its samples have a mean of 40; the cap is worth as many as there are, of equal variance."""
    model = IntensityModel(np.array([0]), np.ones(1), np.array([45.0]), np.arange(1), np.ones(1))
    prior = IntensityPrior(
        np.array([cap]), np.array([100.0]), np.array([True]), np.ones(1), 0.0, 1, 0.0
    )
    sums = np.array([[100.0, 4000.0, 160_100.0]])
    assert maximise(model, sums, prior).means[0] == pytest.approx(expected)
    held = replace(prior, caps=np.array([False]))
    assert maximise(model, sums, held).means[0] == pytest.approx((40.0 + cap) / 2)


def test_the_e_step_does_not_depend_on_the_number_of_threads(model, rng, alone_and_together):
    table, sample = tabulate(model, LOW, HIGH, FLOOR), samples(rng, 5000)
    for one, two in zip(*alone_and_together(lambda: run(*sample, table)), strict=True):
        np.testing.assert_array_equal(one, two)
