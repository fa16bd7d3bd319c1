"""Families of components: their densities against SciPy, their fits against the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from gmmseg.checks import InputError
from gmmseg.mixture import em, histogram, univariate
from gmmseg.mixture.densities import Bins
from gmmseg.mixture.families import fit_families, select_family
from gmmseg.mixture.familyfit import FAMILIES
from gmmseg.mixture.model import Mixture

CASES = [
    ("gaussian", {"mean": 40.0, "variance": 9.0}, stats.norm(40, 3)),
    ("rayleigh", {"scale": 7.0}, stats.rayleigh(scale=7)),
    ("rician", {"signal": 12.0, "scale": 5.0}, stats.rice(12 / 5, scale=5)),
    ("rician", {"signal": 60.0, "scale": 3.0}, stats.rice(20, scale=3)),
    ("rician", {"signal": 0.0, "scale": 3.0}, stats.rayleigh(scale=3)),
]


def binned(values, n_bins=1024):
    centres, counts = histogram.weighted_bins(values, n_bins)
    return counts, centres


def magnitudes(rng, n_air=60_000, n_tissue=30_000):
    """Air of noise 10 and two tissues of signal 80 and 120."""
    return np.concatenate(
        [
            stats.rayleigh.rvs(scale=10, size=n_air, random_state=rng),
            stats.rice.rvs(8, scale=10, size=n_tissue, random_state=rng),
            stats.rice.rvs(12, scale=10, size=n_tissue, random_state=rng),
        ]
    )


@pytest.mark.parametrize(("name", "parameters", "truth"), CASES)
def test_densities_and_means_are_those_of_scipy(name, parameters, truth):
    x = truth.mean() + truth.std() * np.linspace(-2, 4, 50)
    x = x[x > 0]
    bins = Bins(x, 1e-6, float(x.min()), float(x.max()))
    found = FAMILIES[name].log_density(bins, parameters)
    np.testing.assert_allclose(found, truth.logpdf(x), rtol=1e-9, atol=1e-9)
    assert FAMILIES[name].mean(parameters) == pytest.approx(truth.mean(), rel=1e-9)


def test_counts_have_the_probabilities_of_poisson():
    x = np.arange(-2.0, 30.0)
    found = FAMILIES["poisson"].log_density(Bins(x, 1.0, -2.5, 29.5), {"rate": 4.5})
    np.testing.assert_allclose(found, stats.poisson(4.5).logpmf(x), rtol=1e-9)


def test_the_bin_at_zero_has_the_mass_of_its_upper_half():
    scale, width = 3.0, 1.0
    bins = Bins(np.array([0.0]), width, -0.5, 0.5)
    mass = np.exp(FAMILIES["rayleigh"].log_density(bins, {"scale": scale})[0]) * width
    truth, _ = quad(stats.rayleigh(scale=scale).pdf, 0, width / 2)
    # The density is straight there but for a share of (x / scale)^2 / 4 = .007 at most.
    assert mass == pytest.approx(truth, rel=0.01)


@pytest.mark.parametrize(
    ("families", "draw", "truth"),
    [
        (("rayleigh",), lambda rng: rng.rayleigh(10, 50_000), [{"scale": 10.0}]),
        (
            ("rician",),
            lambda rng: stats.rice.rvs(2, scale=10, size=50_000, random_state=rng),
            [{"signal": 20.0, "scale": 10.0}],
        ),
        (
            ("rayleigh", "rician", "rician"),
            magnitudes,
            [{"scale": 10.0}, {"signal": 80.0, "scale": 10.0}, {"signal": 120.0, "scale": 10.0}],
        ),
        (
            ("poisson", "poisson"),
            lambda rng: np.concatenate([rng.poisson(3, 50_000), rng.poisson(12, 30_000)]),
            [{"rate": 3.0}, {"rate": 12.0}],
        ),
    ],
)
def test_parameters_of_simulated_mixtures_come_back(rng, families, draw, truth):
    """Within 2 %: with 30,000 draws a scale is known to .4 %, four times over by overlap."""
    fit = fit_families(*binned(draw(rng)), families)
    for found, expected in zip(fit.parameters, truth, strict=True):
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=0.02)
    assert fit.converged


def photons(rng, means=(20.0, 60.0, 150.0), n=90_000, slope=1.5, intercept=9.0):
    at = np.array(means)[rng.choice(len(means), n)]
    return at + rng.standard_normal(n) * np.sqrt(slope * at + intercept)


def test_the_noise_law_of_photons_comes_back(rng):
    """30,000 draws a class know each variance to 1 %: .4 at 39, 1.8 at 234.

    That is 0.02 in the slope and 0.8 in the intercept; the bounds are three times as wide.
    """
    fit = fit_families(*binned(photons(rng)), ("poisson_gaussian",) * 3)
    for one, mean in zip(fit.parameters, (20, 60, 150), strict=True):
        assert one["mean"] == pytest.approx(mean, abs=0.3)
        assert one["slope"] == pytest.approx(1.5, abs=0.06)
        assert one["intercept"] == pytest.approx(9.0, abs=2.4)
        assert one["variance"] == pytest.approx(one["slope"] * one["mean"] + one["intercept"])


def test_two_classes_under_one_law_are_two_gaussians(rng):
    """Two numbers of a law, two variances: the same model."""
    counts, centres = binned(photons(rng, (20.0, 60.0)))
    law = fit_families(counts, centres, ("poisson_gaussian",) * 2, tol=1e-10)
    free = fit_families(counts, centres, ("gaussian",) * 2, tol=1e-10)
    assert law.objective[-1] == pytest.approx(free.objective[-1], abs=1e-7)
    assert law.n_parameters == free.n_parameters


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    families=st.sampled_from(
        [
            ("gaussian", "gaussian", "uniform"),
            ("rayleigh", "gaussian"),
            ("rayleigh", "rician", "rician"),
            ("rician", "rician"),
            ("poisson", "poisson", "poisson"),
            ("poisson_gaussian",) * 3,
            ("rayleigh", "poisson_gaussian", "poisson_gaussian", "uniform"),
        ]
    ),
)
def test_no_iteration_lowers_the_objective(seed, families):
    """To the rounding of a sum of logarithms; with counts that none of the families drew."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, 60) * rng.integers(0, 2, 60)
    counts[[5, 20, 40, 55]] += 10
    fit = fit_families(counts, np.arange(60), families, max_iter=60, tol=-1.0)
    assert np.diff(fit.objective).min() >= -1e-10
    assert fit.weights.sum() == pytest.approx(1)
    assert np.isfinite(fit.bic)
    assert np.isfinite(fit.icl)
    assert np.isfinite(fit.posteriors(np.arange(60))).all()


def test_gaussians_only_are_the_fit_of_the_histogram(rng):
    values = np.concatenate([rng.normal(60, 8, 20_000), rng.normal(120, 15, 30_000)])
    counts, centres = binned(np.rint(values).astype(np.int64))
    fit = fit_families(counts, centres, ("gaussian", "gaussian"), tol=1e-10)
    other = histogram.fit_histogram(counts, centres, 2, tol=1e-10)
    np.testing.assert_allclose(fit.means, other.mixture.means.ravel(), rtol=1e-4)
    np.testing.assert_allclose(fit.weights, other.mixture.weights, rtol=1e-3)
    # That of the histogram holds a prior of one voxel's weight: 2 parts in 100,000.
    likelihood = em.mean_log_likelihood(centres, other.mixture, sample_weight=counts)
    assert fit.objective[-1] == pytest.approx(likelihood, abs=1e-7)
    np.testing.assert_allclose(fit.cuts(), univariate.cuts(other.mixture)[-1:], rtol=1e-4)
    x = np.arange(20.0, 180.0, 7.0)
    np.testing.assert_array_equal(fit.classify(x), univariate.classify(x, other.mixture))
    np.testing.assert_allclose(
        fit.posteriors(x), univariate.posteriors(x, other.mixture), atol=1e-3
    )


def test_tissues_stay_apart_under_much_air_where_gaussians_share_the_air(rng):
    """The control is the Gaussian fit, which is the likelier of its kind and of no use here."""
    counts, centres = binned(np.rint(magnitudes(rng, 400_000, 20_000)).astype(np.int64))
    fit = fit_families(counts, centres, ("rayleigh", "gaussian", "gaussian"))
    wrong = fit_families(counts, centres, ("gaussian",) * 3)
    # Means of Ricians of signal s lie about 50 / s higher.
    np.testing.assert_allclose(fit.means, [12.5, 80.6, 120.4], rtol=0.01)
    assert len(fit.cuts()) == 2
    assert fit.cuts()[1] == pytest.approx(100, abs=2)  # equal shares and spreads
    assert wrong.means[1] < 40


def test_a_uniform_class_takes_outliers_from_the_others(rng):
    values = np.concatenate([rng.normal(50, 5, 50_000), rng.uniform(0, 250, 2_000)])
    with_class = fit_families(*binned(values), ("gaussian", "uniform"))
    without = fit_families(*binned(values), ("gaussian",))
    assert with_class.parameters[0]["variance"] == pytest.approx(25, rel=0.03)
    assert with_class.weights[1] == pytest.approx(2 / 52, rel=0.1)
    assert without.parameters[0]["variance"] > 100
    assert with_class.classify([50.0, 200.0, 1e6]).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("draw", "k", "expected"),
    [
        (lambda rng: rng.normal([[50], [90]], 5, (2, 20_000)).ravel(), 2, "gaussian"),
        (magnitudes, 3, "rayleigh"),
        (lambda rng: np.r_[rng.poisson(3, 30_000), rng.poisson(12, 30_000)], 2, "poisson"),
        (photons, 3, "poisson_gaussian"),
    ],
)
def test_the_family_that_drew_the_values_is_chosen(rng, draw, k, expected):
    """Gaussian stays Gaussian: the negative control of the others."""
    chosen = select_family(*binned(draw(rng)), k)
    assert chosen.winner.families[0] == expected
    assert len(chosen.fits) > 1


def test_criteria_are_those_of_their_definitions(rng):
    counts, centres = binned(rng.normal([[50], [90]], 5, (2, 2000)).ravel(), 256)
    fit = fit_families(counts, centres, ("gaussian", "gaussian"))
    joint = fit.log_joint(centres.ravel())
    total = counts @ np.logaddexp(joint[:, 0], joint[:, 1])
    assert fit.bic == pytest.approx(5 * np.log(4000) - 2 * total)
    entropy = stats.entropy(fit.posteriors(centres.ravel()), axis=1)
    assert fit.icl == pytest.approx(fit.bic + 2 * counts @ entropy)


def test_values_that_can_come_from_nowhere_get_no_class(rng):
    fit = fit_families(*binned(magnitudes(rng, 6000, 3000)), ("rayleigh", "rician", "rician"))
    values = np.array([[np.nan, -3.0], [5.0, 120.0]])
    np.testing.assert_array_equal(fit.classify(values), [[-1, -1], [0, 2]])
    np.testing.assert_allclose(fit.posteriors(values).sum(-1), [[0, 0], [1, 1]])


def test_the_inputs_stay_as_they_were_and_the_same_comes_out(rng):
    counts, centres = binned(magnitudes(rng, 6000, 3000))
    copies = counts.copy(), centres.copy()
    one = fit_families(counts, centres, ("rayleigh", "gaussian"))
    two = fit_families(counts, centres, ("rayleigh", "gaussian"))
    np.testing.assert_array_equal(counts, copies[0])
    np.testing.assert_array_equal(centres, copies[1])
    np.testing.assert_array_equal(one.objective, two.objective)


@pytest.mark.parametrize(
    ("families", "start", "centres", "message"),
    [
        (("cauchy",), None, np.arange(10), "families must be some of gaussian"),
        ((), None, np.arange(10), "families must be some of gaussian"),
        (("uniform",), None, np.arange(10), "uniform once, beside at least one other"),
        (("poisson_gaussian",), None, np.arange(10), "two components at least"),
        (("rayleigh", "rician"), None, np.arange(10) - 3, "values go down to -3"),
        (("poisson", "poisson"), None, np.arange(10) / 2, "whole numbers, one apart"),
        (("gaussian",), None, np.arange(9), "equally long; got 10 and 9"),
        (("gaussian",), None, np.arange(10)[::-1], "finite and rise"),
        (
            ("gaussian", "uniform"),
            Mixture([0.5, 0.5], [[1], [5]], [[[1]], [[1]]]),
            np.arange(10),
            "one channel and 1 components",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(families, start, centres, message):
    with pytest.raises(InputError, match=message):
        fit_families(np.ones(10), centres, families, start=start)


def test_bad_counts_and_criteria_are_refused():
    with pytest.raises(InputError, match="not all zero"):
        fit_families(np.zeros(4), np.arange(4), ("gaussian",))
    with pytest.raises(InputError, match="bic or icl"):
        select_family(np.ones(4), np.arange(4), 2, criterion="aic")
