"""The edit distance of two chains of layers: how much must change to make one the other.

Auto-Keras (1806.10282 sec. 3.2): layers are aligned in order, skip connections are matched at the
least cost. The recurrence takes a minimum; one version of the paper prints a maximum. Layers of two
kinds have the distance 1, as in the released code. The stride is left out, since all layers of a
kind have the same one.
"""

from __future__ import annotations

import numpy as np

from nasrun.spaces.morph_layers import Chain, ChainLayer, Skip


def edit_distance(one: Chain, other: Chain, lam: float) -> float:
    """Return d = D_layers + lam D_skips; symmetric, and 0 for a chain and itself."""
    return layers_distance(one.layers, other.layers) + lam * skips_distance(one.skips, other.skips)


def layers_distance(ones: tuple[ChainLayer, ...], others: tuple[ChainLayer, ...]) -> float:
    """Return the least cost of an alignment that keeps the order:

        A[i][j] = min(A[i-1][j] + 1, A[i][j-1] + 1, A[i-1][j-1] + d(i, j))

    A layer without a partner costs 1.
    """
    costs = {one: [layer_distance(one, other) for other in others] for one in {*ones}}
    above = [float(j) for j in range(len(others) + 1)]
    for i, one in enumerate(ones, 1):
        row = [float(i)]
        for j, cost in enumerate(costs[one], 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost))
        above = row
    return above[-1]


def layer_distance(one: ChainLayer, other: ChainLayer) -> float:
    """Return the mean of |a - b| / max(a, b) over width and kernel; 1 for layers of two kinds."""
    if one.kind != other.kind:
        return 1.0
    widths, kernels = (one.width, other.width), (one.kernel, other.kernel)
    apart = [abs(a - b) / max(a, b) for a, b in (widths, kernels) if a]
    return sum(apart) / max(1, len(apart))


def skips_distance(ones: tuple[Skip, ...], others: tuple[Skip, ...]) -> float:
    """Return the least cost of a matching of skips; one without a partner costs 1."""
    if not ones or not others:
        return float(len(ones) + len(others))
    from scipy.optimize import linear_sum_assignment

    costs = np.array([[skip_distance(one, other) for other in others] for one in ones])
    return float(costs[linear_sum_assignment(costs)].sum()) + abs(len(ones) - len(others))


def skip_distance(one: Skip, other: Skip) -> float:
    """Return (|u - u'| + |s - s'|) / (max(u, u') + max(s, s')), u the source's place, s the span.

    A sum and a concatenation have the distance 1.
    """
    if one.kind != other.kind:
        return 1.0
    span, its = one.target - one.source, other.target - other.source
    apart = abs(one.source - other.source) + abs(span - its)
    return apart / (max(one.source, other.source) + max(span, its))
