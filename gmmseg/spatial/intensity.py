"""What intensities each class shows: Gaussians, with mixed voxels between neighbouring tissues.

A voxel that holds a fraction a of one tissue and 1 - a of another has the mean
``a m1 + (1 - a) m2``. Fractions are spread evenly and the label is the larger one, so each tissue
class is a pure Gaussian and, towards each neighbour, a few mixed ones up to half and half
(cf. Shattuck et al. 2001, doi 10.1006/nimg.2000.0730). All are Gaussians whose means and
variances are linear in those of the pure tissues: EM stays exact.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit, prange

N_BLOCKS = 16  # fixed, so that sums do not depend on the number of threads
N_GRID = 2048
N_TIED = 3  # classes GM, WM and CSF share one variance
STRAY = 1e-3  # chance that a voxel called outside by a mask is brain after all


@dataclass(frozen=True, slots=True, eq=False)
class IntensityModel:
    """Gaussian components of every class; means and variances are linear in the pure ones.

    Attributes
    ----------
    design : (M, P) float64 ndarray, share of each pure signal in each component, rows sum to one
    owner : (M,) int64 ndarray, class of each component
    weights : (M,) float64 ndarray, sums to one within each class
    pure_means : (P,) float64 ndarray, image units
    pure_variances : (P,) float64 ndarray, image units squared
    """

    design: np.ndarray
    owner: np.ndarray
    weights: np.ndarray
    pure_means: np.ndarray
    pure_variances: np.ndarray
    variance_design: np.ndarray

    @property
    def means(self):
        """(M,) component means, image units."""
        return self.design @ self.pure_means

    @property
    def variances(self):
        """(M,) component variances, image units squared."""
        return self.variance_design @ self.pure_variances


def design_for(neighbours, n_pure_each, n_steps):
    """Lay out the components.

    Parameters
    ----------
    neighbours : sequence of (int, int)
        Pairs of classes that share voxels; both must have one pure signal.
    n_pure_each : sequence of int, number of Gaussians of each class
    n_steps : int, mixed components on each side of half and half

    Returns
    -------
    design (M, P), owner (M,)
    """
    first = np.concatenate([[0], np.cumsum(n_pure_each)])
    rows, owner = [], []
    for k, n in enumerate(n_pure_each):
        for i in range(n):
            row = np.zeros(first[-1])
            row[first[k] + i] = 1.0
            rows.append(row)
            owner.append(k)
    shares = 0.5 + 0.5 * (np.arange(n_steps) + 0.5) / n_steps  # of the owner: above one half
    for a, b in neighbours:
        for mine, other in ((a, b), (b, a)):
            for share in shares:
                row = np.zeros(first[-1])
                row[first[mine]], row[first[other]] = share, 1 - share
                rows.append(row)
                owner.append(mine)
    return np.array(rows), np.array(owner)


def starting_model(values, prior, outside, n_gaussians):
    """Start from the values that the prior gives to each class.

    Parameters
    ----------
    values : (N,) float64 ndarray
    prior : (N, K) ndarray
    outside : (N,) bool ndarray, samples whose value is not looked at
    n_gaussians : sequence of K int, Gaussians of each class

    Returns
    -------
    IntensityModel; Gaussians of one class start at its quantiles, tissues share one variance
    """
    order = np.argsort(values, kind="stable")
    means, variances = [], []
    for k, n in enumerate(n_gaussians):
        if n == 0:
            continue
        w = np.where(outside, 0.0, prior[:, k]) ** 2  # squared: voxels that are mostly this class
        cumulative = np.cumsum(w[order]) / w.sum()
        means += list(np.interp((np.arange(n) + 0.5) / n, cumulative, values[order]))
        spread = np.average((values - np.average(values, weights=w)) ** 2, weights=w)
        variances += [0.5 * spread / n**2] * n
    owner = np.repeat(np.arange(len(n_gaussians)), n_gaussians)
    tissues = owner < N_TIED
    variance_design = np.column_stack([tissues, np.eye(len(owner))[:, ~tissues]]).astype(np.float64)
    variances = np.array(variances)
    return IntensityModel(
        design=np.eye(len(owner)),
        variance_design=variance_design,
        owner=owner,
        weights=1 / np.bincount(owner)[owner],
        pure_means=np.array(means),
        pure_variances=np.concatenate([[variances[tissues].min()], variances[~tissues]]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class IntensityTable:
    """Densities of a model on a fixed grid of intensities.

    Intensities are rounded to this grid wherever the model is fitted, so that the fit is exact EM on
    the rounded values and costs one look-up a class instead of one exponential a component.

    Attributes
    ----------
    low, width : float, first grid value and step, image units
    density : (B, K) float64 ndarray, density of each class
    slope, curvature : (B, K) float64 ndarray, ``sum_c density_c g_c`` with g the derivative of
        ``log density_c`` by the log of the intensity, and its expected negative second derivative
    component : (B, M) float64 ndarray, weighted density of each component
    """

    low: float
    width: float
    density: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    component: np.ndarray

    @property
    def grid(self):
        """(B,) intensities of the grid."""
        return self.low + self.width * np.arange(len(self.density))


def tabulate(model, low, high, floor, n_grid=N_GRID):
    """Tabulate a model between ``low`` and ``high``; ``floor`` (K,) is added to each density."""
    width = (high - low) / (n_grid - 1)
    y = (low + width * np.arange(n_grid))[:, None]
    m, v = model.means, model.variances
    component = model.weights * np.exp(-0.5 * (y - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
    component[component < 1e-30] = 0.0  # denormal numbers are slow
    member = np.equal.outer(model.owner, np.arange(len(floor))).astype(np.float64)
    return IntensityTable(
        low,
        width,
        component @ member + floor,
        (component * (m - y) * y / v) @ member,
        (component * y * y / v) @ member,
        component,
    )


@njit(cache=True, parallel=True)
def expectation(values, outside, prior, low, width, density, slope, curvature, likelihood, out):
    """One fused E-step over the samples.

    Parameters
    ----------
    values : (N,) float64, bias-corrected intensities
    outside : (N,) bool, True where the sample is known to lie outside the brain: its value is not
        looked at, and the last class is the only one it can belong to
    prior : (N, K) float32, class prior of each sample
    low, width, density, slope, curvature : the fields of an IntensityTable
    likelihood : (N, K) float64, written: density of the value under each class
    out : (2, N) float64, written: derivative of the log evidence with respect to the log of the
        value, and its expected negative second derivative

    Returns
    -------
    counts : (K, B) float64, responsibility of each class in each bin of the grid
    total : float, sum of log evidence, nats
    """
    n_samples, n_classes = prior.shape
    n_bins = density.shape[0]
    partial = np.zeros((N_BLOCKS, n_classes, n_bins))
    totals = np.zeros(N_BLOCKS)
    for block in prange(N_BLOCKS):
        for n in range(block * n_samples // N_BLOCKS, (block + 1) * n_samples // N_BLOCKS):
            evidence, s, h = 0.0, 0.0, 0.0
            if outside[n]:
                for k in range(n_classes):
                    likelihood[n, k] = 1.0 if k == n_classes - 1 else STRAY
                    evidence += prior[n, k] * likelihood[n, k]
                totals[block] += np.log(evidence)
                out[0, n] = 0.0
                out[1, n] = 0.0
                continue
            b = int((values[n] - low) / width + 0.5)
            b = min(max(b, 0), n_bins - 1)
            for k in range(n_classes):
                p = prior[n, k]
                likelihood[n, k] = density[b, k]
                evidence += p * density[b, k]
                s += p * slope[b, k]
                h += p * curvature[b, k]
            totals[block] += np.log(evidence)
            out[0, n] = s / evidence + 1.0
            out[1, n] = h / evidence + 1.0
            for k in range(n_classes):
                partial[block, k, b] += prior[n, k] * density[b, k] / evidence
    counts = np.zeros((n_classes, n_bins))
    total = 0.0
    for block in range(N_BLOCKS):
        counts += partial[block]
        total += totals[block]
    return counts, total


def component_sums(model, table, counts):
    """(M, 3) sums of responsibilities r, r y and r y^2 from the class counts on the grid."""
    share = table.component / np.maximum(table.density, 1e-300)[:, model.owner]
    r = counts.T[:, model.owner] * share
    y = table.grid[:, None]
    return np.stack([r.sum(0), (r * y).sum(0), (r * y * y).sum(0)], axis=1)


def log_penalty(model, prior_variance, strength):
    """Log of the inverse-gamma prior on the pure variances, up to a constant, in nats."""
    v = model.pure_variances
    return -strength * (np.log(v) + prior_variance / v).sum()


def maximise(model, statistics, prior_variance, strength):
    """M-step: weights, pure means and pure variances, from the sums of one E-step.

    Means solve a weighted least-squares problem given the variances; variances take damped Fisher
    steps that never lower the expected log-likelihood, so the whole is a generalised EM step
    (Dempster, Laird & Rubin 1977).
    """
    n, s1, s2 = statistics.T
    class_total = np.bincount(model.owner, weights=n + 1e-3)
    weights = (n + 1e-3) / class_total[model.owner]
    model = replace(model, weights=weights)
    for _ in range(3):
        precision = n / model.variances
        normal = model.design.T @ (precision[:, None] * model.design)
        normal += 1e-9 * np.trace(normal) * np.eye(len(normal)) / len(normal)
        target = model.design.T @ (s1 / model.variances)
        empty = np.diag(normal) < 1e-6 * np.diag(normal).max()
        means = np.linalg.solve(normal, target + 0.0)
        means = np.where(empty, model.pure_means, means)
        model = _better(model, replace(model, pure_means=means), statistics, prior_variance, strength)
        residual = s2 - 2 * model.means * s1 + model.means**2 * n
        v = model.variances
        gradient = model.variance_design.T @ (0.5 * (residual / v - n) / v)
        gradient += strength * (prior_variance / model.pure_variances - 1) / model.pure_variances
        fisher = model.variance_design.T @ ((0.5 * n / v**2)[:, None] * model.variance_design)
        fisher += np.diag(strength / model.pure_variances**2)
        step = np.linalg.solve(fisher, gradient)
        scale = 1.0
        for _ in range(12):
            trial = np.maximum(model.pure_variances + scale * step, 0.1 * model.pure_variances)
            better = _better(
                model, replace(model, pure_variances=trial), statistics, prior_variance, strength
            )
            if better is not model:
                model = better
                break
            scale *= 0.5
    return model


def _expected(model, statistics, prior_variance, strength):
    n, s1, s2 = statistics.T
    m, v = model.means, model.variances
    fit = -0.5 * (n * np.log(v) + (s2 - 2 * m * s1 + m * m * n) / v).sum()
    return fit + log_penalty(model, prior_variance, strength)


def _better(model, trial, *args):
    return trial if _expected(trial, *args) >= _expected(model, *args) else model
