"""Loops that are compiled: each writes into the arrays that come last.

Numba takes half a second to import, so this module is imported where it is used.
"""

import numba
import numpy as np

_BLOCK = 64  # rows whose sets of leaves stay in the cache
# Where a lone bit of 16 is, by the four bits that a de Bruijn sequence times it begins with.
_DE_BRUIJN = 0x0F65
_PLACE = np.argsort([(_DE_BRUIJN << bit & 0xFFFF) >> 12 for bit in range(16)])
# Two sizes whose expected F1 differ by less than this are a tie, and the smaller basket wins. It
# lies above the rounding error of `write_best_sizes` (1e-11 for 1,000 products).
_TIE = 1e-10


@numba.njit(nogil=True, cache=True)
def write_tree_sums(X, feature, threshold, missing_right, tree, mask, leaves, total):  # type: ignore[no-untyped-def]
    """Write the sum of the leaves that each row of `X` falls into: see `ml/trees.py`."""
    every_leaf = ~mask.dtype.type(0)
    reachable = np.empty((leaves.shape[0], _BLOCK), mask.dtype)
    value = np.zeros(_BLOCK, np.float32)
    for start in range(0, X.shape[0], _BLOCK):
        rows = min(_BLOCK, X.shape[0] - start)
        reachable[:] = every_leaf
        for s in range(len(feature)):
            if s == 0 or feature[s] != feature[s - 1]:
                for row in range(rows):
                    value[row] = X[start + row, feature[s]]
            # Into whole blocks, from plain numbers: that is what a compiler does for many at once.
            leaves_of, bound, kept = reachable[tree[s]], threshold[s], mask[s]
            if missing_right[s]:
                # A missing value is not at most as large, nor above.
                for row in range(_BLOCK):
                    leaves_of[row] &= every_leaf if value[row] <= bound else kept
            else:
                for row in range(_BLOCK):
                    leaves_of[row] &= kept if value[row] > bound else every_leaf
        summed = np.zeros(_BLOCK)
        for t in range(leaves.shape[0]):
            for row in range(_BLOCK):
                left, leaf = reachable[t, row], 0
                while left & 0xFFFF == 0:
                    left >>= 16
                    leaf += 16
                lowest = np.int64(left) & -np.int64(left)
                summed[row] += leaves[t, leaf + _PLACE[(lowest * _DE_BRUIJN & 0xFFFF) >> 12]]
        total[start : start + rows] = summed[:rows]


@numba.njit(nogil=True, cache=True)
def write_weighted_columns(data, indices, indptr, weights, row, column, total):  # type: ignore[no-untyped-def]
    """Write the sum of each column of a sparse matrix, weighted by a row of ``weights``."""
    for i in range(len(total)):
        total[i] = 0.0
        for j in range(indptr[column[i]], indptr[column[i] + 1]):
            total[i] += weights[row[i], indices[j]] * data[j]


@numba.njit(nogil=True, cache=True)
def write_ranks(key, offsets, rank):  # type: ignore[no-untyped-def]
    """Write the rank of each key among its shopper's, 1 for the lowest; the earlier of equals."""
    for u in range(len(offsets) - 1):
        order = np.argsort(key[offsets[u] : offsets[u + 1]], kind="mergesort")
        for place in range(len(order)):
            rank[offsets[u] + order[place]] = place + 1


@numba.njit(nogil=True, cache=True)
def write_best_sizes(p, chance, offsets, rules, first, nodes, size, expected):  # type: ignore[no-untyped-def]
    """Write the best basket size and its expected F1 of each shopper, shape (n_users,).

    With S the number of reorders among the other products, E[F1] of the first k products is
    2 * sum over i <= k of p_i * E[1 / (k + 1 + S)]. Since 1 / a is the integral of t^(a - 1)
    over [0, 1] and E[t^S] is a product of factors 1 - p_j + p_j t, it is the integral of one
    polynomial, which Gauss-Legendre quadrature sums up exactly, all terms positive. That takes
    the place of the dynamic programme of Ye et al. (algorithm 1) with O(n) memory per shopper.

    ``p`` holds each shopper's probabilities in falling order given each kind of order, shape
    (n_pairs, n_kinds), and ``chance`` the kinds' weights. The quadrature of shopper u has the nodes
    ``rules[0]`` and the weights ``rules[1]`` from ``first[u]`` on, ``nodes[u]`` of them.
    """
    for u in range(len(size)):
        products = p[offsets[u] : offsets[u + 1]]
        node, weight = rules[:, first[u] : first[u] + nodes[u]]
        integrands = np.empty((len(chance), nodes[u]))
        shares = np.zeros((len(chance), nodes[u]))
        summed = np.empty(nodes[u])
        best, reorders = 0.0, 0.0
        for kind in range(len(chance)):
            integrand = integrands[kind]
            integrand[:] = chance[kind] * weight
            none = chance[kind]
            for k in range(len(products)):
                p_k = products[k, kind]
                none *= 1 - p_k
                reorders += chance[kind] * p_k
                for i in range(nodes[u]):
                    integrand[i] *= 1 - p_k * (1 - node[i])
            best += none
        size[u] = 0
        for k in range(len(products)):
            # 1 / (k + 2 + S) is at most 1 / (k + 2), so larger baskets cannot win any more.
            if 2 * reorders <= best * (k + 2):
                break
            # Node by node: a compiler does several at once, as it may not with one sum.
            summed[:] = 0.0
            for kind in range(len(chance)):
                integrand, share, p_k = integrands[kind], shares[kind], products[k, kind]
                for i in range(nodes[u]):
                    share[i] += p_k / (1 - p_k * (1 - node[i]))
                    integrand[i] *= node[i]
                    summed[i] += share[i] * integrand[i]
            f1 = 2 * summed.sum()
            if f1 > best + _TIE:
                size[u], best = k + 1, f1
        expected[u] = best
