"""Input that makes no sense: one clear error, or a fit that is finite and says what happened."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from gmmseg.checks import InputError
from gmmseg.mixture import covariance
from gmmseg.mixture.estimator import BayesianGaussianMixture, GaussianMixture
from gmmseg.mixture.estimator_base import INITS

ESTIMATORS = [GaussianMixture, BayesianGaussianMixture]


def test_a_component_that_dies_is_reported():
    x = np.random.default_rng(0).normal(size=(100, 1))
    model = GaussianMixture(
        2, weights_init=[0.5, 0.5], means_init=[[0.0], [1e6]], precisions_init=[[[1.0]], [[1.0]]]
    )
    with pytest.warns(match="lost all their samples"):
        model.fit(x)
    assert model.empty_components_ == (1,)
    assert np.isfinite(model.means_).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("settings", "data", "weight", "message"),
    [
        ({"n_components": 9}, np.zeros((5, 1)), None, "n_samples >= n_components"),
        ({}, np.array([[np.nan, 1.0], [np.nan, 2.0]]), None, "column 0"),
        ({}, np.eye(3), [-1, 1, 1], "negative"),
        ({}, np.eye(3), [0, 0, 0], "at least one non-zero"),
        ({}, np.array([[np.inf], [1.0]]), None, "infinity"),
        ({"n_components": 0}, np.eye(3), None, "n_components"),
        ({"tol": -1.0}, np.eye(3), None, "tol"),
        ({"max_iter": 1.5}, np.eye(3), None, "max_iter"),
        ({"covariance_type": "round"}, np.eye(3), None, "covariance_type"),
        ({"init_params": "magic"}, np.eye(3), None, "init_params"),
        ({"init_params": np.array([0, 1])}, np.eye(3), None, "one a sample"),
        ({"init_params": np.array([0, 1, 2])}, np.eye(3), None, "below n_components"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(estimator, settings, data, weight, message):
    with pytest.raises(ValueError, match=message):
        estimator(**{"n_components": 1, **settings}).fit(data, sample_weight=weight)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constant_columns_do_no_harm(estimator):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=200), np.full(200, 7.0)])
    model = estimator(2, random_state=0, tol=0.1, max_iter=1000).fit(x)
    assert np.isfinite(model.predict_proba(x)).all()
    assert_allclose(model.means_[:, 1], 7.0, atol=1e-6)


FORMS = {"full": (2, 2, 2), "tied": (2, 2), "diag": (2, 2), "spherical": (2,)}
BLOB = np.random.default_rng(0).normal(size=(50, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", FORMS)
def test_starts_that_are_not_finite_are_refused(bad, form):
    precisions = np.full(FORMS[form], bad)
    for given in (
        {"weights_init": [bad, 0.5]}, {"means_init": [[bad, 0.0], [0.0, 0.0]]},
        {"precisions_init": precisions},
    ):  # fmt: skip
        with pytest.raises(InputError, match="finite"):
            GaussianMixture(2, covariance_type=form, **given).fit(BLOB)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("weight_concentration_prior", ()), ("mean_precision_prior", ()), ("mean_prior", (2,)),
     ("degrees_of_freedom_prior", ()), ("covariance_prior", (2, 2))],
)  # fmt: skip
def test_priors_that_are_not_finite_are_refused(bad, name, shape):
    value = np.full(shape, bad) if shape else bad
    with pytest.raises(InputError, match=r"finite|greater than"):
        BayesianGaussianMixture(2, **{name: value}).fit(BLOB)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["tol", "reg_covar"])
def test_settings_that_are_not_finite_are_refused(estimator, name):
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match=name):
            estimator(2, **{name: bad}).fit(BLOB)


def test_a_precision_that_has_no_inverse_is_refused():
    with pytest.raises(InputError, match="too close to zero"):
        GaussianMixture(2, precisions_init=[np.eye(2) * 1e-320] * 2).fit(BLOB)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_fewer_distinct_values_than_components_is_said(estimator, init):
    x = np.repeat([[0.0], [1.0]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match="distinct"):
        model = estimator(4, init_params=init, random_state=0).fit(x)
    assert np.isfinite(model.predict_proba(x)).all()
    assert np.isfinite(model.covariances_).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("init", ["quantile", "hierarchical"])
def test_starts_that_need_distinct_values_refuse_fewer(estimator, init):
    x = np.repeat([[0.0], [1.0]], 10, axis=0)
    with pytest.raises(InputError, match="distinct"):
        estimator(4, init_params=init, random_state=0).fit(x)
    with pytest.raises(InputError, match="distinct samples = 2"):  # as levels of a histogram
        estimator(4, init_params=init).fit(np.repeat([[0], [1]], 5000, axis=0))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("init", INITS)
def test_rows_without_any_value_change_nothing_but_the_weights(estimator, init):
    x = BLOB + 8 * (np.arange(50)[:, None] % 2)
    gaps = np.concatenate([np.full((10, 2), np.nan), x])
    model = estimator(2, init_params=init, random_state=0, tol=1e-8, max_iter=500).fit(gaps)
    assert np.isfinite(model.covariances_).all()
    nothing = model.predict_proba(gaps)[:10]
    assert_allclose(nothing, np.broadcast_to(nothing[0], (10, 2)))
    assert_allclose(nothing.sum(axis=1), 1.0)
    if estimator is GaussianMixture:
        assert_allclose(nothing[0], model.weights_)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-30, 1e18, 1e38])
def test_attributes_that_float32_cannot_hold_are_float64(estimator, scale):
    x = (np.clip(BLOB, -3, 3) * scale).astype(np.float32)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scikit-learn sums x in float32
        model = estimator(2, random_state=0, reg_covar=0.0).fit(x)
        scores = model.score_samples(x)
    for name in ("means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, name)).all()
        assert getattr(model, name).dtype == (np.float32 if scale == 1e18 else np.float64)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_values_whose_squares_overflow_are_refused(estimator):
    assert np.isfinite(estimator(2, random_state=0).fit(BLOB * 1e90).covariances_).all()
    with pytest.raises(InputError, match="Rescale"):
        estimator(2, random_state=0).fit(BLOB * 1e120)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_weights_of_any_size_are_taken(estimator, scale):
    model = estimator(2, random_state=0).fit(BLOB, sample_weight=np.full(50, scale))
    assert np.isfinite(model.covariances_).all()
    assert np.isfinite(model.lower_bound_)


def test_a_variational_component_without_samples_is_named():
    model = BayesianGaussianMixture(6, random_state=0, max_iter=2000, tol=1e-8).fit(BLOB)
    assert model.empty_components_
    light = np.flatnonzero(model.weights_ < 1 / 50)
    assert set(model.empty_components_) <= set(light.tolist())


@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_a_bad_weight_among_many_integers_is_found(bad):
    x, weight = np.arange(8000)[:, None] % 50, np.ones(8000)
    weight[7] = bad
    with pytest.raises(ValueError, match=r"negative|NaN"):
        GaussianMixture(1).fit(x, sample_weight=weight)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_in_nothing_infinite_comes_out(seed):
    """Repeated, constant, huge, tiny, missing or too few values: a fit or one clear error."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rng.integers(2, 40), rng.integers(1, 5)))
    kind = seed % 5
    if kind == 0:
        x = np.round(x)
    elif kind == 1:
        x[:, 0] = 3.0
    elif kind == 2:
        x *= 10.0 ** rng.integers(-12, 12)
    elif kind == 3:
        x[rng.random(x.shape) < 0.3] = np.nan
    else:
        x = np.repeat(x[:2], 10, axis=0)
    name = rng.choice([*covariance.MODELS, "full", "tied", "diag", "spherical"])
    model = GaussianMixture(int(rng.integers(1, 6)), covariance_type=str(name), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(x.astype(np.float32) if seed % 2 else x)
        except InputError:
            return
    assert np.isfinite(model.predict_proba(x)).all()
    assert np.isfinite(model.score_samples(x)).all()
    assert np.diff(model.lower_bounds_).min(initial=0.0) >= -1e-8
