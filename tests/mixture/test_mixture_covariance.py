"""Covariance models: each M-step is the best within its model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gmmseg.checks import InputError
from gmmseg.mixture import covariance, em, start


def problem(seed, n_components=3, n_channels=3):
    rng = np.random.default_rng(seed)
    counts = rng.uniform(5, 50, n_components)
    factors = rng.normal(size=(n_components, n_channels, n_channels))
    return counts[:, None, None] * (factors @ factors.transpose(0, 2, 1)), counts


def value(covariances, scatter, counts):
    log_dets = np.linalg.slogdet(covariances)[1]
    traces = np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2)
    return -0.5 * (counts @ log_dets + traces.sum())


def decompose(covariances):
    """Volumes, sorted shapes and whether the eigenvectors are shared."""
    volumes = np.linalg.det(covariances) ** (1 / covariances.shape[-1])
    return volumes, np.linalg.eigvalsh(covariances) / volumes[:, None]


@pytest.mark.parametrize("name", covariance.MODELS)
def test_what_is_equal_is_equal_and_what_varies_varies(name):
    scatter, counts = problem(1)
    found = covariance.maximise(scatter, counts, name)
    volumes, shapes = decompose(found)
    assert (np.ptp(volumes) < 1e-9) == (name[0] == "E")
    assert (np.ptp(shapes, axis=0).max() < 1e-9) == (name[1] != "V")
    assert (np.abs(shapes - 1).max() < 1e-9) == (name[1] == "I")
    commute = found[0] @ found[1] - found[1] @ found[0]
    assert (np.abs(commute).max() < 1e-8) == (name[2] != "V")
    off_axis = np.abs(found * (1 - np.eye(3))).max()
    assert (off_axis < 1e-12) == (name[2] == "I")


NESTED = [
    ("EII", "VII"), ("EII", "EEI"), ("EEI", "VEI"), ("EEI", "EVI"), ("VEI", "VVI"),
    ("EVI", "VVI"), ("EEI", "EEE"), ("EEE", "VEE"), ("EEE", "EVE"), ("VEE", "VVE"),
    ("EVE", "VVE"), ("EEE", "EEV"), ("EEV", "VEV"), ("EEV", "EVV"), ("VEV", "VVV"),
    ("EVV", "VVV"), ("VVE", "VVV"), ("EVE", "EVV"), ("VEE", "VEV"),
]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_wider_model_fits_at_least_as_well(seed):
    """From the narrower model's answer: a common orientation may have local maxima."""
    scatter, counts = problem(seed)
    for narrow, wide in NESTED:
        first = covariance.maximise(scatter, counts, narrow)
        second = covariance.maximise(scatter, counts, wide, first)
        assert value(second, scatter, counts) >= value(first, scatter, counts) - 1e-6


@pytest.mark.parametrize("name", ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "VEE", "EEV", "VEV"])
def test_no_small_change_within_the_model_fits_better(name):
    """Perturbed scatter gives another member of the model; none beats the maximum."""
    scatter, counts = problem(2)
    best = value(covariance.maximise(scatter, counts, name), scatter, counts)
    rng = np.random.default_rng(0)
    for _ in range(30):
        factors = np.eye(3) + 0.1 * rng.normal(size=(3, 3, 3))
        other = covariance.maximise(
            factors @ scatter @ factors.transpose(0, 2, 1), counts * rng.uniform(0.9, 1.1, 3), name
        )
        assert value(other, scatter, counts) <= best + 1e-8


@pytest.mark.parametrize("name", ["VEE", "EVE", "VVE"])
def test_a_step_from_the_previous_covariances_never_loses(name):
    scatter, counts = problem(3)
    current = covariance.maximise(*problem(4), name)
    update = covariance.maximise(scatter, counts, name, current)
    assert value(update, scatter, counts) >= value(current, scatter, counts)


def test_exact_members_of_the_common_orientation_are_recovered():
    rng = np.random.default_rng(6)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    truth = np.stack([axes * v @ axes.T for v in rng.uniform(0.5, 9, (3, 4))])
    counts = np.array([10.0, 20.0, 30.0])
    found = covariance.maximise(truth * counts[:, None, None], counts, "VVE")
    for _ in range(20):
        found = covariance.maximise(truth * counts[:, None, None], counts, "VVE", found)
    assert_allclose(found, truth, atol=1e-6)


def test_parameter_counts_are_mclusts():
    """Table 1 of the mclust paper (Scrucca et al. 2016) for G = 3 components, d = 4 channels."""
    counts = "1 3 4 6 10 12 10 12 16 18 22 24 28 30"
    expected = dict(zip(covariance.MODELS, map(int, counts.split()), strict=True))
    found = {name: covariance.n_covariance_parameters(name, 3, 4) for name in covariance.MODELS}
    assert found == expected


def test_unknown_models_are_refused():
    with pytest.raises(InputError, match="Use one of"):
        covariance.model_name("VVX")


def stretched(decades):
    """Two clusters in three columns whose scales lie this many decades apart."""
    rng = np.random.default_rng(0)
    second = rng.integers(0, 2, (300, 1))
    x = (rng.normal(size=(300, 3)) + 3 * second * [1, 1, 0]) * 10 ** (decades * ROOM)
    begin = start.from_labels(x, second.ravel())
    return x, begin


ROOM = np.array([0.0, -0.5, 0.5])
TURNED = {"EEV": 5, "VEV": 5, "EVV": 5, "VEE": 10, "EVE": 10, "VVE": 10}


@pytest.mark.parametrize(("name", "limit"), TURNED.items())
@pytest.mark.parametrize("room", [-0.2, 0.2, 20.0])
def test_turned_axes_rise_or_refuse_whatever_the_scale_of_columns(name, limit, room):
    """Deviations within a cluster differ by up to a fifth of a decade more than columns do."""
    x, begin = stretched(limit + room)
    if room > 0:
        with pytest.raises(InputError, match="Rescale the columns"):
            em.fit(x, begin, covariance_type=name, tol=-np.inf, max_iter=40)
    else:
        fit = em.fit(x, begin, covariance_type=name, tol=-np.inf, max_iter=40)
        assert np.diff(fit.objective).min() > -1e-10


@pytest.mark.parametrize("name", sorted(set(covariance.MODELS) - set(TURNED)))
def test_other_models_rise_at_any_scale_of_columns(name):
    x, begin = stretched(30)
    fit = em.fit(x, begin, covariance_type=name, tol=-np.inf, max_iter=40)
    assert np.diff(fit.objective).min() > -1e-10
