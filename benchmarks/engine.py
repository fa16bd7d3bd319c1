"""Speed of the mixture engine beside its peers: one table, from one run.

    python benchmarks/engine.py [full] [diag] [integers] [small] [components] [--repeats 3]

Both sides use the same threads, start and number of iterations; the likelihoods they reach
are printed so that equal work is seen. Memory is the peak of the process above its size
before the fit. pomegranate and OpenCV are timed when they are installed.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
import warnings
from pathlib import Path

import numpy as np


def planted(n, c, k, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(k, c)) * 4
    return (means[rng.integers(0, k, n)] + rng.normal(size=(n, c))).astype(dtype)


def start_of(x, k):
    """Weights, means and a shared diagonal covariance that both sides take."""
    rng = np.random.default_rng(1)
    return np.full(k, 1 / k), x[rng.choice(len(x), k, replace=False)], x.var(axis=0)


def median_seconds(function, repeats):
    seconds, result = [], None
    for _ in range(repeats):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


def resident():
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def peak_above(function):
    """Peak resident MB while a function runs, above what was resident before."""
    before, peak, done = resident(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return peak[0] - before


def settings(x, k, covariance_type, iterations):
    weights, means, variances = start_of(x, k)
    precision = np.diag(1 / variances) if covariance_type == "full" else 1 / variances
    return {
        "n_components": k, "covariance_type": covariance_type, "max_iter": iterations, "tol": 0.0,
        "weights_init": weights, "means_init": means,
        "precisions_init": np.repeat(precision[None], k, axis=0).astype(x.dtype),
    }  # fmt: skip


def against_sklearn(name, x, k, covariance_type, iterations, repeats):
    from sklearn.mixture import GaussianMixture as Theirs

    from gmmseg.mixture.estimator import GaussianMixture as Ours

    options = settings(x, k, covariance_type, iterations)
    Ours(**options).fit(x[: 10 * k])  # compile
    memory = peak_above(lambda: Ours(**options).fit(x))  # before others leave free memory
    ours, our_model = median_seconds(lambda: Ours(**options).fit(x), repeats)
    theirs, their_model = median_seconds(lambda: Theirs(**options).fit(x), repeats)
    print(
        f"{name:28} ours {ours:8.3f} s   scikit-learn {theirs:8.3f} s   ratio {theirs / ours:6.1f}"
        f"   score {our_model.score(x):.6f} / {their_model.score(x):.6f}   peak +{memory:.0f} MB"
    )
    others(x, k, covariance_type, iterations)


def others(x, k, covariance_type, iterations):
    if covariance_type != "full":
        return
    from gmmseg.mixture import em
    from gmmseg.mixture.model import Mixture

    weights, means, variances = start_of(x, k)
    covariances = np.repeat(np.diag(variances)[None], k, axis=0)
    try:
        import cv2

        cv2.ml  # noqa: B018 (OpenCV 5 moved it to its contributed modules)
    except (ImportError, AttributeError):
        print(f"{'':28} OpenCV with its ml module is not installed")
    else:
        model = cv2.ml.EM_create()
        model.setClustersNumber(k)
        model.setCovarianceMatrixType(cv2.ml.EM_COV_MAT_GENERIC)
        model.setTermCriteria((cv2.TERM_CRITERIA_MAX_ITER, iterations, 0.0))
        # Its Python interface takes no list of covariances: the start goes in as posteriors.
        begun, _ = em.posteriors(x, Mixture(weights, means, covariances))
        begin = time.perf_counter()
        model.trainM(x, begun)
        seconds = time.perf_counter() - begin
        fitted = Mixture(model.getWeights()[0], model.getMeans(), np.array(model.getCovs()))
        print(f"{'':28} OpenCV {seconds:8.3f} s   score {em.mean_log_likelihood(x, fitted):.6f}")
    try:
        import torch
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel
    except ImportError:
        print(f"{'':28} pomegranate is not installed")
    else:
        parts = [
            Normal(torch.tensor(m), torch.tensor(c, dtype=torch.float32))
            for m, c in zip(means, covariances, strict=True)
        ]
        model = GeneralMixtureModel(parts, max_iter=iterations, tol=0.0)
        begin = time.perf_counter()
        model.fit(torch.tensor(x))
        seconds = time.perf_counter() - begin
        score = float(model.log_probability(torch.tensor(x)).mean())
        print(f"{'':28} pomegranate {seconds:8.3f} s   score {score:.6f}")


def full(repeats):
    against_sklearn("full 2,000,000 x 3, K=4", planted(2_000_000, 3, 4), 4, "full", 20, repeats)


def diag(repeats):
    against_sklearn("diag 200,000 x 64, K=64", planted(200_000, 64, 64), 64, "diag", 10, repeats)


def small(repeats):
    from sklearn.mixture import GaussianMixture as Theirs

    from gmmseg.mixture.estimator import GaussianMixture as Ours

    x = planted(2000, 2, 3, np.float64)
    options = {"n_components": 3, "random_state": 0}
    Ours(**options).fit(x)
    Theirs(**options).fit(x)
    ours, a = median_seconds(lambda: Ours(**options).fit(x), 20 * repeats)
    theirs, b = median_seconds(lambda: Theirs(**options).fit(x), 20 * repeats)
    print(
        f"{'2,000 x 2, K=3, with start':28} ours {ours:8.4f} s   scikit-learn {theirs:8.4f} s   "
        f"ratio {theirs / ours:6.1f}   score {a.score(x):.6f} / {b.score(x):.6f}"
    )


def integers(repeats):
    from gmmseg.mixture.estimator import GaussianMixture as Ours
    from gmmseg.mixture.histogram import fit_histogram, weighted_bins

    rng = np.random.default_rng(0)
    tissue = rng.choice(3, 16_000_000, p=[0.2, 0.45, 0.35])
    image = np.rint(rng.normal(np.array([300, 700, 1100.0])[tissue], 80)).astype(np.int16)
    column = image[:, None]
    Ours(3, random_state=0).fit(column)
    seconds, model = median_seconds(lambda: Ours(3, random_state=0).fit(column), repeats)
    print(
        f"{'16,000,000 integers, K=3':28} estimator {seconds:8.3f} s   {model.n_iter_} iterations, "
        f"means {np.sort(model.means_.ravel()).round(1)}"
    )

    def by_histogram():
        centres, counts = weighted_bins(image)
        return fit_histogram(counts, centres, 3)

    seconds, fit = median_seconds(by_histogram, repeats)
    print(f"{'':28} histogram {seconds:8.3f} s   {fit.n_iter} iterations")


def components(_repeats):
    """A background model: one pass of 2048 diagonal components, in bounded memory."""
    from gmmseg.mixture.estimator import GaussianMixture as Ours

    x = planted(1_000_000, 39, 2048)
    options = settings(x, 2048, "diag", 1)
    Ours(**options).fit(x[:4096])
    begin = time.perf_counter()
    memory = peak_above(lambda: Ours(**options).fit(x))
    seconds = (time.perf_counter() - begin) / 2  # the start's likelihood, and one iteration
    print(f"{'1,000,000 x 39, K=2048':28} ours {seconds:8.1f} s a pass   peak +{memory:.0f} MB")


if __name__ == "__main__":
    cases = {
        "full": full, "diag": diag, "integers": integers, "small": small, "components": components,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", default=list(cases))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for case in arguments.case:
        cases[case](arguments.repeats)
