"""Choosing components and covariances; how sure the parameters are."""

import numpy as np
import pytest
from sklearn import datasets

from gmmseg.checks import InputError
from gmmseg.mixture import em, select, start


@pytest.mark.parametrize("criterion", select.CRITERIA)
def test_three_planted_components_are_counted(criterion):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, 1, (150, 2)) for m in (0, 9, 18)])
    chosen = select.select_mixture(x, range(1, 6), criterion=criterion)
    assert chosen.best.n_components == (3 if criterion != "aic" else chosen.best.n_components)
    assert chosen.best.n_components >= 3  # AIC may overfit, never underfits at nine deviations


def test_combinations_that_cannot_be_fitted_are_listed_with_the_reason():
    x = np.repeat(np.arange(4.0), 5)[:, None]
    chosen = select.select_mixture(x, (1, 30))
    assert chosen.best.n_components == 1
    assert "n_samples" in chosen.table[1].problem
    with pytest.raises(InputError, match="no mixture could be fitted"):
        select.select_mixture(x, (30,))
    with pytest.raises(InputError, match="criterion"):
        select.select_mixture(x, (1,), criterion="dic")


def test_the_best_start_is_the_one_that_gets_furthest():
    x, _ = datasets.make_blobs(400, centers=6, random_state=1, cluster_std=0.6)
    rng = np.random.default_rng(0)
    starts = [start.random(x, 6, rng) for _ in range(10)]
    values = [em.fit(x, one, max_iter=10, tol=0.0).objective[-1] for one in starts]
    best = select.best_of(x, starts)
    assert em.mean_log_likelihood(x, best) == pytest.approx(max(values), abs=1e-12)
