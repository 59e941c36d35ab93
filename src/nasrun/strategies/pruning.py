"""The choices that a subspace keeps: the likeliest that fit into memory.

    maximise  sum_l ln sum_{o in S_l} q_l(o)   subject to   bytes(S) <= limit,  1 <= |S_l| <= most

If the likeliest `most` choices of every decision fit, they are kept. Else a greedy knapsack starts
with the likeliest choice of every decision, and repeatedly adds the choice with the largest gain
per byte, in the place of a less likely one where a decision has `most` choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

from nasrun.costs.limits import LEAST
from nasrun.costs.memory import Additive
from nasrun.genotype import NONE
from nasrun.strategies.subspace import Kept

Marginals = Mapping[str, Mapping[str, float]]
"""Probability of each choice per decision; unlisted choices are not available."""


def fitting(
    marginals: Marginals,
    memory: Additive,
    need: Callable[[Kept], int],
    room: float,
    *,
    aside: int,
    most: int,
) -> tuple[Kept, int]:
    """Return the likeliest subspace that needs at most `room` bytes, and the bytes that it needs.

    `memory` estimates what `need` computes without the bytes `aside`. If even the smallest subspace
    does not fit, it is the result.
    """
    each = {name: {c: memory.each[name][c] for c in row} for name, row in marginals.items()}
    least, limit = memory.of(smallest(each)), room - aside
    while True:
        kept = subspace(marginals, memory, max(limit, least), most)
        needed = need(kept)
        if needed <= room or limit <= least:
            return kept, needed
        # what operations need for a moment is not part of the sum, so more than that is missing
        limit = memory.of(kept) - (needed - room)


def halved(marginals: Marginals, kept: Kept) -> Kept:
    """Return the choices of a subspace and the likeliest others, up to half of each decision's."""
    left: Kept = {}
    for name, row in marginals.items():
        first = kept[name]
        ranked = sorted(row, key=lambda choice: (choice not in first, -row[choice]))
        count = max(len(first), math.ceil(len(row) / 2))
        left[name] = tuple(choice for choice in row if choice in ranked[:count])
    return left


def smallest(sizes: Mapping[str, Mapping[str, int]]) -> Kept:
    """Return the smallest operation of each decision."""
    return {
        name: (min((choice for choice in row if choice != NONE), key=row.__getitem__),)
        for name, row in sizes.items()
    }


def subspace(marginals: Marginals, memory: Additive, limit: float, most: int) -> Kept:
    """Return the kept choices per decision; at most `most` each, one at least is not `none`.

    Raises ValueError if not even the smallest choices fit into `limit` bytes.
    """
    q = {name: {c: max(p, LEAST) for c, p in row.items()} for name, row in marginals.items()}
    likeliest = {name: _likeliest(row, most) for name, row in q.items()}
    if memory.of(likeliest) <= limit:
        return likeliest
    kept = {name: [_best(row)] for name, row in q.items()}
    _shrink(kept, q, memory, limit)
    while (move := _best_move(kept, q, memory, limit, most)) is not None:
        name, old, new = move
        kept[name] = [choice for choice in kept[name] if choice != old] + [new]
    return {name: tuple(c for c in row if c in kept[name]) for name, row in q.items()}


def _best_move(
    kept: Mapping[str, Sequence[str]], q: Marginals, memory: Additive, limit: float, most: int
) -> tuple[str, str | None, str] | None:
    """Return a decision, the choice that it gives up if it is full, and the one that it gets.

    `None` if nothing fits that gains.
    """
    spent = memory.of(kept)
    best, rate = None, 0.0
    for name, chosen in kept.items():
        row, size = q[name], memory.each[name]
        full = len(chosen) == most
        if full and most == 1:
            continue
        have = sum(row[choice] for choice in chosen)
        for old, new in product(chosen if full else (None,), (c for c in row if c not in chosen)):
            gain = row[new] - (row[old] if old else 0.0)
            more = size[new] - (size[old] if old else 0)
            if gain > 0 and spent + more <= limit:
                found = math.log1p(gain / have) / max(more, 1)
                if found > rate:
                    best, rate = (name, old, new), found
    return best


def _likeliest(row: Mapping[str, float], most: int) -> tuple[str, ...]:
    """Return the likeliest operation and the likeliest other choices, in the order of the row."""
    first = _best(row)
    ranked = sorted(row, key=lambda choice: (choice != first, -row[choice]))[:most]
    return tuple(choice for choice in row if choice in ranked)


def _best(row: Mapping[str, float]) -> str:
    return max((choice for choice in row if choice != NONE), key=row.__getitem__)


def _shrink(kept: dict[str, list[str]], q: Marginals, memory: Additive, limit: float) -> None:
    """Replace first choices by smaller ones, the least loss per byte first, until they fit."""
    while memory.of(kept) > limit:
        best: tuple[float, str, str] | None = None
        for name, (now,) in kept.items():
            for choice, p in q[name].items():
                saved = memory.each[name][now] - memory.each[name][choice]
                if choice == NONE or saved <= 0:
                    continue
                loss = math.log(q[name][now] / p) / saved
                if best is None or loss < best[0]:
                    best = loss, name, choice
        if best is None:
            raise ValueError(
                f"the smallest choices take {memory.of(kept)} bytes, the limit is {limit:.0f}"
            )
        kept[best[1]] = [best[2]]
