r"""Most probable labels of a Potts field by minimum cuts.

Two classes need one cut and are solved exactly; more classes take one cut for each class in turn
(expansion moves), each of which finds the best of all ways to give pixels to that class. The
solver is SciPy's maximum flow, which is here anyway; PyMaxflow is some five times as fast and
under the GPL.

References
----------
Greig, Porteous & Seheult (1989), *J. R. Stat. Soc. B* 51, 271-279; Boykov, Veksler & Zabih
(2001), doi 10.1109/34.969114; Kolmogorov & Zabih (2004), doi 10.1109/TPAMI.2004.1262177.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from gmmseg.spatial.neighbours import Neighbourhood

_UNITS = 2**20  # whole units of the largest capacity: a flow of whole numbers, exact to 1e-6 of it


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of neighbours among N sites: (P,) first and second site, and their coupling, nats."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray


def pairs_of(
    hood: Neighbourhood,
    strengths: np.ndarray,
    used: np.ndarray,
    image: np.ndarray,
    sharpness: float,
) -> Pairs:
    """Pairs of the used sites of a grid, numbered in the order of the grid.

    Parameters
    ----------
    hood : Neighbourhood
    strengths : (M,) float32 ndarray, coupling at each offset, nats
    used : (Z * Y * X,) bool ndarray
    image : (Z * Y * X,) float32 ndarray, for contrast; may be empty where ``sharpness`` is 0
    sharpness : float
    """
    number = (np.cumsum(used, dtype=np.int32) - 1).reshape(hood.shape)
    grid = used.reshape(hood.shape)
    first, second, weight = [], [], []
    for offset, strength in zip(hood.offsets, strengths, strict=True):
        if tuple(offset) < (0, 0, 0):
            continue  # the same pairs, seen from the other end
        here = tuple(
            slice(max(0, -d), n - max(0, d)) for d, n in zip(offset, hood.shape, strict=True)
        )
        there = tuple(
            slice(max(0, d), n - max(0, -d)) for d, n in zip(offset, hood.shape, strict=True)
        )
        both = grid[here] & grid[there]
        first.append(number[here][both])
        second.append(number[there][both])
        coupling = np.full(len(first[-1]), float(strength))
        if sharpness > 0:
            values = image.reshape(hood.shape)
            difference = (values[here][both] - values[there][both]).astype(np.float64)
            coupling *= np.exp(-sharpness * difference**2)
        weight.append(coupling)
    if not first:
        return Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
    return Pairs(np.concatenate(first), np.concatenate(second), np.concatenate(weight))


def log_probability(unary: np.ndarray, pairs: Pairs, labels: np.ndarray) -> float:
    """Sum of unary terms and of the couplings of like neighbours, nats per site."""
    alone = np.take_along_axis(unary, labels[:, None].astype(np.intp), axis=1)
    alike = labels[pairs.first] == labels[pairs.second]
    return float((alone.sum(dtype=np.float64) + pairs.weight[alike].sum()) / len(labels))


def most_probable(
    unary: np.ndarray, pairs: Pairs, starts: list[np.ndarray], *, max_rounds: int = 20
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The most probable labels: exact for two classes, by expansion moves for more.

    Parameters
    ----------
    unary : (N, K) float32 ndarray, nats
    pairs : Pairs
    starts : list of (N,) uint8 ndarray
        The best of them is where expansion starts; the result is never worse.
    max_rounds : int, at most so many moves of each class

    Returns
    -------
    labels : (N,) uint8 ndarray
    objective : float64 ndarray
        :func:`log_probability` of the start and after each round; never falls.
    converged : bool
    """
    n_classes = unary.shape[1]
    values = [log_probability(unary, pairs, one) for one in starts]
    labels, value = starts[int(np.argmax(values))], max(values)
    objective = [value]
    if n_classes == 1 or not len(pairs.weight):
        return labels, np.array(objective), True
    for _ in range(1 if n_classes == 2 else max_rounds):
        for c in range(n_classes) if n_classes > 2 else (1,):
            # With two classes the one move from all zeros reaches every labelling.
            base = labels if n_classes > 2 else np.zeros_like(labels)
            moved = expand(unary, pairs, base, c)
            new = log_probability(unary, pairs, moved)
            if new > value:  # in doubles: a tie of whole units may be a loss
                labels, value = moved, new
        objective.append(value)
        if objective[-1] <= objective[-2]:
            break
    done = n_classes == 2 or objective[-1] <= objective[-2]
    return labels, np.array(objective), done


def expand(unary: np.ndarray, pairs: Pairs, labels: np.ndarray, winner: int) -> np.ndarray:
    """The best labels among those that give some sites to class ``winner`` and change no other.

    A site that moves (x = 1) gains its difference in unary terms; pairs (Kolmogorov & Zabih,
    2004, table 1) cost ``w [a != b]`` where both stay, ``w [a != winner]`` or ``w [b !=
    winner]`` where one moves, nothing where both do.
    """
    sites = np.arange(len(labels))
    gain = unary[:, winner].astype(np.float64) - unary[sites, labels]
    a, b = labels[pairs.first], labels[pairs.second]
    stay = pairs.weight * (a != b)
    second_moves = pairs.weight * (a != winner)
    first_moves = pairs.weight * (b != winner)
    # cost = stay + (first_moves - stay) x_i + (0 - first_moves) x_j
    #        + (first_moves + second_moves - stay) (1 - x_i) x_j
    # A forbidden class has a gain of minus infinity: more than all couplings is as much.
    enough = 1.0 + np.bincount(pairs.first, pairs.weight, len(labels))
    enough += np.bincount(pairs.second, pairs.weight, len(labels))
    cost = -np.clip(gain, -enough, enough)
    cost += np.bincount(pairs.first, first_moves - stay, len(labels))
    cost -= np.bincount(pairs.second, first_moves, len(labels))
    free = labels != winner
    capacity = first_moves + second_moves - stay
    moves = minimum_cut(cost, pairs.second, pairs.first, capacity, free)
    return np.where(moves, np.uint8(winner), labels)


def minimum_cut(
    cost: np.ndarray, source: np.ndarray, target: np.ndarray, capacity: np.ndarray, free: np.ndarray
) -> np.ndarray:
    r"""Minimise :math:`\sum_n c_n x_n + \sum_p k_p x_{s_p} (1 - x_{t_p})` over zeros and ones.

    Parameters
    ----------
    cost : (N,) float64 ndarray, of a one
    source, target : (P,) int ndarrays
    capacity : (P,) float64 ndarray, not negative
    free : (N,) bool ndarray
        Sites that are not free are one.

    Returns
    -------
    (N,) bool ndarray
    """
    unit = max(float(capacity.max(initial=0.0)), float(np.abs(cost).max()), 1e-300) / _UNITS
    whole = np.rint(cost / unit).astype(np.int64)
    rope = np.rint(capacity / unit).astype(np.int64)
    x, undecided = _settle(whole, source, target, rope, free)
    if not undecided.any():
        return x
    return _flow(whole, source, target, rope, x, undecided)


def _settle(
    cost: np.ndarray, source: np.ndarray, target: np.ndarray, rope: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Decide, over and over, the sites whose own cost outweighs all that neighbours may do.

    What is left is a small part wherever classes are well apart.
    """
    n = len(cost)
    x, undecided = ~free, free.copy()
    while True:
        open_source, open_target = undecided[source], undecided[target]
        # The cost of a one, less what settled neighbours at zero add and at one save ...
        out = np.bincount(source, rope * (~open_target & ~x[target]), n)
        back = np.bincount(target, rope * (~open_source & x[source]), n)
        net = cost + out - back
        # ... and what open neighbours may still add or save.
        worse = np.bincount(source, rope * open_target, n)
        better = np.bincount(target, rope * open_source, n)
        ones = undecided & (net + worse <= 0)
        zeros = undecided & ~ones & (net - better >= 0)
        x[ones] = True
        undecided &= ~(ones | zeros)
        # Few newly settled sites seldom settle many more, and the flow takes them as well.
        if np.count_nonzero(ones) + np.count_nonzero(zeros) <= 0.01 * np.count_nonzero(undecided):
            return x, undecided


def _flow(
    cost: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    rope: np.ndarray,
    x: np.ndarray,
    undecided: np.ndarray,
) -> np.ndarray:
    """Maximum flow among the undecided sites; those still reached from the source are one."""
    n = len(cost)
    out = np.bincount(source, rope * (~undecided[target] & ~x[target]), n)
    back = np.bincount(target, rope * (~undecided[source] & x[source]), n)
    net = (cost + out - back)[undecided].astype(np.int64)
    number = np.cumsum(undecided, dtype=np.int32) - 1
    inner = undecided[source] & undecided[target] & (rope > 0)
    m = len(net)
    wins, loses = np.flatnonzero(net < 0), np.flatnonzero(net > 0)
    head = np.concatenate([number[source[inner]], np.full(len(wins), m), loses])
    tail = np.concatenate([number[target[inner]], wins, np.full(len(loses), m + 1)])
    size = np.concatenate([rope[inner], -net[wins], net[loses]])
    # At most 26 neighbours of 2^20 units and as much again: no overflow of 32 bits.
    graph = csr_array(
        (size.astype(np.int32), (head.astype(np.int32), tail.astype(np.int32))),
        shape=(m + 2, m + 2),
    )
    residual = graph - maximum_flow(graph, m, m + 1).flow
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    reached = breadth_first_order(residual, m, return_predecessors=False)
    one = np.zeros(m + 2, bool)
    one[reached] = True
    result = x.copy()
    result[undecided] = one[:m]
    return result
