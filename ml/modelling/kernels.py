"""Compiled loops, each of which writes its results into its last array arguments.

Numba takes half a second to import, so callers import this module inside functions.
"""

import numba
import numpy as np

_BLOCK = 64  # rows per block: few enough for their sets of leaves to stay in the CPU cache
# The position of a single bit among 16, by the top four bits of its product with a de Bruijn
# sequence.
_DE_BRUIJN = 0x0F65
_PLACE = np.argsort([(_DE_BRUIJN << bit & 0xFFFF) >> 12 for bit in range(16)])
# If the expected F1 of two sizes differs by less than this, the smaller basket wins. The bound is
# above the rounding error of `write_best_sizes` (1e-11 for 1,000 products).
_TIE = 1e-10


@numba.njit(nogil=True, cache=True)
def write_tree_sums(X, feature, threshold, missing_right, tree, mask, leaves, total):  # type: ignore[no-untyped-def]
    """Write the sum of the leaves that each row of ``X`` falls into, see `ml.modelling.trees`."""
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
            # The compiler vectorises these loops because blocks are full and operands are scalars.
            leaves_of, bound, kept = reachable[tree[s]], threshold[s], mask[s]
            if missing_right[s]:
                # NaN fails both `<=` and `>`.
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
    """Write weighted column sums of a sparse matrix in CSC format.

    Entry i of ``total`` sums column ``column[i]``, weighted by the row ``row[i]`` of ``weights``.
    """
    for i in range(len(total)):
        total[i] = 0.0
        for j in range(indptr[column[i]], indptr[column[i] + 1]):
            total[i] += weights[row[i], indices[j]] * data[j]


@numba.njit(nogil=True, cache=True)
def write_ranks(key, offsets, rank):  # type: ignore[no-untyped-def]
    """Write the rank of each key within its shopper, 1 for the lowest; ties go to the earlier."""
    for u in range(len(offsets) - 1):
        order = np.argsort(key[offsets[u] : offsets[u + 1]], kind="mergesort")
        for place in range(len(order)):
            rank[offsets[u] + order[place]] = place + 1


@numba.njit(nogil=True, cache=True)
def write_best_sizes(p, chance, offsets, rules, first, nodes, size, expected):  # type: ignore[no-untyped-def]
    """Write each shopper's best basket size and its expected F1, both of shape (n_users,).

    Let S be the number of other products that are bought again. The expected F1 of the first k
    products is 2 * sum over i <= k of p_i * E[1 / (k + 1 + S)]. Since 1 / a is the integral of
    t^(a - 1) over [0, 1] and E[t^S] is a product of factors 1 - p_j + p_j t, the sum is the
    integral of one polynomial. Gauss-Legendre quadrature computes it exactly, with positive terms
    only. This replaces the dynamic programme of Ye et al. 2012 (algorithm 1) and needs O(n) memory
    per shopper.

    ``p`` holds each shopper's probabilities in descending order under each kind of order, shape
    (n_pairs, n_kinds), and ``chance`` holds the weight of each kind. The quadrature for shopper u
    uses ``nodes[u]`` nodes from ``rules[0]`` and weights from ``rules[1]``, starting at
    ``first[u]``.
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
            # 1 / (k + 2 + S) is at most 1 / (k + 2), so no larger basket can win.
            if 2 * reorders <= best * (k + 2):
                break
            # The compiler vectorises one sum per node; it must not reorder a single sum.
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
