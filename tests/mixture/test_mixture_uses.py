"""What a fitted mixture is good for: regression, overlap, adaptation, outliers, files, fit."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats

from gmmseg.checks import InputError
from gmmseg.mixture import adapt, em, goodness, overlap, regression, storage
from gmmseg.mixture.model import Mixture

RNG = np.random.default_rng(0)
FACTORS = RNG.normal(size=(2, 3, 3))
TWO = Mixture(
    [0.4, 0.6],
    [[0.0, 0.0, 0.0], [3.0, 2.0, -1.0]],
    FACTORS @ FACTORS.transpose(0, 2, 1) + np.eye(3),
)
LINE = Mixture([0.3, 0.7], [[0.0], [6.0]], [[[1.0]], [[4.0]]])


def test_a_channel_is_filled_in_as_by_conditioning():
    x, _ = TWO.sample(20, np.random.default_rng(1))
    found = regression.predict_channels(TWO, [0, 2], x[:, [0, 2]])
    for row, mean, variance in zip(x, found.mean, found.variance, strict=True):
        given = TWO.condition([0, 2], row[[0, 2]])
        expected = given.weights @ given.means[:, 0]
        assert mean[0] == pytest.approx(expected, abs=1e-12)
        second = given.weights @ (given.covariances[:, 0, 0] + given.means[:, 0] ** 2)
        assert variance[0] == pytest.approx(second - expected**2, abs=1e-10)


def test_prediction_beats_the_mean_by_what_the_variance_promises():
    x, _ = TWO.sample(50_000, np.random.default_rng(2))
    found = regression.predict_channels(TWO, [0, 1], x[:, :2])
    error = np.mean((found.mean[:, 0] - x[:, 2]) ** 2)
    assert error == pytest.approx(found.variance.mean(), rel=0.05)  # 50,000 squares: 1 % or so
    assert error < 0.9 * x[:, 2].var()


def test_a_missing_given_channel_is_left_to_the_others():
    found = regression.predict_channels(TWO, [0, 1], [[1.0, np.nan]])
    assert_allclose(found.mean[:, 0], regression.predict_channels(TWO, 0, [[1.0]]).mean[:, 1])
    with pytest.raises(InputError, match="not given"):
        regression.predict_channels(TWO, [0, 1, 2], [[1.0, 1.0, 1.0]])


def test_divergences_are_their_integrals():
    p, q = stats.norm(0, 1).pdf, stats.norm(6, 2).pdf
    kl = integrate.quad(
        lambda x: p(x) * (stats.norm(0, 1).logpdf(x) - stats.norm(6, 2).logpdf(x)), -12, 12
    )[0]
    coefficient = integrate.quad(lambda x: np.sqrt(p(x) * q(x)), -20, 30)[0]
    assert overlap.kullback_leibler(LINE)[0, 1] == pytest.approx(kl, rel=1e-8)
    assert overlap.bhattacharyya(LINE)[1, 0] == pytest.approx(-np.log(coefficient), rel=1e-8)


def test_overlapping_components_are_merged_first():
    mixture = Mixture([0.25] * 4, [[0.0], [1.0], [20.0], [21.0]], np.ones((4, 1, 1)))
    x, _ = mixture.sample(2000, np.random.default_rng(0))
    merged = overlap.merge_components(x, mixture, 2)
    assert merged.cluster[0] == merged.cluster[1] != merged.cluster[2] == merged.cluster[3]
    assert (np.diff(merged.entropy) <= 0).all()
    assert merged.entropy[-1] < 1e-3 * merged.entropy[0]  # nothing left to gain
    assert len(set(overlap.merge_components(x, mixture, 1).cluster)) == 1
    with pytest.raises(InputError, match="n_clusters"):
        overlap.merge_components(x, mixture, 5)


def test_adaptation_moves_by_the_relevance_factor():
    """One component: mean (n x + r m) / (n + r)."""
    x = np.full((8, 1), 4.0)
    background = Mixture([1.0], [[0.0]], [[[9.0]]])
    moved = adapt.map_adapt(x, background, relevance=24.0, adapt=("means", "covariances"))
    assert moved.means.item() == pytest.approx(1.0)
    # second moments about the new mean: a quarter of 3^2, three quarters of 9 + 1
    assert moved.covariances.item() == pytest.approx(0.25 * 9 + 0.75 * 10)


def test_adaptation_to_much_data_is_em_and_to_none_the_background():
    x, _ = TWO.sample(5000, np.random.default_rng(3))
    everything = ("weights", "means", "covariances")
    close = adapt.map_adapt(x, TWO, relevance=1e-9, adapt=everything)
    step = em.fit(x, TWO, max_iter=1, tol=-np.inf).mixture
    assert_allclose(close.covariances, step.covariances, atol=1e-8)
    far = adapt.map_adapt(x, TWO, relevance=1e15, adapt=everything)
    assert_allclose(far.means, TWO.means, atol=1e-9)
    for wrong in ({"relevance": 0.0}, {"adapt": ("shape",)}, {"adapt": ()}):
        with pytest.raises(InputError):
            adapt.map_adapt(x, TWO, **wrong)


def test_the_outlier_threshold_has_its_false_alarm_rate():
    threshold = adapt.outlier_threshold(TWO, np.random.default_rng(0), rate=0.02)
    x, _ = TWO.sample(100_000, np.random.default_rng(1))
    rate = np.mean(adapt.outlier_scores(x, TWO) > threshold)
    # both samples err: four times sqrt(.02 .98 (1/1e5 + 1/2e5))
    assert rate == pytest.approx(0.02, abs=4 * np.sqrt(0.02 * 0.98 * 1.5e-5))
    assert adapt.outlier_scores([[50.0, 0.0, 0.0]], TWO)[0] > threshold
    with pytest.raises(InputError, match="between 0 and 1"):
        adapt.outlier_threshold(TWO, RNG, rate=1.0)


def test_distances_reject_their_share_of_one_gaussian():
    one = Mixture([1.0], TWO.means[:1], TWO.covariances[:1])
    x, _ = one.sample(100_000, np.random.default_rng(0))
    rate = adapt.is_outlier_by_distance(x, one, rate=0.05).mean()
    assert rate == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 1e5))
    assert_allclose(adapt.mahalanobis(one.means, one), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["m.npz", "m.json"])
def test_a_mixture_comes_back_bit_by_bit(tmp_path, name):
    path = storage.save(TWO, tmp_path / name)
    back = storage.load(path)
    for part in ("weights", "means", "covariances"):
        assert np.array_equal(getattr(back, part), getattr(TWO, part))
    assert [one.name for one in tmp_path.iterdir()] == [name]  # no temporary file stays


def test_files_that_hold_no_mixture_are_refused(tmp_path):
    with pytest.raises(InputError, match="stored as"):
        storage.save(TWO, tmp_path / "m.pkl")
    with pytest.raises(InputError, match="no file"):
        storage.load(tmp_path / "m.npz")
    (tmp_path / "a.json").write_text(json.dumps({"weights": [1]}))
    (tmp_path / "b.npz").write_bytes(b"nothing")
    for name in ("a.json", "b.npz"):
        with pytest.raises(InputError, match="holds no mixture"):
            storage.load(tmp_path / name)


def test_both_tests_accept_the_truth_and_reject_another():
    x, _ = LINE.sample(5000, np.random.default_rng(4))
    counts, edges = np.histogram(x, bins=60)
    other = Mixture([0.5, 0.5], LINE.means, LINE.covariances)
    assert goodness.chi_square(counts, edges, LINE, n_fitted=0).p_value > 0.01
    assert goodness.chi_square(counts, edges, other, n_fitted=0).p_value < 1e-6
    assert goodness.kolmogorov_smirnov(x, LINE).p_value > 0.01
    assert goodness.kolmogorov_smirnov(x, other).p_value < 1e-6


def test_the_chi_square_p_value_is_uniform_under_the_truth():
    p = []
    for seed in range(200):
        x, _ = LINE.sample(1000, np.random.default_rng(seed))
        counts, edges = np.histogram(x, bins=np.linspace(-3, 12, 31))
        p.append(goodness.chi_square(counts, edges, LINE, n_fitted=0).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.001  # the few samples beyond the edges aside


def test_kolmogorov_smirnov_is_scipys():
    x = np.random.default_rng(5).normal(size=300)
    one = Mixture([1.0], [[0.0]], [[[1.0]]])
    found, scipys = goodness.kolmogorov_smirnov(x, one), stats.kstest(x, "norm")
    assert found.statistic == pytest.approx(scipys.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(scipys.pvalue, abs=0.02)  # Stephens' approximation
    twice = goodness.kolmogorov_smirnov(x, one, sample_weight=np.full(300, 2.0))
    assert twice.statistic == pytest.approx(found.statistic, abs=1e-12)


def test_quantiles_of_data_and_mixture_lie_on_a_line():
    x, _ = LINE.sample(50_000, np.random.default_rng(6))
    of_mixture, of_data = goodness.quantile_pairs(x, LINE)
    assert np.corrcoef(of_mixture, of_data)[0, 1] > 0.9999
    assert np.abs(of_mixture - of_data)[5:-5].max() < 0.1  # a fortieth of the spread


def test_too_few_bins_for_a_chi_square_are_refused():
    with pytest.raises(InputError, match="degree of freedom"):
        goodness.chi_square([5, 5], [0, 1, 2], LINE)
    with pytest.raises(InputError, match="edges"):
        goodness.chi_square([5, 5], [0, 1], LINE)
    with pytest.raises(InputError, match="no values"):
        goodness.kolmogorov_smirnov([np.nan], LINE)
