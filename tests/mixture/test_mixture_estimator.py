"""The estimators: scikit-learn's interface, and what is added to it."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import datasets, mixture
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from gmmseg.checks import InputError
from gmmseg.mixture import covariance, em
from gmmseg.mixture.estimator import BayesianGaussianMixture, GaussianMixture

ESTIMATORS = [GaussianMixture, BayesianGaussianMixture]
IRIS = datasets.load_iris().data


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scikit_learns_checks_all_pass(estimator):
    for result in check_estimator(estimator(), on_fail=None, on_skip=None):
        optional = result["check_name"] == "check_array_api_input"  # wants SCIPY_ARRAY_API set
        assert result["status"] == "passed" or optional, result


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_the_same_seed_gives_scikit_learns_answer(covariance_type, init_params):
    """Its own example data; the same draws, so likelihoods agree to 1e-5 and far below."""
    options = {
        "covariance_type": covariance_type, "init_params": init_params, "tol": 1e-9,
        "max_iter": 2000, "random_state": 3,
    }  # fmt: skip
    sk = mixture.GaussianMixture(3, **options).fit(IRIS)
    ours = GaussianMixture(3, **options).fit(IRIS)
    assert ours.score(IRIS) == pytest.approx(sk.score(IRIS), abs=1e-5)
    assert_allclose(ours.means_, sk.means_, atol=1e-3)
    assert ours.bic(IRIS) == pytest.approx(sk.bic(IRIS), abs=1e-2)
    assert ours.aic(IRIS) == pytest.approx(sk.aic(IRIS), abs=1e-2)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_the_variational_update_is_scikit_learns(covariance_type):
    """From one start and after one step; later steps differ in E log|precision| (see docs)."""
    options = {
        "covariance_type": covariance_type, "max_iter": 1, "random_state": 0, "tol": 0.0,
        "reg_covar": 0.0,
    }  # fmt: skip
    with pytest.warns(match="did not converge"):
        sk = mixture.BayesianGaussianMixture(n_components=3, **options).fit(IRIS)
    with pytest.warns(match="did not converge"):
        ours = BayesianGaussianMixture(3, **options).fit(IRIS)
    if covariance_type == "full":
        assert_allclose(ours.covariances_, sk.covariances_, atol=1e-8)
    assert ours.covariances_.shape == sk.covariances_.shape
    assert np.shape(ours.degrees_of_freedom_) == np.shape(sk.degrees_of_freedom_)
    assert_allclose(ours.means_, sk.means_, atol=0.05)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_weight_of_n_is_n_copies(estimator):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(60, 2)) + 3 * rng.integers(0, 2, (60, 1)), rng.integers(1, 6, 60)
    labels = (x[:, 0] > 1.5).astype(int)
    copies, options = np.repeat(x, weight, axis=0), {"tol": 1e-12, "max_iter": 500}
    once = estimator(2, init_params=labels, **options).fit(x, sample_weight=weight)
    often = estimator(2, init_params=np.repeat(labels, weight), **options).fit(copies)
    assert_allclose(once.means_, often.means_, atol=1e-8)
    assert_allclose(once.covariances_, often.covariances_, atol=1e-8)
    assert once.score(x, sample_weight=weight) == pytest.approx(often.score(copies), abs=1e-8)
    if estimator is GaussianMixture:
        assert once.bic(x, sample_weight=weight) == pytest.approx(often.bic(copies), abs=1e-8)
        assert once.icl(x, sample_weight=weight) == pytest.approx(often.icl(copies), abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_of_weight_zero_are_as_good_as_absent(estimator):
    x = np.random.default_rng(0).normal(size=(50, 2))
    spoilt = np.concatenate([x, np.full((5, 2), 1e6)])
    weight = np.repeat([1.0, 0.0], [50, 5])
    one = estimator(2, random_state=0, tol=1e-2).fit(x)
    other = estimator(2, random_state=0, tol=1e-2).fit(spoilt, sample_weight=weight)
    assert_allclose(one.means_, other.means_, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_missing_values_are_fitted_predicted_and_imputed(estimator):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (300, 3)), rng.normal(6, 1, (300, 3))])
    gaps = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    gaps[0] = np.nan
    model = estimator(2, random_state=0).fit(gaps)
    assert np.isfinite(model.score_samples(gaps)).all()
    assert np.isfinite(model.predict_proba(gaps)).all()
    known = ~np.isnan(gaps).all(axis=1)
    truth = np.arange(600) >= 300
    agreement = np.mean(model.predict(gaps)[known] == truth[known])
    assert max(agreement, 1 - agreement) > 0.98  # six deviations apart, 0.8 % have all but one gone
    filled = model.impute(gaps)
    assert np.array_equal(filled[~np.isnan(gaps)], gaps[~np.isnan(gaps)])
    lost = np.isnan(gaps) & known[:, None]
    # imputed from its own cluster: error near one deviation, against three from the mean
    assert np.sqrt(np.mean((filled[lost] - x[lost]) ** 2)) < 1.3


@pytest.mark.parametrize("covariance_type", [*covariance.MODELS, "E", "V"])
def test_every_covariance_model_fits_and_scores(covariance_type):
    model = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(IRIS)
    assert model.covariances_.shape == (3, 4, 4)
    assert np.diff(model.lower_bounds_).min() >= -1e-10
    assert model.score(IRIS) == pytest.approx(model.mixture_.score_samples(IRIS).mean())


def test_auto_takes_the_model_of_lowest_bic():
    model = GaussianMixture(2, covariance_type="auto", random_state=0).fit(IRIS)
    each = {
        name: GaussianMixture(2, covariance_type=name, random_state=0).fit(IRIS).bic(IRIS)
        for name in covariance.MODELS
    }
    assert model.covariance_type_ == min(each, key=each.get)
    assert model.covariance_type == "auto"
    assert model.bic(IRIS) == pytest.approx(min(each.values()))


def test_a_column_of_integers_gives_the_answer_of_a_column_of_floats():
    rng = np.random.default_rng(0)
    x = np.rint(np.concatenate([rng.normal(60, 9, 6000), rng.normal(120, 12, 9000)]))[:, None]
    begin = {
        "weights_init": [0.5, 0.5], "means_init": [[50.0], [150.0]],
        "precisions_init": [[[0.01]], [[0.01]]],
    }  # fmt: skip
    whole = GaussianMixture(2, tol=1e-9, **begin).fit(x.astype(np.int32))
    # a half makes the column fractional, and so fitted row by row
    rows = GaussianMixture(2, tol=1e-9, **{**begin, "means_init": [[50.5], [150.5]]}).fit(x + 0.5)
    assert whole.means_ == pytest.approx(rows.means_ - 0.5, abs=1e-6)
    assert whole.covariances_ == pytest.approx(rows.covariances_, abs=1e-6)
    assert whole.lower_bound_ == pytest.approx(rows.lower_bound_, abs=1e-9)


def test_an_integer_column_keeps_its_weights():
    rng = np.random.default_rng(0)
    x, weight = rng.integers(0, 200, (8000, 1)), rng.uniform(0, 2, 8000)
    labels = (x[:, 0] > 100).astype(int)
    by_level = GaussianMixture(1).fit(x, sample_weight=weight)
    assert by_level.means_[0, 0] == pytest.approx(np.average(x[:, 0], weights=weight))
    assert GaussianMixture(2, init_params=labels).fit(x).predict(x).shape == (8000,)


@pytest.mark.parametrize("init_params", ["quantile", "hierarchical", "kmeans", "k-means++"])
def test_every_start_finds_blobs_that_lie_apart(init_params):
    x, y = datasets.make_blobs(600, centers=[[0, 0], [20, 0], [40, 5]], random_state=0)
    model = GaussianMixture(3, init_params=init_params, random_state=0, n_init=3).fit(x)
    found = model.predict(x)
    assert all(len(np.unique(found[y == k])) == 1 for k in range(3))
    assert len(np.unique(found)) == 3


def test_short_runs_choose_the_better_of_bad_starts():
    x, _ = datasets.make_blobs(500, centers=8, random_state=4, cluster_std=0.5)
    options = {"init_params": "random_from_data", "max_iter": 200}
    alone = [GaussianMixture(8, random_state=s, **options).fit(x).lower_bound_ for s in range(8)]
    chosen = [
        GaussianMixture(8, random_state=s, short_runs=10, **options).fit(x).lower_bound_
        for s in range(8)
    ]
    assert np.mean(chosen) > np.mean(alone)


def test_a_variance_prior_keeps_repeated_values_from_collapsing():
    x = np.concatenate([np.zeros(30), np.random.default_rng(0).normal(5, 1, 60)])[:, None]
    options = {"init_params": (x[:, 0] > 0).astype(int), "reg_covar": 0.0}
    with pytest.raises(InputError, match="ill-defined"):
        GaussianMixture(2, **options).fit(x)
    model = GaussianMixture(2, variance_prior=em.VariancePrior(1.0, strength=5), **options).fit(x)
    assert model.covariances_[0, 0, 0] == pytest.approx(5 / 35)
    assert np.diff(model.lower_bounds_).min() >= -1e-12


def test_evidence_of_one_component_is_exact():
    """The bound is tight for one Gaussian: Murphy (2007), conjugate analysis, eq. 266."""
    from scipy.special import multigammaln

    x = IRIS[:50, :3]
    n, c = x.shape
    prior, dof, mean = np.cov(x.T), 5.0, x.mean(axis=0) + 0.5
    model = BayesianGaussianMixture(
        1, weight_concentration_prior_type="dirichlet_distribution", mean_prior=mean,
        covariance_prior=prior, degrees_of_freedom_prior=dof, reg_covar=0.0,
    ).fit(x)  # fmt: skip
    d = x.mean(axis=0) - mean
    scale = prior + (n - 1) * np.cov(x.T) + n / (n + 1) * np.outer(d, d)
    exact = (
        -0.5 * n * c * np.log(np.pi) + multigammaln((dof + n) / 2, c) - multigammaln(dof / 2, c)
        + 0.5 * dof * np.linalg.slogdet(prior)[1] - 0.5 * (dof + n) * np.linalg.slogdet(scale)[1]
        - 0.5 * c * np.log(n + 1)
    )  # fmt: skip
    assert model.lower_bound_ * n == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", ["dirichlet_process", "dirichlet_distribution"])
def test_the_evidence_bound_never_falls(covariance_type, kind):
    model = BayesianGaussianMixture(
        6, covariance_type=covariance_type, weight_concentration_prior_type=kind, tol=0.0,
        max_iter=150, random_state=0, reg_covar=1e-2,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(IRIS)
    assert np.diff(model.lower_bounds_).min() >= -1e-11


def test_labels_of_many_samples_are_those_of_slabs():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (9000, 1)), rng.normal(9, 1, (9000, 1))])
    x[5] = np.nan
    model = GaussianMixture(2, random_state=0).fit(x)
    model._slabs = lambda X: (slice(a, a + 1000) for a in range(0, len(X), 1000))
    whole = model.predict_proba(x).argmax(axis=1)
    assert np.array_equal(model.predict(x), whole)
    assert np.isfinite(model.score_samples(x)).all()


def gallery(name):
    """Data of scikit-learn's examples for mixtures, drawn as they draw them."""
    state = np.random.RandomState(0)
    if name == "ellipses":  # plot_gmm, plot_gmm_selection
        stretched = state.randn(500, 2) @ np.array([[0.0, -0.1], [1.7, 0.4]])
        return np.concatenate([stretched, 0.7 * state.randn(500, 2) + np.array([-4, 1])])
    if name == "density":  # plot_gmm_pdf
        shifted = state.randn(300, 2) + np.array([20, 20])
        stretched = state.randn(300, 2) @ np.array([[0.0, -0.7], [3.5, 0.7]])
        return np.concatenate([shifted, stretched])
    step = 4.0 * np.pi / 100  # plot_gmm_sin
    i = np.arange(100)
    noise = state.normal(0, 0.1, (100, 2))
    x = i * step - 6.0
    return np.stack([x + noise[:, 0], 3.0 * (np.sin(x) + noise[:, 1])], axis=1)


@pytest.mark.parametrize(("name", "k"), [("ellipses", 2), ("density", 2), ("sine", 10)])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_scikit_learns_examples_come_out_alike(name, k, covariance_type):
    x = gallery(name)
    options = {
        "covariance_type": covariance_type, "tol": 1e-10, "max_iter": 5000, "random_state": 0,
    }  # fmt: skip
    sk = mixture.GaussianMixture(k, **options).fit(x)
    ours = GaussianMixture(k, **options).fit(x)
    assert ours.score(x) == pytest.approx(sk.score(x), abs=1e-5)


@pytest.mark.parametrize(
    ("estimator", "n_channels"), [("GaussianMixture", 3), ("BayesianGaussianMixture", 12)]
)
def test_a_process_with_other_threads_gives_the_same_bits(estimator, n_channels):
    """The start included: libraries below would split sums by their number of threads."""
    code = (
        "import warnings, hashlib, numpy as np; warnings.simplefilter('ignore');"
        f"from gmmseg.mixture.estimator import {estimator} as E;"
        f"x = np.random.default_rng(0).normal(size=(30_000, {n_channels}));"
        "m = E(n_components=3, random_state=0, max_iter=3).fit(x);"
        "print(hashlib.sha256(m.covariances_.tobytes() + m.predict_proba(x).tobytes()).hexdigest())"
    )
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    hashes = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "2")
    ]  # fmt: skip
    assert hashes[0] == hashes[1]
