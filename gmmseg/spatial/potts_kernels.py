"""Compiled sweeps of the Potts field: one row at a time, one colour at a time, in vector lanes.

The columns of a row are kept apart by parity: ``state[row, parity, class, 1 + x // 2]``. No two
columns of one parity are neighbours within a row, so the pixels that one update changes lie side
by side, and so do their neighbours. The place before and behind a row holds zeros (no neighbour).
"""

from __future__ import annotations

import numpy as np
from numba import njit

TILE = 256  # columns at a time: the buffers of ten classes stay in the first-level cache
OUTSIDE = 255  # label of a pixel that takes no part

_SUMS = {"reassoc", "contract", "nsz"}  # may be split over lanes; the order is fixed all the same
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_LOWEST = np.float32(-80.0)  # small, yet its share of a sum is no denormal number
_LOG2E = np.float32(1.4426950408889634)
_ROUND = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves the whole part in the low bits
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P2, _P3, _P4, _P5, _P6, _P7 = (
    np.float32(each)
    for each in (
        5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3,
        1.9875691500e-4,
    )
)  # fmt: skip


@njit(nogil=True, cache=True, fastmath=False)
def exp32(x: np.float32) -> np.float32:
    """exp(x) for x <= 0 in single precision, within 2 units in the last place.

    Below -80 it stays at exp(-80). A loop over it is vectorised (Cephes, ``expf``). A caller
    that may reorder its sums must not hand that freedom down: rounding to whole numbers here
    would cancel out.
    """
    x = max(x, _LOWEST)
    shifted = x * _LOG2E + _ROUND
    n = shifted - _ROUND
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P7 * r + _P6) * r + _P5) * r + _P4) * r + _P3) * r + _P2
    p = p * r * r + r + _ONE
    bits = (np.float32(shifted).view(np.int32) + np.int32(127)) << np.int32(23)
    return p * np.int32(bits).view(np.float32)


@njit(nogil=True, cache=True)
def _unary(
    field: np.ndarray,
    keep: np.ndarray,
    joint: np.ndarray,
    index: np.ndarray,
    table: np.ndarray,
    row: int,
    parity: int,
    start: int,
    n: int,
) -> None:
    """Unary terms (K, n) of one tile, from rows of joints or from a table of levels."""
    x = parity + 2 * start
    if table.size:
        for i in range(n):
            level = index[row, x + 2 * i]
            for c in range(field.shape[0]):
                field[c, i] = table[level, c]
    else:
        for i in range(n):
            for c in range(field.shape[0]):
                field[c, i] = joint[row, x + 2 * i, c] if keep[i] > 0 else _ZERO


@njit(nogil=True, cache=True)
def _couplings(
    weight: np.ndarray,
    image: np.ndarray,
    sharpness: np.float32,
    row: int,
    other: int,
    x: int,
    dx: int,
    n: int,
) -> None:
    """Coupling (n,) of columns ``x``, ``x + 2``, ... of one row to those ``dx`` on in another."""
    width = image.shape[1]
    for i in range(n):
        weight[i] = _ZERO
    first = 1 if x + dx < 0 else 0
    last = n - 1 if x + 2 * (n - 1) + dx >= width else n
    for i in range(first, last):
        difference = image[row, x + 2 * i] - image[other, x + dx + 2 * i]
        weight[i] = exp32(-sharpness * difference * difference)


@njit(nogil=True, cache=True)
def _add_neighbours(
    total: np.ndarray,
    state: np.ndarray,
    rows_of: tuple[int, int],
    offsets: np.ndarray,
    weights: np.ndarray,
    image: np.ndarray,
    sharpness: np.float32,
    coupling: np.ndarray,
    row: int,
    parity: int,
    start: int,
    n: int,
) -> None:
    """Add to ``total`` (K, n) the weighted states of the neighbours at ``offsets`` (M, 3)."""
    height = rows_of[1]
    z, y = row // height, row % height
    for m in range(len(offsets)):
        if not (0 <= z + offsets[m, 0] < rows_of[0] and 0 <= y + offsets[m, 1] < height):
            continue
        other = row + offsets[m, 0] * height + offsets[m, 1]
        dx = offsets[m, 2]
        half = (parity + dx) % 2
        begin = 1 + start + (parity + dx - half) // 2
        if sharpness > 0:
            _couplings(coupling, image, sharpness, row, other, parity + 2 * start, dx, n)
            for i in range(n):
                coupling[i] *= weights[m]
        for c in range(total.shape[0]):
            into = total[c]
            source = state[other, half, c, begin : begin + n]
            if sharpness > 0:
                for i in range(n):
                    into[i] += coupling[i] * source[i]
            else:
                weight = weights[m]
                for i in range(n):
                    into[i] += weight * source[i]


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _softmax(
    field: np.ndarray,
    ahead: np.ndarray,
    top: np.ndarray,
    total: np.ndarray,
    keep: np.ndarray,
    out: np.ndarray,
    start: int,
    n: int,
) -> float:
    """Write posteriors of the joints ``field`` (K, n) and return what they add to the bound."""
    n_classes = len(field)
    for i in range(n):
        top[i] = field[0, i]
        total[i] = _ZERO
    for c in range(1, n_classes):
        for i in range(n):
            top[i] = max(top[i], field[c, i])
    for c in range(n_classes):
        for i in range(n):
            value = exp32(field[c, i] - top[i])
            field[c, i] = value
            total[i] += value
    gain = 0.0
    for i in range(0, n - n % 16, 16):  # one logarithm for 16 pixels: 254^16 cannot overflow
        product = 1.0
        for j in range(16):
            product *= _ONE + keep[i + j] * (total[i + j] - _ONE)
        gain += np.log(product)
    for i in range(n - n % 16, n):
        gain += keep[i] * np.log(total[i])
    for i in range(n):
        total[i] = keep[i] / total[i]
        gain += keep[i] * top[i]
    for c in range(n_classes):
        target = out[c, 1 + start : 1 + start + n]
        for i in range(n):
            target[i] = field[c, i] * total[i]
        for i in range(n):
            gain -= target[i] * ahead[c, i]
    return gain


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _winner(
    field: np.ndarray,
    ahead: np.ndarray,
    top: np.ndarray,
    left: np.ndarray,
    keep: np.ndarray,
    out: np.ndarray,
    start: int,
    n: int,
) -> float:
    """Write a one for the best class, zeros else; returns what that adds to minus the energy."""
    n_classes = len(field)
    for i in range(n):
        top[i] = field[0, i]
        left[i] = keep[i]
    for c in range(1, n_classes):
        for i in range(n):
            top[i] = max(top[i], field[c, i])
    gain = 0.0
    for i in range(n):
        gain += keep[i] * top[i]
    for c in range(n_classes):
        target = out[c, 1 + start : 1 + start + n]
        for i in range(n):
            won = left[i] if field[c, i] == top[i] else _ZERO
            target[i] = won
            left[i] -= won  # of equal classes the first
        for i in range(n):
            gain -= target[i] * ahead[c, i]
    return gain


@njit(nogil=True, cache=True)
def sweep(
    low: int,
    high: int,
    state: np.ndarray,
    rows_of: tuple[int, int],
    rows: np.ndarray,
    parities: np.ndarray,
    later: np.ndarray,
    sooner: np.ndarray,
    later_weights: np.ndarray,
    sooner_weights: np.ndarray,
    joint: np.ndarray,
    index: np.ndarray,
    table: np.ndarray,
    active: np.ndarray,
    image: np.ndarray,
    sharpness: np.float32,
    hard: bool,
    gains: np.ndarray,
) -> None:
    """Update the pixels of one colour of rows ``low`` to before ``high``.

    ``gains`` (R,) float64 is written: the gain of each row, nats.

    ``state`` (rows, 2, K, 2 + width / 2) float32 is changed; ``rows_of`` are planes and rows of a
    plane. ``rows`` (R,) and ``parities`` (R,) say which half of which rows has the colour.
    ``later`` and ``sooner`` (M, 3) are the offsets of neighbours that this sweep changes
    afterwards, or has changed, with their weights. Unary terms come from ``joint`` (rows, width,
    K) or ``table`` (L, K) at ``index`` (rows, width). ``active`` (rows, width) and ``image``
    (rows, width) may be empty.

    A pair of neighbours is counted once, with the one that is updated last. The unary term and
    entropy of a pixel with field f are log sum exp(f) less the mean of its neighbours' share.
    """
    n_classes = state.shape[2]
    width = index.shape[1] if table.size else joint.shape[1]
    for r in range(low, high):
        row, parity = rows[r], parities[r]
        ahead = np.empty((n_classes, TILE), np.float32)
        field = np.empty((n_classes, TILE), np.float32)
        top, total = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
        keep, coupling = np.ones(TILE, np.float32), np.empty(TILE, np.float32)
        half = (width - parity + 1) // 2
        gain = 0.0
        for start in range(0, half, TILE):
            n = min(TILE, half - start)
            ahead[:] = _ZERO
            if active.size:
                for i in range(n):
                    keep[i] = _ONE if active[row, parity + 2 * (start + i)] else _ZERO
            _unary(field, keep, joint, index, table, row, parity, start, n)
            _add_neighbours(
                ahead, state, rows_of, later, later_weights, image, sharpness, coupling,
                row, parity, start, n,
            )  # fmt: skip
            _add_neighbours(
                field, state, rows_of, sooner, sooner_weights, image, sharpness, coupling,
                row, parity, start, n,
            )  # fmt: skip
            for c in range(n_classes):
                for i in range(n):
                    field[c, i] += ahead[c, i]
            if hard:
                gain += _winner(field, ahead, top, total, keep, state[row, parity], start, n)
            else:
                gain += _softmax(field, ahead, top, total, keep, state[row, parity], start, n)
        gains[r] = gain


@njit(nogil=True, cache=True)
def read_out(
    low: int,
    high: int,
    state: np.ndarray,
    active: np.ndarray,
    labels: np.ndarray,
    posterior: np.ndarray,
) -> None:
    """Fill ``labels`` (rows, width) and, unless empty, ``posterior`` (rows, width, K)."""
    n_classes = state.shape[2]
    for row in range(low, high):
        for x in range(labels.shape[1]):
            if active.size and not active[row, x]:
                labels[row, x] = OUTSIDE
                continue
            best = 0
            for c in range(1, n_classes):
                if state[row, x % 2, c, 1 + x // 2] > state[row, x % 2, best, 1 + x // 2]:
                    best = c
            labels[row, x] = best
            if posterior.size:
                for c in range(n_classes):
                    posterior[row, x, c] = state[row, x % 2, c, 1 + x // 2]
