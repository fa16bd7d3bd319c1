"""Compiled loops: the passes of EM over all samples.

Rows are taken in tiles of ``TILE`` and laid out channel by channel, so that every inner
loop runs over samples and the compiler turns it into vector instructions. All arithmetic
is float64, whatever the dtype of the samples.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

TILE = 256

# Sums may be split over vector lanes; nothing else is relaxed (NaN and infinity keep
# their meaning). Compiled code fixes the order, so results are repeatable.
_SUMS = {"reassoc", "contract", "nsz"}


@intrinsic
def _bits(typingctx, value):
    """The 64 bits of a double as an integer."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _double(typingctx, value):
    """The double whose 64 bits these are."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


# Not to inherit a caller's licence to reorder sums: adding and taking away 1.5 * 2^52 would
# cancel, and exp would be wrong by up to the root of 2.
@njit(nogil=True, cache=True, fastmath=False)
def exp_nonpositive(x):
    """exp(x) for x <= 0, to 2 units in the last place; a loop over it is vectorised.

    The library's exp is called one number at a time. 2^n comes from the bits of
    x / log 2 + 1.5 * 2^52, whose low bits hold n; the rest is a Taylor series of degree 12
    on |r| <= log(2) / 2.
    """
    x = max(x, -708.0)
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10
    p = 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _double((_bits(shifted) + 1023) << 52)


@njit(nogil=True, cache=True)
def _softmax_tile(joint, n, top, total):
    """Turn log joints (K, n) into posteriors in place; returns nothing, fills top and total."""
    for i in range(n):
        top[i] = joint[0, i]
        total[i] = 0.0
    for k in range(1, joint.shape[0]):
        for i in range(n):
            top[i] = max(top[i], joint[k, i])
    for k in range(joint.shape[0]):
        for i in range(n):
            value = exp_nonpositive(joint[k, i] - top[i])
            joint[k, i] = value
            total[i] += value
    for k in range(joint.shape[0]):
        for i in range(n):
            joint[k, i] /= total[i]


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _moments_tile(d, r, k, n, counts, sums, scatter):
    """Add a tile's responsibilities and residuals d (C, n) of component k to its moments."""
    channels = d.shape[0]
    count = 0.0
    for i in range(n):
        count += r[k, i]
    counts[k] += count
    for a in range(channels):
        first = 0.0
        for i in range(n):
            first += r[k, i] * d[a, i]
        sums[k, a] += first
        for b in range(a + 1):
            second = 0.0
            for i in range(n):
                second += r[k, i] * d[a, i] * d[b, i]
            scatter[k, a, b] += second


@njit(nogil=True, cache=True)
def e_pass(
    x,
    first,
    last,
    centre,
    means,
    roots,
    constants,
    sample_weight,
    log_prior,
    posterior,
    evidence,
    counts,
    sums,
    scatter,
):
    """E-step and the sums of the M-step over rows ``first`` to ``last``, in one pass.

    ``means`` (K, C) are given relative to ``centre`` (C,); ``roots`` (K, C, C) are lower
    triangular whitening matrices; ``constants`` (K,) hold all that does not depend on the
    sample. ``sample_weight`` (N,), ``log_prior`` (N, K), ``posterior`` (N, K), ``evidence``
    (N,) and ``counts`` (K,) may be empty, which switches them off. ``sums`` and ``scatter``
    gather residuals from ``means``; only the lower triangle of ``scatter`` is filled.
    Returns the sum of log evidence, in nats.
    """
    components, channels = means.shape
    xt = np.empty((channels, TILE))
    d = np.empty((channels, TILE))
    y = np.empty(TILE)
    joint = np.empty((components, TILE))
    top = np.empty(TILE)
    total = np.empty(TILE)
    log_likelihood = 0.0
    for begin in range(first, last, TILE):
        n = min(TILE, last - begin)
        for a in range(channels):
            for i in range(n):
                xt[a, i] = x[begin + i, a] - centre[a]
        for k in range(components):
            for i in range(n):
                joint[k, i] = constants[k]
            for a in range(channels):
                mean = means[k, a]
                for i in range(n):
                    d[a, i] = xt[a, i] - mean
                for i in range(n):
                    y[i] = 0.0
                for b in range(a + 1):
                    root = roots[k, a, b]
                    for i in range(n):
                        y[i] += root * d[b, i]
                for i in range(n):
                    joint[k, i] -= 0.5 * y[i] * y[i]
        if log_prior.size:
            for i in range(n):
                for k in range(components):
                    joint[k, i] += log_prior[begin + i, k]
        _softmax_tile(joint, n, top, total)
        for i in range(n):
            value = top[i] + np.log(total[i])
            if evidence.size:
                evidence[begin + i] = value
            if sample_weight.size:
                value *= sample_weight[begin + i]
            log_likelihood += value
        if posterior.size:
            for i in range(n):
                for k in range(components):
                    posterior[begin + i, k] = joint[k, i]
        if counts.size:
            if sample_weight.size:
                for k in range(components):
                    for i in range(n):
                        joint[k, i] *= sample_weight[begin + i]
            for k in range(components):
                for a in range(channels):
                    mean = means[k, a]
                    for i in range(n):
                        d[a, i] = xt[a, i] - mean
                _moments_tile(d, joint, k, n, counts, sums, scatter)
    return log_likelihood


@njit(nogil=True, cache=True, fastmath=_SUMS)
def softmax_rows(joint):
    """Turn log joints (N, K) into posteriors, in place; returns log evidence (N,)."""
    n, components = joint.shape
    evidence = np.empty(n)
    for i in range(n):
        top = joint[i, 0]
        for k in range(components):
            top = max(top, joint[i, k])
        total = 0.0
        for k in range(components):
            value = exp_nonpositive(joint[i, k] - top)
            joint[i, k] = value
            total += value
        scale = 1 / total
        for k in range(components):
            joint[i, k] *= scale
        evidence[i] = top + np.log(total)
    return evidence


@njit(nogil=True, cache=True)
def rotate_pairs(scatter, precisions, axes):
    """One sweep of exact rotations in each plane of two axes; never raises the objective."""
    components, channels = precisions.shape
    axes = axes.copy()
    inner = np.empty_like(scatter)
    for k in range(components):
        inner[k] = axes.T @ scatter[k] @ axes
    for p in range(channels):
        for q in range(p + 1, channels):
            pp, pq, qq = 0.0, 0.0, 0.0
            for k in range(components):
                gain = precisions[k, p] - precisions[k, q]
                pp += gain * inner[k, p, p]
                pq += gain * inner[k, p, q]
                qq += gain * inner[k, q, q]
            # Axis p takes the eigenvector of the smaller eigenvalue of [[pp, pq], [pq, qq]].
            angle = 0.5 * np.arctan2(-2 * pq, qq - pp)
            c, s = np.cos(angle), np.sin(angle)
            for a in range(channels):
                axes[a, p], axes[a, q] = (
                    c * axes[a, p] + s * axes[a, q], c * axes[a, q] - s * axes[a, p]
                )  # fmt: skip
            for k in range(components):
                for a in range(channels):
                    inner[k, a, p], inner[k, a, q] = (
                        c * inner[k, a, p] + s * inner[k, a, q],
                        c * inner[k, a, q] - s * inner[k, a, p],
                    )
                for a in range(channels):
                    inner[k, p, a], inner[k, q, a] = (
                        c * inner[k, p, a] + s * inner[k, q, a],
                        c * inner[k, q, a] - s * inner[k, p, a],
                    )
    return axes


@njit(nogil=True, cache=True)
def all_whole(x):
    """Whether every number is whole; stops at the first that is not."""
    i = 0
    while i < len(x) and x[i] == np.floor(x[i]):
        i += 1
    return i == len(x)


@njit(nogil=True, cache=True)
def count_levels(x, base, n_levels):
    """Occurrences of each whole number from ``base`` on.

    Four tables in turn, so that runs of one value do not wait for each other's addition.
    """
    counts = np.zeros((4, n_levels), dtype=np.int64)
    n = len(x) - len(x) % 4
    for i in range(0, n, 4):
        counts[0, np.int64(x[i]) - base] += 1
        counts[1, np.int64(x[i + 1]) - base] += 1
        counts[2, np.int64(x[i + 2]) - base] += 1
        counts[3, np.int64(x[i + 3]) - base] += 1
    for i in range(n, len(x)):
        counts[0, np.int64(x[i]) - base] += 1
    return counts.sum(axis=0)


@njit(nogil=True, cache=True)
def whiten(covariances, roots, log_dets):
    """Inverse Cholesky factors of (K, C, C) matrices and their log determinants.

    Returns the first matrix that is not positive definite, or -1. Written out because
    threaded libraries take longer to wake their threads than such small matrices need.
    """
    components, channels = covariances.shape[:2]
    lower = np.empty((channels, channels))
    for k in range(components):
        log_dets[k] = 0.0
        for a in range(channels):
            for b in range(a + 1):
                value = covariances[k, a, b]
                for c in range(b):
                    value -= lower[a, c] * lower[b, c]
                if b < a:
                    lower[a, b] = value / lower[b, b]
                elif value > 0.0:
                    lower[a, a] = np.sqrt(value)
                    log_dets[k] -= np.log(lower[a, a])
                else:  # also NaN
                    return k
        for b in range(channels):
            for a in range(channels):
                value = 1.0 if a == b else 0.0
                for c in range(b, a):
                    value -= lower[a, c] * roots[k, c, b]
                roots[k, a, b] = value / lower[a, a] if a >= b else 0.0
    return -1


@njit(nogil=True, cache=True)
def count_bins(x, low, per_bin, n_bins):
    """Occurrences in equal bins from ``low`` on; NaN is left out, the last bin is closed."""
    counts = np.zeros(n_bins, dtype=np.int64)
    for value in x:
        if value == value:
            counts[min(np.int64((np.float64(value) - low) * per_bin), n_bins - 1)] += 1
    return counts
